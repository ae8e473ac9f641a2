"""Verdicts and grades that no rule can give: by a judge model, or by a function of the user's own.

A verdict is right or wrong (`correct`: 1 or 0); a grade is a number from 0 to 1 (`score`). Both are written into the
rows, with the grader's name (`scored_by`), so that every later comparison reads them. Equal replies to one question
are graded once; what the same grader has graded is not graded again.
"""

from __future__ import annotations

import asyncio
import gzip
import importlib
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

from emerge_core.errors import EmergeError
from emerge_core.evals.recordings.recording import Question, Recordings, read_rows


class Case(NamedTuple):
    """A reply to be graded. `answers` are the accepted ones, if the question has any."""

    question: Question
    answers: tuple[str, ...]
    reply: str


Grader = Callable[[Case], Awaitable[bool | float | None]]
"""Returns whether the reply is right, or its grade from 0 to 1; None if it cannot tell."""


@dataclass(slots=True)
class GradingResult:
    """`rows` are the replies of the task, `right` those found right, `scores` the grades of those that were graded,
    `open` the number without either."""

    rows: int = 0
    right: int = 0
    scores: tuple[float, ...] = ()
    open: int = 0
    cost_usd: float = 0.0
    fault: str | None = None  # why the last call of a judge that failed did so

    @property
    def mean_score(self) -> float | None:
        """None if the replies were found right or wrong."""
        return sum(self.scores) / len(self.scores) if self.scores else None


def by_function(reference: str) -> Grader:
    """A grader that calls `module:function` with the question, the reply and the list of accepted answers.

    A bool says whether the reply is right, a number from 0 to 1 grades it, None leaves it open. Modules in the
    working directory are found. Raises EmergeError if there is no such function; the grader raises it if the function
    fails, or returns a number out of range.
    """
    module, _, name = reference.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise EmergeError(f"--python {reference}: {error}; write module:function") from error
    finally:
        sys.path.pop(0)

    async def grade(case: Case) -> bool | float | None:
        try:
            found = function(case.question.text, case.reply, list(case.answers))
        except Exception as error:
            raise EmergeError(f"{reference} failed on {case.question.id}: {type(error).__name__}: {error}") from error
        if found is None:
            return None
        if isinstance(found, bool) or not isinstance(found, Real):
            return bool(found)
        if not 0 <= float(found) <= 1:
            raise EmergeError(f"{reference} returned {found} on {case.question.id}: a grade is a number from 0 to 1")
        return float(found)

    return grade


async def grade_task(
    recordings: Recordings,
    task: str,
    grader: Grader,
    *,
    by: str,
    concurrency: int = 4,
    progress: Callable[[int, int], object] = lambda done, of: None,
) -> GradingResult:
    """Grades every reply of a task and writes the results into its rows, even if the run ends early. Raises
    EmergeError for a recording without texts."""
    path = recordings.replies_file(task)
    if path.name.startswith("letters"):
        raise EmergeError(f"{task} holds no texts to grade")
    questions, golds = recordings.questions(task), recordings.golds(task)
    rows = [dict(row) for _, row in read_rows(path)]
    places: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        if row.get("error") is None and row.get("response_text") and row["id"] in questions:
            places.setdefault((row["id"], row["response_text"].strip()), []).append(row)
    waiting = [key for key, same in places.items() if any(row.get("scored_by") != by for row in same)]
    done = 0
    left = iter(waiting)

    async def work() -> None:
        nonlocal done
        for id_, reply in left:
            found = await grader(Case(questions[id_], golds[id_].answers, reply))
            for row in places[id_, reply]:
                if found is not None:
                    _set(row, found, by)
            done += 1
            progress(done, len(waiting))

    tasks = [asyncio.create_task(work()) for _ in range(concurrency)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        _write(path, rows)
    graded = [row for same in places.values() for row in same]
    own = [row for row in graded if row.get("scored_by") == by]
    return GradingResult(
        rows=len(graded),
        right=sum(bool(row.get("correct")) for row in own),
        scores=tuple(row["score"] for row in own if row.get("score") is not None),
        open=len(graded) - len(own),
    )


def _set(row: dict[str, Any], found: bool | float, by: str) -> None:
    """Writes the result into the row, in place of an older one of either kind."""
    row.pop("score", None)
    row.pop("correct", None)
    row |= {"correct": int(found)} if isinstance(found, bool) else {"score": round(found, 6)}
    row["scored_by"] = by


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Replaces the file as a whole."""
    text = "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)
    raw = text.encode("utf-8", "replace")
    written = path.with_name(path.name + ".part")
    written.write_bytes(gzip.compress(raw, mtime=0) if path.suffix == ".gz" else raw)
    written.replace(path)
