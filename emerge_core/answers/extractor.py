"""Extraction of answer keys: what a reply says, in a form in which equal answers compare equal.

An `Extractor` is built once per request from the request's options, schema, tools and the configured answer fields.
It never sees a reference answer, a task or a model.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any, TypeVar

from emerge_core.answers.confidence import answer_span, calibrated, span_probability
from emerge_core.answers.forms import json_keys
from emerge_core.answers.forms.to_key import gold_key, short_string, statement_key
from emerge_core.answers.forms.tool_calls import Tools
from emerge_core.answers.json_schema import compiled
from emerge_core.answers.question.question import Question
from emerge_core.answers.reading.boilerplate import without_end_token
from emerge_core.answers.reading.explicit import Statement, is_placeholder, statements
from emerge_core.answers.reading.implied import SENTENCE_GAP, Reading, implied_answer
from emerge_core.answers.usable import is_refusal
from emerge_core.types import AnswerKey, Call, Candidate, ChatRequest, Completion, Member, Unusable

log = logging.getLogger("emerge")

K = TypeVar("K")
V = TypeVar("V")

LONG = 20_000  # characters that are read in a few milliseconds; longer texts are read in a thread
MAX_READ = 500_000  # characters; longer than any model's output, so longer replies are not searched
_REMEMBERED = 8  # texts: members that agree often say the same, and are read once


class Extractor:
    """Reads the replies to one request, and remembers the texts that it read last. Thread-safe."""

    def __init__(self, request: ChatRequest, answer_key: Sequence[str] = ()) -> None:
        self._question = Question.of(request.last_user_text)
        self._paths = tuple(answer_key)
        self._wants_json = request.wants_json
        self._schema = request.json_schema
        self._enums = json_keys.enum_paths(self._schema)
        self._tools = Tools(request)
        self._parsed: tuple[str, tuple[Any] | None] | None = None
        self._readings: dict[tuple[str, bool], Reading | None] = {}
        self._refusals: dict[str, bool] = {}

    @classmethod
    def of(cls, request: ChatRequest, answer_key: Sequence[str] = ()) -> Extractor:
        return cls(request, answer_key)

    def key(self, completion: Completion) -> AnswerKey | None:
        """The key of the reply, or None if it states no answer (long prose, a refusal, an error)."""
        if not completion.ok:
            return None
        if completion.tool_calls:
            return self._tools.key(completion.tool_calls)
        text = completion.text
        if not text or not text.strip() or completion.refusal:
            return None
        if self._wants_json:
            found = self._parse(text)
            return self._json_key(found[0]) if found else None
        reading = self._read(completion)
        return reading.key if reading else None

    def why_unusable(self, completion: Completion) -> Unusable | None:
        """Why the reply cannot be the answer to the request, or None for a usable one."""
        if completion.error is not None:
            return Unusable("error", completion.error.kind)
        if completion.finish_reason == "content_filter":
            return Unusable("content_filter")
        if completion.tool_calls:
            fault = self._tools.fault(completion.tool_calls)
            return Unusable("invalid_tool_call", fault) if fault else None
        text = completion.text or ""
        if completion.refusal:
            return Unusable("refusal")
        if not text.strip():
            return Unusable("truncated" if completion.finish_reason == "length" else "empty")
        if self._tools.demanded:
            return Unusable("invalid_tool_call", "none was made, and the request demands one")
        if self._wants_json:
            return self._json_fault(text, completion.finish_reason == "length")
        if self._refuses(text) and not self._states(completion):
            return Unusable("refusal")
        if completion.finish_reason == "length" and self.key(completion) is None:
            return Unusable("truncated")
        return None

    def confidence(self, completion: Completion, member: Member) -> float | None:
        """The calibrated probability of the stated answer, else the member's configured reliability."""
        probability = self.probability(completion) if member.calibration else None
        return member.reliability if probability is None else calibrated(member, probability)

    def probability(self, completion: Completion) -> float | None:
        """The joint probability of the tokens that state the answer, or None if it is unknown."""
        if not completion.logprobs or not completion.text:
            return None
        spans = self._spans(completion)
        found = [span_probability(completion.logprobs, completion.text, start, end) for start, end in spans]
        return prod(probability or 0.0 for probability in found) if found and None not in found else None

    def gold_key(self, text: str) -> AnswerKey | None:
        """The key of a reference answer, in the same normal forms."""
        if self._wants_json:
            found = json_keys.parse_fenced(text)
            if found and isinstance(found[0], (dict, list)):
                return self._json_key(found[0])
            if len(self._paths) == 1:
                return AnswerKey(
                    "json", json_keys.canonical([[self._paths[0], found[0] if found else self._normal(text)]])
                )
        return gold_key(self._question, text)

    def is_long(self, completion: Completion) -> bool:
        """Whether reading the reply takes so long that other requests would notice."""
        size = len(completion.text or "") + sum(len(call.arguments) for call in completion.tool_calls)
        return size + len(self._question.text) > LONG

    # JSON

    def _normal(self, text: str) -> str:
        return short_string(self._question, text)

    def _json_key(self, value: Any) -> AnswerKey | None:
        return json_keys.json_key(
            value, paths=self._paths, enums=self._enums, normal=partial(short_string, self._question)
        )

    def _parse(self, text: str) -> tuple[Any] | None:
        """The JSON value of a reply, or of the code fence that encloses it. The last one is remembered."""
        parsed = self._parsed
        if parsed is None or parsed[0] is not text:
            self._parsed = parsed = (text, json_keys.parse_fenced(text))
        return parsed[1]

    def _json_fault(self, text: str, cut: bool) -> Unusable | None:
        found = self._parse(text) if not text.rstrip().endswith("```") else None
        if found is None:
            if cut:
                return Unusable("truncated")
            if json_keys.exceeds_values(text):
                return Unusable("invalid_json", f"more than {json_keys.MAX_VALUES:,} parts")
            return Unusable("refusal" if is_refusal(text) else "invalid_json")
        if self._schema is None:
            return None if isinstance(found[0], dict) else Unusable("invalid_json", "not an object")
        fault = compiled(self._schema).fault(found[0])
        return Unusable("invalid_schema", fault) if fault else None

    # text

    def _read(self, completion: Completion) -> Reading | None:
        text, cut = completion.text or "", completion.finish_reason == "length"
        try:
            return self._readings[text, cut]
        except KeyError:
            reading = self._reading(text, cut)
            return _remember(self._readings, (text, cut), reading)

    def _refuses(self, text: str) -> bool:
        refuses = self._refusals.get(text)
        return _remember(self._refusals, text, is_refusal(text)) if refuses is None else refuses

    def _states(self, completion: Completion) -> bool:
        reading = self._read(completion)
        return reading is not None and reading.explicit

    def _reading(self, text: str, cut: bool) -> Reading | None:
        if len(text) > MAX_READ:
            return None
        if self._paths and (found := json_keys.parse_fenced(text)) and isinstance(found[0], (dict, list)):
            key = self._json_key(found[0])
            return Reading(key, 0, len(text), True) if key else None
        if not self._question.exact:
            text = without_end_token(text)
        whole_end = len(text.rstrip())
        for statement in statements(text):
            if is_placeholder(statement.value, exact=self._question.exact):
                continue
            if cut and not statement.closed and statement.end >= whole_end:
                statement = _whole_sentence(statement)
            key = statement_key(self._question, statement)
            if key is None:
                if (statement.closed and statement.source == "json") or self._names_several(statement):
                    return None  # it states an answer, but not one to vote on
                continue
            if cut and not statement.closed and statement.end >= whole_end and key.kind not in ("letter", "boolean"):
                continue  # "The answer is 12": perhaps of 125
            return Reading(key, statement.start, statement.end, True)
        return implied_answer(self._question, text, cut, self._json_key)

    def _names_several(self, statement: Statement) -> bool:
        options = self._question.options
        return options is not None and options.several(statement.value)

    # confidence

    def _spans(self, completion: Completion) -> list[tuple[int, int]]:
        text = completion.text or ""
        if self._wants_json or (self._paths and json_keys.parse_fenced(text)):
            found = json_keys.parse_fenced(text)
            return json_keys.voted_spans(text, found[0], self._paths, self._enums) if found else []
        reading = self._read(completion)
        return [answer_span(text, reading.start, reading.end, reading.key)] if reading else []


def _remember(found: dict[K, V], key: K, value: V) -> V:
    if len(found) >= _REMEMBERED:
        found.clear()
    found[key] = value
    return value


def _whole_sentence(statement: Statement) -> Statement:
    """The statement of a truncated reply, up to the end of its first sentence if it has one."""
    match = SENTENCE_GAP.search(statement.value)
    if match is None:
        return statement
    end = statement.start + match.start()
    return replace(statement, value=statement.value[: match.start()], end=end)


def candidate(extractor: Extractor, call: Call, member: Member) -> Candidate:
    """A call as the aggregators see it. An unusable reply has no key and no confidence.

    A reply that we fail to read (it is nested too deeply, or shows a fault of ours) is unusable: it must not
    fail a request that other members answer.
    """
    try:
        reason = extractor.why_unusable(call.completion)
        if call.status != "ok" and reason is None:
            reason = Unusable("error", call.status)
        if reason is not None:
            return Candidate(call=call, member=member, why_unusable=reason)
        return Candidate(
            call=call,
            member=member,
            key=extractor.key(call.completion),
            confidence=extractor.confidence(call.completion, member),
        )
    except Exception as fault:
        log.warning("a reply of %s could not be read: %s", call.model, type(fault).__name__)
        return Candidate(call=call, member=member, why_unusable=Unusable("error", "unreadable reply"))


async def read_candidate(extractor: Extractor, call: Call, member: Member) -> Candidate:
    """`candidate`, in a thread if the reply or the question is long: the event loop stays free for other requests."""
    if call.completion.ok and extractor.is_long(call.completion):
        return await asyncio.to_thread(candidate, extractor, call, member)
    return candidate(extractor, call, member)
