"""Rules that decide whether a reply is right, for answers that equal keys alone do not settle.

A question's `answer_format` names the rule: `contains` and `short text` look for an accepted answer among the
reply's words, `json` compares values, `tool_calls` compares calls (see `tool_calls`), a number may have a
`tolerance`. Every other form is settled by equal answer keys.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

from emerge_core.types import AnswerKey

SHORT_TEXT, CONTAINS, JSON, TOOL_CALLS = "short text", "contains", "json", "tool_calls"

_ARTICLES = {"a", "an", "the"}
_FENCED = re.compile(r"```[\w-]*\s*\n(.*?)```", re.S)


def contains(reply: str, answer: str) -> bool:
    """Whether the answer's words stand in the reply, one after the other."""
    wanted = _words(answer)
    return bool(wanted) and f" {wanted} " in f" {_words(reply)} "


def equal_json(reply: str, answer: str) -> bool:
    """Whether the reply is, or holds in a code fence, the same JSON value: keys in any order, 1 = 1.0."""
    wanted = _json(answer)
    fenced = _FENCED.findall(reply)
    said = _json(reply) or (_json(fenced[-1]) if fenced else None)
    return wanted is not None and said is not None and _same(said[0], wanted[0])


def near(key: AnswerKey | None, answer: AnswerKey, tolerance: str) -> bool:
    """Whether two numbers differ by at most the tolerance: absolute ("0.01"), or a share of the answer ("1%")."""
    if key is None or key.kind != "number" or answer.kind != "number":
        return key == answer
    said, wanted = (_number(each.value) for each in (key, answer))
    share = tolerance.endswith("%")
    allowed = float(tolerance.rstrip("%")) * (abs(wanted) / 100 if share else 1.0)
    return abs(said - wanted) <= allowed * (1 + 1e-12)


def _number(value: str) -> float:
    above, _, below = value.partition("/")  # a key may be a fraction
    return float(above) / float(below or 1)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[name], b[name]) for name in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def _json(text: str) -> tuple[Any] | None:
    try:
        return (json.loads(text),)
    except (ValueError, RecursionError):
        return None


def _words(text: str) -> str:
    """Lower-case words without accents, punctuation and articles."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(character for character in plain if not unicodedata.combining(character))
    return " ".join(word for word in re.findall(r"\w+", plain) if word not in _ARTICLES)
