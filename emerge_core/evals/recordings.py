"""Recordings: stored answers of models to the questions of a task.

A directory holds `models.json` and one folder per task with `questions.jsonl[.gz]` and
`responses.jsonl[.gz]`; a folder may hold `letters.jsonl[.gz]` too: answers of which only the letter
was kept, read as the task `<folder>_letters`. What a replay server may know (questions, replies) and
what only the scoring may know (gold answers, verdicts) are read by different functions.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from emerge_core.errors import EmergeError

LETTERS = "_letters"


@dataclass(frozen=True, slots=True)
class Question:
    id: str
    text: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Gold:
    """The accepted answers to a question and the form that they have; no answers = nothing to score by."""

    answers: tuple[str, ...]
    form: str


class Reply(NamedTuple):
    """What a model answered. `confidence` is the probability that it gave its answer, where one was recorded."""

    text: str
    tokens: int
    confidence: float | None = None


Replies = Mapping[str, Mapping[str, Reply]]  # by model, by question id


class Verdict(NamedTuple):
    """A person's judgement of one reply."""

    question: str
    text: str
    correct: bool


@dataclass(frozen=True, slots=True)
class RecordedModel:
    """What is known of a model; the price is in US dollars per million tokens."""

    tier: str | None = None
    price: tuple[float, float] | None = None  # input, output

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


class Recordings:
    """A directory of recordings. Opening it reads nothing but the names of its tasks."""

    def __init__(self, directory: Path) -> None:
        if not directory.is_dir():
            raise EmergeError(f"{directory} is not a directory of recordings")
        self.directory = directory
        self.tasks = tuple(_tasks_in(directory))
        if not self.tasks:
            raise EmergeError(
                f"{directory} holds no recordings: no folder in it has questions.jsonl(.gz) and responses.jsonl(.gz)"
            )

    def choose(self, task: str | None) -> tuple[str, ...]:
        """The named task, or all; an unknown name is an error that lists the known ones."""
        if task is None:
            return self.tasks
        if task not in self.tasks:
            raise EmergeError(f"no task {task!r} in {self.directory}; its tasks are: {', '.join(self.tasks)}")
        return (task,)

    def models(self) -> dict[str, RecordedModel]:
        """`models.json` by model name; empty where the file is absent."""
        path = self.directory / "models.json"
        if not path.is_file():
            return {}
        try:
            return {row["model"]: _model(row) for row in json.loads(path.read_text("utf-8"))["models"]}
        except (ValueError, KeyError, TypeError) as error:
            raise EmergeError(f"{path}: not a list of models: {_fault(error)}") from error

    def questions(self, task: str) -> dict[str, Question]:
        """The task's questions by id. Those whose text was not recorded are left out."""
        found: dict[str, Question] = {}
        for place, row in _rows(self._questions_file(task)):
            if row.get("question") is None:
                continue
            question = _question(place, row)
            if question.id in found:
                raise EmergeError(f"{place}: the id {question.id!r} occurs twice")
            found[question.id] = question
        return found

    def golds(self, task: str) -> dict[str, Gold]:
        """The accepted answers by question id."""
        golds: dict[str, Gold] = {}
        for place, row in _rows(self._questions_file(task)):
            answers = row.get("answers")
            if answers is not None and not _all_text(answers):
                raise EmergeError(f"{place}: `answers` must be a list of strings")
            default = "letter" if row.get("choices") else "short text"
            golds[_text(place, row, "id")] = Gold(tuple(answers or ()), str(row.get("answer_format") or default))
        return golds

    def replies(
        self, task: str, questions: Collection[str], models: Collection[str] | None = None
    ) -> dict[str, dict[str, Reply]]:
        """The replies by model and question id: of all models, or of those that are named."""
        letters = self._is_letters(task)
        read = _letter_reply if letters else _text_reply
        replies: dict[str, dict[str, Reply]] = {}
        for place, row in _rows(self._replies_file(task)):
            model, question = _text(place, row, "model"), _text(place, row, "id")
            if models is not None and model not in models:
                continue
            if question not in questions:
                raise EmergeError(f"{place}: no question has the id {question!r}")
            of_model = replies.setdefault(model, {})
            if question in of_model:
                raise EmergeError(f"{place}: a second reply of {model} to {question}")
            of_model[question] = read(place, row)
        return replies

    def verdicts(self, task: str) -> Iterator[Verdict]:
        """The judged rows of a task with full texts."""
        if self._is_letters(task):
            return
        for place, row in _rows(self._replies_file(task)):
            if row.get("correct") is not None:
                text = _text(place, row, "response_text")
                yield Verdict(_text(place, row, "id"), text, bool(row["correct"]))

    def _is_letters(self, task: str) -> bool:
        return _file(self.directory / task, "responses") is None and task.endswith(LETTERS)

    def _folder(self, task: str) -> Path:
        return self.directory / (task.removesuffix(LETTERS) if self._is_letters(task) else task)

    def _questions_file(self, task: str) -> Path:
        return _existing(self._folder(task), "questions")

    def _replies_file(self, task: str) -> Path:
        return _existing(self._folder(task), "letters" if self._is_letters(task) else "responses")


def _tasks_in(directory: Path) -> Iterator[str]:
    for folder in sorted(path for path in directory.iterdir() if path.is_dir()):
        if _file(folder, "questions"):
            if _file(folder, "responses"):
                yield folder.name
            if _file(folder, "letters"):
                yield folder.name + LETTERS


def _file(folder: Path, stem: str) -> Path | None:
    for suffix in (".jsonl.gz", ".jsonl"):
        path = folder / f"{stem}{suffix}"
        if path.is_file():
            return path
    return None


def _existing(folder: Path, stem: str) -> Path:
    path = _file(folder, stem)
    if path is None:
        raise EmergeError(f"{folder} has no {stem}.jsonl.gz or {stem}.jsonl")
    return path


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row with its place, for messages."""
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise ValueError("a row must be a JSON object")
                    yield f"{path}:{number}", row
    except ValueError as error:
        raise EmergeError(f"{path}:{number}: {_fault(error)}") from error
    except (OSError, EOFError) as error:
        raise EmergeError(f"{path}:{number + 1}: cannot be read: {error}") from error


def _question(place: str, row: Mapping[str, Any]) -> Question:
    choices = row.get("choices")
    if choices is not None and not _all_text(choices):
        raise EmergeError(f"{place}: `choices` must be a list of strings")
    return Question(_text(place, row, "id"), _text(place, row, "question"), tuple(choices or ()))


def _text_reply(place: str, row: Mapping[str, Any]) -> Reply:
    text = _text(place, row, "response_text")
    tokens = _number(place, row, "completion_tokens")
    if tokens is None:
        tokens = _number(place, row, "completion_tokens_est")
    return Reply(text, estimated_tokens(text) if tokens is None else int(tokens), _confidence(place, row))


def _letter_reply(place: str, row: Mapping[str, Any]) -> Reply:
    """A row without text. Where no letter was found the model's reply cannot be known: it is served empty."""
    letter = row.get("extracted_answer")
    text = "" if letter is None else _letter_text(_text(place, row, "extracted_answer"))
    tokens = _number(place, row, "completion_tokens")
    return Reply(text, estimated_tokens(text) if tokens is None else int(tokens), _confidence(place, row))


@cache  # one string per letter, however many rows say it
def _letter_text(letter: str) -> str:
    return f"The answer is ({letter})."


def _confidence(place: str, row: Mapping[str, Any]) -> float | None:
    """The answer's token probability; else the confidence that the model stated."""
    for name in ("confidence_logit", "confidence_stated"):
        value = _number(place, row, name)
        if value is not None:
            if not 0 <= value <= 1:
                raise EmergeError(f"{place}: `{name}` must be between 0 and 1")
            return value
    return None


def estimated_tokens(text: str) -> int:
    """About four characters make a token."""
    return (len(text) + 3) // 4


def _model(row: Mapping[str, Any]) -> RecordedModel:
    price = row.get("price")
    return RecordedModel(row.get("tier"), (float(price["input"]), float(price["output"])) if price else None)


def _text(place: str, row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise EmergeError(f"{place}: `{name}` must be a string" if name in row else f"{place}: `{name}` is missing")
    return value


def _number(place: str, row: Mapping[str, Any], name: str) -> float | None:
    value = row.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise EmergeError(f"{place}: `{name}` must be a number")
    return value


def _all_text(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _fault(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} at column {error.colno}"
    return f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
