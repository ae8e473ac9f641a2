"""Answers that are data or code, compared by value: `[ -4, 4 ]` is `[-4, 4]`, `1.0` is `1`.

Strings are compared character by character. Quotes around a whole string answer do not count, because models that
reply in JSON often leave them out; quotes inside a list or a dict do count.
"""

from __future__ import annotations

import ast
import re
import warnings
from typing import Any

from emerge_core.types import AnswerKey

MAX_CHARS = 20_000
_MAX_DEPTH = 40
_JSON_WORDS = {"true": "True", "false": "False", "null": "None"}
_BRACKETS = {"[": "]", "(": ")", "{": "}"}
_JSON_WORD = re.compile(r"\b(?:true|false|null)\b")


def evaluate(text: str) -> tuple[Any] | None:
    """The literal's value in a tuple of one, or None if the text is not a Python or JSON literal."""
    text = text.strip()
    if not text or len(text) > MAX_CHARS or _too_deep(text):
        return None
    if text in _JSON_WORDS:
        text = _JSON_WORDS[text]
    first = text[0]
    if not (
        first in "[({'\"-+.0123456789"
        or text[:4] in ("True", "None", "set(")
        or text[:5] == "False"
        or text[1:2] in "'\""
    ):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in strings warn when compiled
            return (ast.literal_eval(text),)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        pass
    if first in "[{" and _JSON_WORD.search(text):
        spelled = _JSON_WORD.sub(lambda match: _JSON_WORDS[match.group()], text)
        return evaluate(spelled) if spelled != text and not _JSON_WORD.search(spelled) else None
    return None


def _too_deep(text: str) -> bool:
    depth = 0
    for char in text:
        if char in "[({-+~":
            depth += 1
            if depth > _MAX_DEPTH and char in "[({":
                return True
        elif char in "])}":
            depth -= 1
    return text.count("-") + text.count("+") + text.count("~") > 2000


def spelled(value: Any) -> str:
    """The canonical spelling of a value."""
    if isinstance(value, bool) or value is None:
        return repr(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return repr(int(value))
    if isinstance(value, list):
        return "[" + ", ".join(map(spelled, value)) + "]"
    if isinstance(value, tuple):
        return "(" + "".join(spelled(item) + "," for item in value) + ")"
    if isinstance(value, dict):
        return "{" + ", ".join(sorted(f"{spelled(key)}: {spelled(item)}" for key, item in value.items())) + "}"
    if isinstance(value, (set, frozenset)):
        return "{" + ", ".join(sorted(map(spelled, value))) + "}" if value else "set()"
    if isinstance(value, int) and abs(value) >= 10**600:
        return hex(value)  # Python refuses to print very long integers
    return repr(value)


def literal_key(text: str) -> AnswerKey:
    """The key of an exact answer: the value of a literal, else the text itself."""
    for _ in range(3):
        found = evaluate(text)
        if found is not None and not isinstance(found[0], str):
            return AnswerKey("literal", spelled(found[0]))
        if found is not None:
            text = found[0]
        elif _quoted(text.strip()):
            text = text.strip()[1:-1]  # quoted, but broken: a raw newline, an unescaped quote
        else:
            break
        if text != text.strip():
            break  # the spaces are part of it now
    else:
        return AnswerKey("literal", repr(text))
    return AnswerKey("literal", repr(_unescaped(text) if found is None else text))


def _quoted(text: str) -> bool:
    return len(text) > 1 and text[0] == text[-1] and text[0] in "'\""


def _unescaped(text: str) -> str:
    """Resolve escapes such as `\\n` in a text that the model left unquoted."""
    if "\\" not in text:
        return text
    for quote in "'\"":
        if quote not in text and (found := evaluate(quote + text + quote)) is not None:
            return str(found[0])
    return text


def looks_structured(text: str) -> bool:
    """Whether the text is wholly inside one kind of bracket: a list, tuple, dict or set."""
    return len(text) > 1 and _BRACKETS.get(text[0]) == text[-1]
