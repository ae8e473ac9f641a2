"""The rows of a recording and what is read from them: questions, gold answers, replies, verdicts, models.

A reader gets a row with its place, for messages: a malformed row is an error that names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from emerge_core.errors import EmergeError
from emerge_core.types import Completion, TokenLogprob, ToolCall, Usage

Row = Mapping[str, Any]

ADJUDICATION = "adjudication"  # the `role` of a row that answers a dispute; members' rows have none


@dataclass(frozen=True, slots=True)
class Question:
    """`request` is the whole body of a request in OpenAI's shape, without `model`, where the question
    is not one user message but something that an application once asked."""

    id: str
    text: str
    choices: tuple[str, ...] = ()
    request: Row | None = None


@dataclass(frozen=True, slots=True)
class Gold:
    """The accepted answers to a question and the form that they have; no answers = nothing to score by."""

    answers: tuple[str, ...]
    form: str
    tolerance: str | None = None  # of numbers: "0.01", or "1%" of the answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What a recording may keep of a reply beside its text."""

    tool_calls: tuple[ToolCall, ...] = ()
    refusal: str | None = None
    finish_reason: str | None = None
    logprobs: tuple[TokenLogprob, ...] | None = None
    input_tokens: int | None = None
    latency_ms: float | None = None
    output_counted: bool = False  # the provider's own count of output tokens is kept, hidden ones included


class Reply(NamedTuple):
    """What a model answered. `confidence` is the probability that it gave its answer, where one was recorded."""

    text: str
    tokens: int
    confidence: float | None = None
    details: Details | None = None

    def completion(self) -> Completion:
        """As a provider would have returned it."""
        more = self.details or Details()
        return Completion(
            text=self.text or None if more.tool_calls or more.refusal else self.text,
            tool_calls=more.tool_calls,
            refusal=more.refusal,
            finish_reason=more.finish_reason or ("tool_calls" if more.tool_calls else "stop"),
            logprobs=more.logprobs,
            usage=Usage(input_tokens=more.input_tokens, output_tokens=self.tokens) if more.input_tokens else None,
            latency_ms=more.latency_ms or 0.0,
        )


Replies = Mapping[str, Mapping[str, Reply]]  # by model, by question id


class Dispute(NamedTuple):
    """A question on which a panel disagreed, as it was shown to a model: the distinct texts, sorted."""

    model: str
    question: str
    texts: tuple[str, ...]


class Verdict(NamedTuple):
    """A judgement of one reply: a person's, or what `emerge score` wrote."""

    question: str
    text: str
    score: float  # 1 right, 0 wrong; of a graded reply anything between
    by: str | None = None  # who judged, if the row says so
    tool_calls: tuple[ToolCall, ...] = ()
    graded: bool = False  # a grade from 0 to 1, not right or wrong


@dataclass(frozen=True, slots=True)
class RecordedModel:
    """What is known of a model; the price is in US dollars per million tokens."""

    tier: str | None = None
    price: tuple[float, float] | None = None  # input, output
    family: str | None = None
    provider: str | None = None

    @property
    def hides_tokens(self) -> bool:
        """Whether it was billed for reasoning tokens that nobody recorded."""
        return self.tier == "reasoning"


def prompt_of(question: Question) -> str:
    """The prompt that asks a question: its text; for multiple choice a blank line and a line per choice."""
    if not question.choices:
        return question.text
    options = "\n".join(f"{chr(ord('A') + number)}. {choice}" for number, choice in enumerate(question.choices))
    return f"{question.text}\n\n{options}"


def read_question(place: str, row: Row) -> Question | None:
    """None where the question's text was not recorded."""
    request = row.get("request")
    messages = request.get("messages") if isinstance(request, Mapping) else None
    listed = isinstance(messages, list) and all(isinstance(message, Mapping) for message in messages)
    if request is not None and not listed:
        raise EmergeError(f"{place}: `request` must be an object with a list of `messages`, each an object")
    if row.get("question") is None and request is None:
        return None
    choices = row.get("choices")
    if choices is not None and not _all_text(choices):
        raise EmergeError(f"{place}: `choices` must be a list of strings")
    words = "" if row.get("question") is None else text(place, row, "question")
    return Question(text(place, row, "id"), words, tuple(choices or ()), request)


def read_gold(place: str, row: Row) -> Gold:
    answers = row.get("answers")
    if answers is not None and not _all_text(answers):
        raise EmergeError(f"{place}: `answers` must be a list of strings")
    default = "letter" if row.get("choices") else "short text"
    return Gold(tuple(answers or ()), str(row.get("answer_format") or default), _tolerance(place, row))


def _tolerance(place: str, row: Row) -> str | None:
    value = row.get("tolerance")
    if value is None:
        return None
    try:
        if isinstance(value, bool) or float(str(value).removesuffix("%")) < 0:
            raise ValueError
    except ValueError:
        raise EmergeError(f'{place}: `tolerance` must be a number, or a share like "1%"') from None
    return str(value)


def read_reply(place: str, row: Row) -> Reply | None:
    """None for a call that ended in an error."""
    if row.get("error") is not None:
        return None
    details = _details(place, row)
    said = text(place, row, "response_text") if not details or "response_text" in row else ""
    tokens = _number(place, row, "completion_tokens")
    if tokens is None:
        tokens = _number(place, row, "completion_tokens_est")
    counted = estimated_tokens(said) if tokens is None else int(tokens)
    return Reply(said, counted, _confidence(place, row), details)


def read_dispute(place: str, row: Row) -> Dispute:
    """Of a row with the role of an adjudication."""
    shown = row.get("candidates")
    if not _all_text(shown) or len(shown or ()) < 2:
        raise EmergeError(f"{place}: `candidates` must be a list of two or more texts")
    return Dispute(text(place, row, "model"), text(place, row, "id"), tuple(sorted(shown or ())))


def read_verdict(place: str, row: Row) -> Verdict | None:
    """None for a row that nobody judged."""
    correct, grade = row.get("correct"), _number(place, row, "score")
    if (correct is None and grade is None) or row.get("error") is not None:
        return None
    if grade is not None and not 0 <= grade <= 1:
        raise EmergeError(f"{place}: `score` must be between 0 and 1")
    said = text(place, row, "response_text") if "response_text" in row or not row.get("tool_calls") else ""
    details = _details(place, row)
    return Verdict(
        question=text(place, row, "id"),
        text=said,
        score=float(bool(correct)) if grade is None else grade,
        by=row.get("scored_by"),
        tool_calls=details.tool_calls if details else (),
        graded=grade is not None,
    )


def read_letter(place: str, row: Row) -> Reply:
    """A row without text. Where no letter was found the model's reply cannot be known: it is served empty."""
    letter = row.get("extracted_answer")
    said = "" if letter is None else _letter_text(text(place, row, "extracted_answer"))
    tokens = _number(place, row, "completion_tokens")
    return Reply(said, estimated_tokens(said) if tokens is None else int(tokens), _confidence(place, row))


def read_sample(place: str, row: Row) -> int:
    """Which of several answers of one model to one question it is, counted from 0."""
    sample = row.get("sample", 0)
    if isinstance(sample, bool) or not isinstance(sample, int) or sample < 0:
        raise EmergeError(f"{place}: `sample` must be a number from 0")
    return sample


def read_model(row: Row) -> RecordedModel:
    price = row.get("price")
    listed = (float(price["input"]), float(price["output"])) if price else None
    return RecordedModel(row.get("tier"), listed, row.get("family"), row.get("provider"))


def estimated_tokens(said: str) -> int:
    """About four characters make a token."""
    return (len(said) + 3) // 4


def text(place: str, row: Row, name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise EmergeError(f"{place}: `{name}` must be a string" if name in row else f"{place}: `{name}` is missing")
    return value


@cache  # one string per letter, however many rows say it
def _letter_text(letter: str) -> str:
    return f"The answer is ({letter})."


def _details(place: str, row: Row) -> Details | None:
    """None where the row keeps nothing but the text, as most published ones do."""
    if not row.keys() & {"finish_reason", "usage", "latency_ms", "tool_calls", "logprobs", "refusal"}:
        return None
    try:
        calls = tuple(
            ToolCall(id=call["id"], name=call["name"], arguments=call["arguments"])
            for call in row.get("tool_calls") or ()
        )
        logprobs = tuple(TokenLogprob(token=str(t), logprob=float(p)) for t, p in row.get("logprobs") or ())
        usage = row.get("usage") or {}
        inputs = usage.get("input_tokens")
        return Details(
            tool_calls=calls,
            refusal=row.get("refusal"),
            finish_reason=row.get("finish_reason"),
            logprobs=logprobs or None,
            input_tokens=None if inputs is None else int(inputs),
            latency_ms=_number(place, row, "latency_ms"),
            output_counted=usage.get("output_tokens") is not None,
        )
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise EmergeError(f"{place}: `tool_calls`, `logprobs` or `usage` is malformed") from error


def _confidence(place: str, row: Row) -> float | None:
    """The answer's token probability; else the confidence that the model stated."""
    for name in ("confidence_logit", "confidence_stated"):
        value = _number(place, row, name)
        if value is not None:
            if not 0 <= value <= 1:
                raise EmergeError(f"{place}: `{name}` must be between 0 and 1")
            return value
    return None


def _number(place: str, row: Row, name: str) -> float | None:
    value = row.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise EmergeError(f"{place}: `{name}` must be a number")
    return value


def _all_text(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
