"""The answer key of a reply: what it says, in a form in which equal answers are equal.

An `Extractor` is built once per request and holds what the request tells: options, schema, tools,
the configured answer fields. It never looks at a gold answer, a task or a model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

from emerge_core.answers import json_keys
from emerge_core.answers.confidence import answer_span, calibrated, span_probability
from emerge_core.answers.letters import lists_options
from emerge_core.answers.literals import literal_key
from emerge_core.answers.question import Question
from emerge_core.answers.schemas import schema_fault
from emerge_core.answers.statement import Statement, answer_field, is_placeholder, statements, visible_from
from emerge_core.answers.tool_keys import Tools
from emerge_core.answers.usable import is_refusal
from emerge_core.answers.values import boolean_key, gold_key, leading_boolean, short_string, statement_key, value_key
from emerge_core.types import AnswerKey, Call, Candidate, ChatRequest, Completion, Member

MAX_READ = 500_000  # characters: a reply that is longer than any model's output has no answer looked for in it
_SHORT_REPLY = 200
_FEW_WORDS = 6
_LAST_LINE = 300
_OPENING_LETTER = re.compile(r"[*_`\s]*(?:\(([A-Z])\)|([A-Z])[.):])(?=[*_`\s]|$)")
_NUMBERED = re.compile(r"\d{1,2}[.)]\s")
_LISTED = re.compile(r"[\s*_-]*\(?[A-Z][.):]")
_BETWEEN = re.compile(r"(?<=[a-z0-9)%][.!?])\s+(?=\S)")
_LAST_SENTENCE = 500
_CONCLUSION = re.compile(
    r"(?:therefore|thus|so|hence|consequently|in total|overall|in conclusion|as a result|this means)\b", re.I
)


@dataclass(frozen=True, slots=True)
class _Reading:
    """What was read from a text reply, and where it stands."""

    key: AnswerKey
    start: int
    end: int
    explicit: bool  # stated as the answer, or the whole reply


class Extractor:
    """Reads replies to one request."""

    def __init__(self, request: ChatRequest, answer_key: Sequence[str] = ()) -> None:
        self._question = Question.of(request.last_user_text)
        self._paths = tuple(answer_key)
        self._wants_json = request.wants_json
        self._schema = request.json_schema
        self._enums = json_keys.enum_paths(self._schema)
        self._tools = Tools(request)
        self._last: tuple[Completion, _Reading | None] | None = None

    @classmethod
    def of(cls, request: ChatRequest, answer_key: Sequence[str] = ()) -> Extractor:
        return cls(request, answer_key)

    def key(self, completion: Completion) -> AnswerKey | None:
        """What the reply says, or None where it states no answer (long prose, a refusal, an error)."""
        if not completion.ok:
            return None
        if completion.tool_calls:
            return self._tools.key(completion.tool_calls)
        text = completion.text
        if not text or not text.strip() or completion.refusal:
            return None
        if self._wants_json:
            found = json_keys.parse_fenced(text)
            return self._json_key(found[0]) if found else None
        reading = self._read(completion)
        return reading.key if reading else None

    def why_unusable(self, completion: Completion) -> str | None:
        """Why the reply is no answer to the request, or None for a usable one."""
        if completion.error is not None:
            return f"error: {completion.error.kind}"
        if completion.finish_reason == "content_filter":
            return "content filter"
        if completion.tool_calls:
            fault = self._tools.fault(completion.tool_calls)
            return f"invalid tool call: {fault}" if fault else None
        text = completion.text or ""
        if completion.refusal:
            return "refusal"
        if not text.strip():
            return "truncated" if completion.finish_reason == "length" else "empty"
        if self._tools.demanded:
            return "invalid tool call: none was made, and the request demands one"
        if self._wants_json:
            return self._json_fault(text, completion.finish_reason == "length")
        if is_refusal(text) and not self._states(completion):
            return "refusal"
        if completion.finish_reason == "length" and self.key(completion) is None:
            return "truncated"
        return None

    def confidence(self, completion: Completion, member: Member) -> float | None:
        """The calibrated probability of the stated answer, else the member's configured reliability."""
        probability = self.probability(completion) if member.calibration else None
        return member.reliability if probability is None else calibrated(member, probability)

    def probability(self, completion: Completion) -> float | None:
        """The joint probability of the tokens that state the answer; None where it cannot be told."""
        if not completion.logprobs or not completion.text:
            return None
        spans = self._spans(completion)
        found = [span_probability(completion.logprobs, completion.text, start, end) for start, end in spans]
        return prod(probability or 0.0 for probability in found) if found and None not in found else None

    def gold_key(self, text: str) -> AnswerKey | None:
        """The key of a gold answer, in the same normal forms."""
        if self._wants_json:
            found = json_keys.parse_fenced(text)
            if found and isinstance(found[0], (dict, list)):
                return self._json_key(found[0])
            if len(self._paths) == 1:
                return AnswerKey(
                    "json", json_keys.canonical([[self._paths[0], found[0] if found else self._normal(text)]])
                )
        return gold_key(self._question, text)

    # JSON

    def _normal(self, text: str) -> str:
        return short_string(self._question, text)

    def _json_key(self, value: Any) -> AnswerKey | None:
        return json_keys.json_key(
            value, paths=self._paths, enums=self._enums, normal=partial(short_string, self._question)
        )

    def _json_fault(self, text: str, cut: bool) -> str | None:
        found = json_keys.parse(text)
        if found is None:
            if cut:
                return "truncated"
            return "refusal" if is_refusal(text) else "invalid JSON"
        if self._schema is None:
            return None if isinstance(found[0], dict) else "invalid JSON: not an object"
        fault = schema_fault(found[0], self._schema)
        return f"invalid against the schema: {fault}" if fault else None

    # text

    def _read(self, completion: Completion) -> _Reading | None:
        if self._last is None or self._last[0] is not completion:
            self._last = (completion, self._reading(completion.text or "", completion.finish_reason == "length"))
        return self._last[1]

    def _states(self, completion: Completion) -> bool:
        reading = self._read(completion)
        return reading is not None and reading.explicit

    def _reading(self, text: str, cut: bool) -> _Reading | None:
        if len(text) > MAX_READ:
            return None
        if self._paths and (found := json_keys.parse_fenced(text)) and isinstance(found[0], (dict, list)):
            key = self._json_key(found[0])
            return _Reading(key, 0, len(text), True) if key else None
        whole_end = len(text.rstrip())
        for statement in statements(text):
            if is_placeholder(statement.value, exact=self._question.exact):
                continue
            if cut and not statement.closed and statement.end >= whole_end:
                statement = _whole_sentence(statement)
            key = statement_key(self._question, statement)
            if key is None:
                if statement.closed and statement.source == "json":
                    return None  # it did state an answer, but none to vote on
                continue
            if cut and not statement.closed and statement.end >= whole_end and key.kind not in ("letter", "boolean"):
                continue  # "The answer is 12": perhaps of 125
            return _Reading(key, statement.start, statement.end, True)
        return self._unstated(text, cut)

    def _unstated(self, text: str, cut: bool) -> _Reading | None:
        """The answer of a reply that does not say "the answer is": a short reply is one as a whole."""
        begin = visible_from(text)
        body = text[begin:].strip()
        if not body:
            return None
        start = text.index(body[0], begin)
        end = start + len(body)
        if self._question.options is not None:
            return self._unstated_letter(text, start, end)
        if body[0] in "{`" and (found := json_keys.parse_fenced(body)) and isinstance(found[0], dict):
            return self._unstated_object(body, found[0], start, end)
        if not cut:
            return self._whole_reply(text, start, end) or self._concluded(text, start, end)
        key = boolean_key(body) if len(body) <= _SHORT_REPLY else None
        return _Reading(key, start, end, False) if key else None

    def _unstated_object(self, body: str, value: dict[str, Any], start: int, end: int) -> _Reading | None:
        if answer_field(value) is not None:
            return None  # it has a place for the answer, and none there
        key = literal_key(body) if self._question.exact else self._json_key(value)
        return _Reading(key, start, end, False) if key else None

    def _whole_reply(self, text: str, start: int, end: int) -> _Reading | None:
        """A short reply is the answer as a whole, or its "Yes, …" is."""
        body = text[start:end]
        key = leading_boolean(body[:80]) if self._question.polar else None
        if (
            key is None
            and len(body) <= _SHORT_REPLY
            and "\n" not in body
            and "answer" not in body.lower()
            and not is_refusal(body)
        ):
            key = statement_key(self._question, Statement(body, start, end, True, "reply"))
            if key and key.kind == "text" and self._is_prose(body, key.value):
                key = None
        return _Reading(key, start, end, False) if key else None

    def _is_prose(self, body: str, value: str) -> bool:
        """Whether a short reply is talk ("Hello! How can I help?") and not an answer by its wording."""
        if _BETWEEN.search(body) or body.endswith("?"):
            return True
        return value.count(" ") >= _FEW_WORDS and not self._question.factual

    def _unstated_letter(self, text: str, start: int, end: int) -> _Reading | None:
        """The letter of a reply that is short, or opens or closes with an option."""
        if not lists_options(text[start:end]):
            line_end = text.find("\n", start, end)
            line_end = min(end if line_end < 0 else line_end, start + _LAST_LINE)
            whole = end - start <= _SHORT_REPLY and line_end == end
            if whole or _OPENING_LETTER.match(text, start):
                found = Statement(text[start:line_end], start, line_end, True, "reply")
                if key := statement_key(self._question, found):
                    return _Reading(key, start, line_end, False)
        assert self._question.options is not None  # noqa: S101
        last = max(text.rfind("\n", start, end) + 1, start)
        listed = lists_options(text[start:end]) and end - last > 4 and _LISTED.match(text, last)
        if (
            not listed
            and end - last <= _LAST_LINE
            and (key := statement_key(self._question, Statement(text[last:end], last, end, True, "reply")))
        ):
            return _Reading(key, last, end, False)
        sentence = max(
            (match.end() for match in _BETWEEN.finditer(text, max(last, end - _LAST_SENTENCE), end)), default=last
        )
        if text[end - 1] in ".!)*\"'" and end - sentence <= _LAST_SENTENCE and not _LISTED.match(text, sentence):
            named = self._question.options.named_in(text[sentence:end])
            if named:
                return _Reading(AnswerKey("letter", named[0]), sentence + named[1], sentence + named[2], False)
        return None

    def _concluded(self, text: str, start: int, end: int) -> _Reading | None:
        """A number that is the last line, or the one new number of a closing "Therefore, …"."""
        last = max(text.rfind("\n", start, end) + 1, start)
        line = text[last:end].strip()
        if not line or len(line) > _LAST_LINE or _NUMBERED.match(line):
            return None
        key = value_key(self._question, line) if len(line) <= 60 else None
        if key and key.kind in ("number", "boolean"):
            return _Reading(key, last, end, False)
        sentences = [part for part in re.split(r"(?<=[.!?])\s+", line) if part]
        if self._question.numeric and sentences and _CONCLUSION.match(sentences[-1]):
            key = value_key(self._question, sentences[-1])
            if key and key.kind == "number":
                return _Reading(key, end - len(sentences[-1]), end, False)
        return None

    # confidence

    def _spans(self, completion: Completion) -> list[tuple[int, int]]:
        text = completion.text or ""
        if self._wants_json or (self._paths and json_keys.parse_fenced(text)):
            found = json_keys.parse_fenced(text)
            return json_keys.voted_spans(text, found[0], self._paths, self._enums) if found else []
        reading = self._read(completion)
        return [answer_span(text, reading.start, reading.end, reading.key)] if reading else []


def _whole_sentence(statement: Statement) -> Statement:
    """The statement of a cut reply, up to the end of its first sentence if that is there."""
    match = _BETWEEN.search(statement.value)
    if match is None:
        return statement
    end = statement.start + match.start()
    return replace(statement, value=statement.value[: match.start()], end=end)


def candidate(extractor: Extractor, call: Call, member: Member) -> Candidate:
    """A call as the aggregators see it. An unusable reply has no key and no confidence."""
    reason = extractor.why_unusable(call.completion)
    if call.status != "ok" and reason is None:
        reason = f"error: {call.status}"
    if reason is not None:
        return Candidate(call=call, member=member, why_unusable=reason)
    return Candidate(
        call=call,
        member=member,
        key=extractor.key(call.completion),
        confidence=extractor.confidence(call.completion, member),
    )
