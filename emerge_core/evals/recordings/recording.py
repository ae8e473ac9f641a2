"""Recordings: stored answers of models to the questions of a task.

A directory holds `models.json` and one folder per task with `questions.jsonl[.gz]` and
`responses.jsonl[.gz]`; a folder may hold `letters.jsonl[.gz]` too: answers of which only the letter
was kept, read as the task `<folder>_letters`. What a replay server may know (questions, replies) and
what only the scoring may know (gold answers, verdicts) are read by different functions.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from emerge_core.errors import EmergeError
from emerge_core.evals.recordings.rows import (
    ADJUDICATION,
    Dispute,
    Gold,
    Question,
    RecordedModel,
    Replies,
    Reply,
    Verdict,
    estimated_tokens,
    prompt_of,
    read_dispute,
    read_gold,
    read_letter,
    read_model,
    read_question,
    read_reply,
    read_sample,
    read_verdict,
    text,
)

__all__ = [
    "Gold",
    "Question",
    "RecordedModel",
    "Recordings",
    "Replies",
    "Reply",
    "Verdict",
    "estimated_tokens",
    "prompt_of",
    "read_rows",
]

LETTERS = "_letters"


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
            return {row["model"]: read_model(row) for row in json.loads(path.read_text("utf-8"))["models"]}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise EmergeError(f"{path}: not a list of models: {_fault(error)}") from error

    def questions(self, task: str) -> dict[str, Question]:
        """The task's questions by id. Those whose text was not recorded are left out."""
        found: dict[str, Question] = {}
        for place, row in read_rows(self._questions_file(task)):
            question = read_question(place, row)
            if question is None:
                continue
            if question.id in found:
                raise EmergeError(f"{place}: the id {question.id!r} occurs twice")
            found[question.id] = question
        return found

    def golds(self, task: str) -> dict[str, Gold]:
        """The accepted answers by question id."""
        return {text(place, row, "id"): read_gold(place, row) for place, row in read_rows(self._questions_file(task))}

    def replies(
        self, task: str, questions: Collection[str], models: Collection[str] | None = None, *, sample: int = 0
    ) -> dict[str, dict[str, Reply]]:
        """The members' replies by model and question id: of all models, or of those that are named; of several
        answers of one model to one question, that number `sample`. Calls that ended in an error are
        no replies."""
        read = read_letter if self._is_letters(task) else read_reply
        replies: dict[str, dict[str, Reply]] = {}
        for place, row in read_rows(self._replies_file(task)):
            model, question = text(place, row, "model"), text(place, row, "id")
            if (models is not None and model not in models) or row.get("role") or read_sample(place, row) != sample:
                continue
            if question not in questions:
                raise EmergeError(f"{place}: no question has the id {question!r}")
            reply = read(place, row)
            if reply is None:
                continue
            of_model = replies.setdefault(model, {})
            if question in of_model:
                raise EmergeError(f"{place}: a second reply of {model} to {question}")
            of_model[question] = reply
        return replies

    def samples(self, task: str) -> int:
        """How many answers of one model to one question were recorded, at most."""
        if self._is_letters(task):
            return 1
        rows = ((place, row) for place, row in read_rows(self._replies_file(task)) if not row.get("role"))
        return 1 + max((read_sample(place, row) for place, row in rows), default=0)

    def adjudications(self, task: str, models: Collection[str] | None = None) -> dict[Dispute, Reply]:
        """What models answered to questions when they were shown the texts of a dispute."""
        found: dict[Dispute, Reply] = {}
        if self._is_letters(task):
            return found
        for place, row in read_rows(self._replies_file(task)):
            if row.get("role") == ADJUDICATION and (models is None or row.get("model") in models):
                dispute = read_dispute(place, row)
                reply = read_reply(place, row)
                if reply is not None:
                    found[dispute] = reply
        return found

    def verdicts(self, task: str) -> Iterator[Verdict]:
        """The judged or graded rows of a task that keeps replies whole; none of a task of letters."""
        if self._is_letters(task):
            return
        for place, row in read_rows(self._replies_file(task)):
            if (verdict := read_verdict(place, row)) is not None:
                yield verdict

    def _is_letters(self, task: str) -> bool:
        return _file(self.directory / task, "responses") is None and task.endswith(LETTERS)

    def _folder(self, task: str) -> Path:
        return self.directory / (task.removesuffix(LETTERS) if self._is_letters(task) else task)

    def replies_file(self, task: str) -> Path:
        """Where the task's replies are."""
        return self._replies_file(task)

    def _questions_file(self, task: str) -> Path:
        return _existing(self._folder(task), "questions")

    def _replies_file(self, task: str) -> Path:
        return _existing(self._folder(task), "letters" if self._is_letters(task) else "responses")


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row of a JSONL file, packed or not, with its place, for messages."""
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise ValueError("a row must be a JSON object")
                    yield f"{path}:{number}", row
    except (ValueError, RecursionError) as error:
        raise EmergeError(f"{path}:{number}: {_fault(error)}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise EmergeError(f"{path}:{number + 1}: cannot be read: {error}") from error


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


def _fault(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} at column {error.colno}"
    return f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
