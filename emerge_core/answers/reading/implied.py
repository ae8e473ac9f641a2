"""Implied answers: those of a reply that does not announce them ("The answer is …").

A short reply is an answer as a whole. In a longer one, the answer may open or close it: the letter of an option,
a number on a line of its own, the only new number of a closing "Therefore, …".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from emerge_core.answers.forms import json_keys
from emerge_core.answers.forms.latex import plain
from emerge_core.answers.forms.literals import literal_key
from emerge_core.answers.forms.to_key import boolean_key, label_key, leading_boolean, statement_key, value_key
from emerge_core.answers.question.multiple_choice import Options, lists_options
from emerge_core.answers.question.question import Question
from emerge_core.answers.reading.boilerplate import body_span, fence_content
from emerge_core.answers.reading.explicit import Statement, answer_field
from emerge_core.answers.usable import is_refusal
from emerge_core.immutable import immutable
from emerge_core.types import AnswerKey

SENTENCE_GAP = re.compile(r"(?<=[a-z0-9)%$][.!?])\s+(?=\S)")

_SHORT_REPLY = 200
_FEW_WORDS = 6
_LAST_LINE = 300
_LAST_SENTENCE = 500
_OPENING_LETTER = re.compile(r"[*_`\s]*(?:\(([A-Z])\)|([A-Z])[.):])(?=[*_`\s]|$)")
_ONLY_LETTER = re.compile(r"[*_`\s\[(]*([A-Z])[*_`\])]*[ \t]*(?=\n)")
_NUMBERED = re.compile(r"\d{1,2}[.)]\s")
_LISTED = re.compile(r"[\s*_-]*\(?[A-Z][.):]")
_CONCLUSION = re.compile(
    r"(?:therefore|thus|so|hence|consequently|in total|overall|in conclusion|as a result|this means)\b", re.I
)
_UNSURE = re.compile(
    r"(?:sorry,? )?(?:I(?:['’]m| am| have)? (?:really )?(?:do not|don['’]t|not|no|can(?:no|['’])t|can not|am not)"
    r"(?: (?:be|quite|entirely|really))* (?:know|sure|certain|idea|say|tell|recall|remember)|no (?:idea|clue)\b"
    r"|let me (?:think|see)\b|it depends\b)",
    re.I,
)
_CODE = re.compile(r"[;{}<>]|==|\w\([\w*\"', ]*\)")


@immutable(frozen=True, slots=True)
class Reading:
    """The key that was read from a text reply, and its position there."""

    key: AnswerKey
    start: int
    end: int
    explicit: bool  # whether the reply announces it as the answer


def implied_answer(
    question: Question, text: str, cut: bool, json_key: Callable[[Any], AnswerKey | None]
) -> Reading | None:
    """The answer that a reply gives without announcing it, or None. `cut`: whether the reply was truncated."""
    start, end = body_span(text)
    if start == end:
        return None
    if question.options is not None:
        return _letter(question, question.options, text, start, end)
    body = text[start:end]
    if body[0] in "{`" and (found := json_keys.parse_fenced(body)) and isinstance(found[0], dict):
        return _object(question, body, found[0], json_key, start, end)
    if fence := fence_content(text, start, end):
        start, end, language = fence
        if start == end or (language and not question.exact):
            return None  # code that the request asked for, not an answer
    if not cut:
        return _whole_reply(question, text, start, end) or _concluded(question, text, start, end)
    key = boolean_key(body) if len(body) <= _SHORT_REPLY else None
    return Reading(key, start, end, False) if key else None


def _object(
    question: Question,
    body: str,
    value: dict[str, Any],
    json_key: Callable[[Any], AnswerKey | None],
    start: int,
    end: int,
) -> Reading | None:
    if answer_field(value) is not None:
        return None  # its answer field is empty
    key = literal_key(body) if question.exact else json_key(value)
    return Reading(key, start, end, False) if key else None


def _whole_reply(question: Question, text: str, start: int, end: int) -> Reading | None:
    """The key of a short reply as a whole, or of the "Yes, …" that opens it."""
    body = text[start:end]
    key = leading_boolean(body[:80]) if question.polar else None
    key = key or (None if question.exact else label_key(question, body[:_LAST_LINE]))
    if (
        key is None
        and len(body) <= _SHORT_REPLY
        and "\n" not in body
        and "answer" not in body.lower()
        and not is_refusal(body)
        and (question.exact or not _UNSURE.match(body))
    ):
        key = statement_key(question, Statement(body, start, end, True, "reply"))
        if key and key.kind == "text" and (_is_prose(question, body, key.value) or _CODE.search(plain(body))):
            key = None
    return Reading(key, start, end, False) if key else None


def _is_prose(question: Question, body: str, value: str) -> bool:
    """Whether a short reply is conversation ("Hello! How can I help?") rather than an answer."""
    if SENTENCE_GAP.search(body) or body.endswith("?"):
        return True
    return value.count(" ") >= _FEW_WORDS and not question.factual


def _letter(question: Question, options: Options, text: str, start: int, end: int) -> Reading | None:
    """The letter of a reply that is short, or that opens or closes with an option."""
    line_end = text.find("\n", start, end)
    line_end = min(end if line_end < 0 else line_end, start + _LAST_LINE)
    last = max(text.rfind("\n", start, end) + 1, start)
    gaps = SENTENCE_GAP.finditer(text, max(last, end - _LAST_SENTENCE), end)
    sentence = max((match.end() for match in gaps), default=last)
    several = lists_options(text[start:end])
    opens = _ONLY_LETTER.match(text, start, end) or (not several and _OPENING_LETTER.match(text, start))
    if opens and (found := _vote(question, text, start, line_end)):
        return found
    closing = text[end - 1] in ".!)*\"'" and end - sentence <= _LAST_SENTENCE and not _LISTED.match(text, sentence)
    if closing and sentence > start and (letter := options.verdict(text[sentence:end])):
        return Reading(AnswerKey("letter", letter), sentence, end, False)
    if not several and end - start <= _SHORT_REPLY and line_end == end and (found := _vote(question, text, start, end)):
        return found
    listed = several and end - last > 4 and _LISTED.match(text, last)
    if not listed and end - last <= _LAST_LINE and (found := _vote(question, text, last, end)):
        return found
    if closing and (named := options.named_in(text[sentence:end])):
        return Reading(AnswerKey("letter", named[0]), sentence + named[1], sentence + named[2], False)
    return None


def _vote(question: Question, text: str, start: int, end: int) -> Reading | None:
    key = statement_key(question, Statement(text[start:end], start, end, True, "reply"))
    return Reading(key, start, end, False) if key else None


def _concluded(question: Question, text: str, start: int, end: int) -> Reading | None:
    """A number on the last line, or the only new number of a closing "Therefore, …"."""
    last = max(text.rfind("\n", start, end) + 1, start)
    line = text[last:end].strip()
    if not line or len(line) > _LAST_LINE or _NUMBERED.match(line):
        return None
    key = value_key(question, line) if len(line) <= 60 else None
    if key and key.kind in ("number", "boolean"):
        return Reading(key, last, end, False)
    sentences = [part for part in re.split(r"(?<=[.!?])\s+", line) if part]
    if question.numeric and sentences and _CONCLUSION.match(sentences[-1]):
        key = value_key(question, sentences[-1])
        if key and key.kind == "number":
            return Reading(key, end - len(sentences[-1]), end, False)
    return None
