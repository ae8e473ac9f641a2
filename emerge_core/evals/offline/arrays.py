"""A task's recorded answers as arrays: what every model says to every question, and whether it is right.

Answers are extracted by the product's own rules from the prompt that a comparison sends, so that what is computed
from the arrays is what the proxy would answer. Shapes are (models, questions).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import exp, isnan, log
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from emerge_core.answers import names_key, same
from emerge_core.errors import EmergeError
from emerge_core.evals.recordings.mixture import Mixture
from emerge_core.evals.recordings.prompts import request_of
from emerge_core.evals.recordings.recording import (
    Question,
    RecordedModel,
    Recordings,
    Reply,
    estimated_tokens,
    prompt_of,
)
from emerge_core.evals.recordings.rows import Dispute
from emerge_core.evals.scoring.scorer import Scorer
from emerge_core.provider_kinds import KINDS
from emerge_core.strategies.adjudication import dispute_message
from emerge_core.types import AnswerKey

if TYPE_CHECKING:
    from emerge_core.evals.types import Booleans, Codes, Floats, Integers

NO_KEY = -1
COVERED = 0.9  # of a task's answered questions; a model that answered fewer is left out
MILLION = 1_000_000
MARK = "0" * 12  # stands for the random mark of an adjudicator's delimiters, which is as long
UNKNOWN = RecordedModel()
LETTER_SENTENCE = "The answer is ("  # of a recording that kept the letter alone: it carries the confidence


PER_REPLY = (
    "codes",
    "usable",
    "refused",
    "score",
    "confidence",
    "prompt_tokens",
    "tokens",
    "latency_ms",
    "called",
    "names",
)  # arrays of shape (models, questions)


@dataclass(frozen=True, kw_only=True)
class Answers:
    """One reply of each model to each question. Equal codes at one question are equal keys."""

    task: str
    questions: tuple[str, ...]  # ids
    models: tuple[str, ...]
    known: Mapping[str, RecordedModel]
    codes: Codes  # NO_KEY: the reply states no answer
    usable: Booleans
    refused: Booleans  # the reply is a refusal, which a caller gets if nothing is usable
    score: Floats  # 1 right, 0 wrong; of graded replies anything between
    confidence: Floats  # probability of the answer's tokens; NaN if none was recorded
    prompt_tokens: Integers
    tokens: Integers  # of the replies
    latency_ms: Floats  # NaN if none was recorded
    joined: Mapping[int, Booleans]  # by question: which models' short texts contain one another
    offers_tools: Booleans  # (questions,)
    called: Booleans  # usable replies that call tools
    names: Codes  # of their tools: equal codes at one question are equal names; NO_KEY without calls
    texts: Mapping[str, Mapping[str, Reply]]  # by model and question id
    adjudications: Adjudications | None = None
    graded: bool = False  # replies have a score from 0 to 1 instead of being right or wrong
    left_out: int = 0  # questions that some of the models did not answer
    sparse: tuple[str, ...] = ()  # models that answered too few questions to be compared

    def equal(self, a: int, b: int) -> Booleans:
        """(questions,): whether two models state the same answer."""
        found: Booleans = (self.codes[a] == self.codes[b]) & (self.codes[a] != NO_KEY)
        for question, matrix in self.joined.items():
            found[question] |= matrix[a, b]
        return found

    @cached_property
    def right(self) -> Booleans:
        """Which replies are right; of graded ones, those that score more than half."""
        found: Booleans = self.score > 0.5
        return found

    def costs(self, model: int) -> Floats:
        """(questions,): US dollars for the call; NaN if the price or the true number of tokens is unknown."""
        known = self.known.get(self.models[model], UNKNOWN)
        if known.price is None or (known.hides_tokens and not self.counted[model]):
            return np.full(len(self.questions), np.nan)
        spent: Floats = (self.prompt_tokens[model] * known.price[0] + self.tokens[model] * known.price[1]) / MILLION
        return spent

    def price(self, model: int) -> tuple[float, float] | None:
        """US dollars per million tokens in and out."""
        return self.known.get(self.models[model], UNKNOWN).price

    @cached_property
    def counted(self) -> tuple[bool, ...]:
        """(models,): whether every output token was recorded, hidden ones included."""
        return tuple(
            all((reply.details and reply.details.output_counted) for reply in self.texts.get(name, {}).values())
            and bool(self.texts.get(name))
            for name in self.models
        )

    def only(self, questions: Integers) -> Answers:
        """The same for some of the questions, by their numbers."""
        numbers = {int(old): new for new, old in enumerate(questions)}
        part = {name: getattr(self, name)[:, questions] for name in PER_REPLY}
        part["offers_tools"] = self.offers_tools[questions]
        joined = {numbers[old]: matrix for old, matrix in self.joined.items() if old in numbers}
        return replace(self, questions=tuple(self.questions[old] for old in numbers), joined=joined, **part)

    def index(self, model: str) -> int:
        if model not in self.models:
            raise EmergeError(
                f"no answers of {model} are recorded in {self.task}; there are: {', '.join(sorted(self.models))}"
            )
        return self.models.index(model)

    def has_logprobs(self, row: int) -> bool:
        """Whether the model's provider returns token probabilities; assumed of an unknown provider."""
        kind = KINDS.get(self.provider(self.models[row]) or "")
        return kind is None or kind.logprobs

    def tier(self, model: str) -> str | None:
        return self.known.get(model, UNKNOWN).tier

    def family(self, model: str) -> str | None:
        return self.known.get(model, UNKNOWN).family

    def provider(self, model: str) -> str | None:
        return self.known.get(model, UNKNOWN).provider


def read_answers(
    recordings: Recordings | Mixture,
    task: str,
    models: Collection[str] | None = None,
    *,
    also: Collection[str] = (),
    gold: bool = True,
) -> Answers:
    """The answers of the named models (default: all; `also`: if they are recorded) to the questions that every one
    of them answered. Questions that cannot be scored are left out, unless `gold` is false."""
    recordings.choose(task)
    questions = recordings.questions(task)
    replies = recordings.replies(task, questions, None if models is None else {*models, *also})
    missing = [name for name in models or () if name not in replies]
    if missing:
        known = ", ".join(sorted(recordings.replies(task, questions)))
        raise EmergeError(f"no answers of {', '.join(missing)} are recorded in {task}; there are: {known}")
    scorer = Scorer.of(recordings, task, needed=gold)
    if scorer.graded:
        replies = {name: _graded(scorer, of_model) for name, of_model in replies.items()}
    kept, sparse = _comparable(replies, keep=models or ())
    answered = [id_ for id_ in questions if any(id_ in replies[name] for name in replies)]
    answered = [id_ for id_ in answered if not gold or scorer.can_score(id_)]
    asked = [id_ for id_ in answered if all(id_ in replies[name] for name in kept)]
    if not asked:
        every = f"every model: {', '.join(kept)}" if kept else "any model"
        raise EmergeError(f"no question of {task} was answered by {every}")
    read = reader_of(scorer)
    builder = AnswersBuilder(read, kept)
    for number, id_ in enumerate(asked):
        builder.add(number, id_, {name: replies[name][id_] for name in kept})
    disputes = recordings.adjudications(task, kept)
    return builder.answers(
        task,
        [questions[id_] for id_ in asked],
        known=recordings.models(),
        texts={name: replies[name] for name in kept},
        left_out=len(answered) - len(asked),
        sparse=sparse,
        graded=scorer.graded,
        adjudications=Adjudications(disputes, questions, read) if disputes else None,
    )


def _graded(scorer: Scorer, of_model: Mapping[str, Reply]) -> dict[str, Reply]:
    """The replies of one model that have a grade."""
    return {id_: reply for id_, reply in of_model.items() if not isnan(scorer.score(id_, reply.completion()))}


def _comparable(
    replies: Mapping[str, Mapping[str, Reply]], keep: Collection[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The models that answered nearly all questions (and those of `keep`), and the others."""
    of = len({id_ for of_model in replies.values() for id_ in of_model})
    sparse = tuple(name for name in replies if name not in keep and len(replies[name]) < COVERED * of)
    return tuple(name for name in replies if name not in sparse), sparse


class Reading(NamedTuple):
    """What one reply says."""

    key: AnswerKey | None
    usable: bool
    refused: bool
    score: float
    probability: float  # NaN if none is recorded with the reply
    names: AnswerKey | None  # of the tools that it calls


Read = Callable[[str, Reply], Reading]
"""Reads a reply to the question with this id."""


def reader_of(scorer: Scorer) -> Read:
    """Reads replies by the product's own extraction, and scores them."""

    def read(question: str, reply: Reply) -> Reading:
        extractor, completion = scorer.extractor(question), reply.completion()
        reason = extractor.why_unusable(completion)
        key = extractor.key(completion)
        probability = extractor.probability(completion) if completion.logprobs and reason is None else None
        return Reading(
            key=key if reason is None else None,
            usable=reason is None,
            refused=reason is not None and reason.kind == "refusal",
            score=scorer.score(question, completion, key),
            probability=np.nan if probability is None else probability,
            names=names_key(completion.tool_calls) if completion.tool_calls and reason is None else None,
        )

    return read


@dataclass(frozen=True)
class Adjudications:
    """What models answered when they were shown a dispute."""

    replies: Mapping[Dispute, Reply]
    questions: Mapping[str, Question]
    read: Read

    @cached_property
    def by_model(self) -> Mapping[str, frozenset[str]]:
        """The questions of each model's recorded disputes."""
        found: dict[str, set[str]] = {}
        for dispute in self.replies:
            found.setdefault(dispute.model, set()).add(dispute.question)
        return {model: frozenset(questions) for model, questions in found.items()}

    def answers(
        self, task: str, known: Mapping[str, RecordedModel], models: Sequence[str], shown: Mapping[str, tuple[str, ...]]
    ) -> Answers | None:
        """The verdicts of these models on the texts shown, by question id, as arrays of these questions. None if one
        of them is not recorded."""
        builder = AnswersBuilder(self.read, models)
        texts: dict[str, dict[str, Reply]] = {model: {} for model in models}
        for number, (question, candidates) in enumerate(shown.items()):
            for model in models:
                reply = self.replies.get(Dispute(model, question, candidates))
                if reply is None:
                    return None
                texts[model][question] = reply
            builder.add(number, question, {model: texts[model][question] for model in models})
        questions = [self.questions[question] for question in shown]
        more = [estimated_tokens(dispute_message(each, MARK)) for each in shown.values()]
        return builder.answers(task, questions, known=known, texts=texts, more_tokens=more)


class AnswersBuilder:
    """Makes the arrays question by question. Equal texts of one question are read once."""

    def __init__(self, read: Read, models: Sequence[str]) -> None:
        self._read = read
        self._models = models
        self._rows: list[list[Reading]] = []
        self._codes: list[list[int]] = []
        self._replies: list[list[Reply]] = []
        self._joined: dict[int, Booleans] = {}

    def add(self, number: int, question: str, replies: Mapping[str, Reply]) -> None:
        known: dict[str, Reading] = {}
        row = []
        for reply in replies.values():
            reading = known.get(reply.text) if reply.details is None else None
            if reading is None:
                reading = self._read(question, reply)
            if reply.details is None:
                known[reply.text] = reading
            row.append(reading)
        self._codes.append(_numbered([reading.key for reading in row]))
        if len({reading.key for reading in row if reading.key and reading.key.kind == "text"}) > 1:
            self._joined[number] = _containments([reading.key for reading in row])
        self._rows.append(row)
        self._replies.append(list(replies.values()))

    def answers(
        self,
        task: str,
        questions: Sequence[Question],
        *,
        known: Mapping[str, RecordedModel],
        texts: Mapping[str, Mapping[str, Reply]],
        left_out: int = 0,
        sparse: tuple[str, ...] = (),
        graded: bool = False,
        adjudications: Adjudications | None = None,
        more_tokens: Sequence[int] = (),
    ) -> Answers:
        """`more_tokens`: by question, what the prompt holds beside the question, estimated."""
        confidences = [
            [_probability(reply, reading) for reply, reading in zip(replies, row, strict=True)]
            for replies, row in zip(self._replies, self._rows, strict=True)
        ]
        return Answers(
            task=task,
            questions=tuple(question.id for question in questions),
            models=tuple(self._models),
            known=known,
            codes=np.array(self._codes, dtype=np.int16).T.copy(),
            usable=self._flags("usable"),
            refused=self._flags("refused"),
            score=np.array([[reading.score for reading in row] for row in self._rows], dtype=np.float64).T.copy(),
            confidence=np.array(confidences, dtype=np.float64).T.copy(),
            prompt_tokens=self._prompt_tokens(questions, more_tokens),
            tokens=np.array([[reply.tokens for reply in row] for row in self._replies]).T.copy(),
            latency_ms=self._latencies(),
            joined=self._joined,
            offers_tools=np.array([_offers_tools(question) for question in questions], dtype=np.bool_),
            called=np.array(
                [[reading.names is not None for reading in row] for row in self._rows], dtype=np.bool_
            ).T.copy(),
            names=np.array(
                [_numbered([reading.names for reading in row]) for row in self._rows], dtype=np.int16
            ).T.copy(),
            graded=graded,
            adjudications=adjudications,
            texts=texts,
            left_out=left_out,
            sparse=sparse,
        )

    def _prompt_tokens(self, questions: Sequence[Question], more: Sequence[int]) -> Integers:
        """As the provider counted them, else estimated."""
        estimates = [estimated_tokens(prompt_of(question)) for question in questions]
        estimates = [each + extra for each, extra in zip(estimates, more or [0] * len(estimates), strict=True)]
        counted = [
            [(reply.details and reply.details.input_tokens) or estimate for reply in row]
            for row, estimate in zip(self._replies, estimates, strict=True)
        ]
        return np.array(counted, dtype=np.int64).T.copy()

    def _latencies(self) -> Floats:
        nan = float("nan")
        rows = [[(reply.details and reply.details.latency_ms) or nan for reply in row] for row in self._replies]
        return np.array(rows, dtype=np.float64).T.copy()

    def _flags(self, name: str) -> Booleans:
        return np.array([[getattr(reading, name) for reading in row] for row in self._rows], dtype=np.bool_).T.copy()


def _numbered(keys: Sequence[AnswerKey | None]) -> list[int]:
    """Keys as numbers in order of appearance."""
    numbers: dict[AnswerKey, int] = {}
    return [NO_KEY if key is None else numbers.setdefault(key, len(numbers)) for key in keys]


def _offers_tools(question: Question) -> bool:
    return question.request is not None and request_of(question).offers_tools


def _probability(reply: Reply, reading: Reading) -> float:
    """A letter's recorded confidence, as it comes back from a log probability, to the last bit."""
    if reply.details is not None or reply.confidence is None or not reply.text.startswith(LETTER_SENTENCE):
        return reading.probability
    return min(1.0, exp(log(reply.confidence))) if reply.confidence > 0 else 0.0


def _containments(keys: Sequence[AnswerKey | None]) -> Booleans:
    """(models, models): short texts that say the same without being equal."""
    count = len(keys)
    found = np.zeros((count, count), dtype=np.bool_)
    for a, first in enumerate(keys):
        for b in range(a):
            second = keys[b]
            if first and second and first != second and same(first, second):
                found[a, b] = found[b, a] = True
    return found
