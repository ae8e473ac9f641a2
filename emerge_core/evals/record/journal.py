"""The files of a recording that is being made. Rows are appended one by one, so that they survive an interruption."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from emerge_core.errors import EmergeError
from emerge_core.evals.record.models import FRONTIER, MEMBER
from emerge_core.evals.recordings.recording import read_rows
from emerge_core.evals.recordings.rows import ADJUDICATION, Dispute, read_dispute, read_sample

# Errors that another attempt would only repeat. A row with any other error is asked again.
_LASTING = ("invalid_request", "context_length", "unsupported")


class Place(NamedTuple):
    """Which question, model and sample a row answers."""

    question: str
    model: str
    sample: int


class Journal:
    """One task's folder. `settled` holds the places, and `settled_disputes` the disputes, that need not be asked
    again."""

    def __init__(self, directory: Path, task: str) -> None:
        self.folder = directory / task
        self.folder.mkdir(parents=True, exist_ok=True)
        self._questions = self._plain("questions")
        self._responses = self._plain("responses")
        self._models = directory / "models.json"
        for path in (self._questions, self._responses):
            _mend(path)
        self.settled: set[Place] = set()
        self.settled_disputes: set[Dispute] = set()
        for where, row in self.rows():
            if _settles(row) and row.get("role") == ADJUDICATION:
                self.settled_disputes.add(read_dispute(where, row))
            elif _settles(row) and not row.get("role"):
                self.settled.add(_place(where, row))
        self._file = self._responses.open("ab", buffering=0)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def add_questions(self, rows: Iterable[Mapping[str, Any]]) -> set[str]:
        """Append the questions that are not there yet, and return the ids of those that were. Raises EmergeError if
        an id belongs to another question there."""
        known = {row["id"]: row for _, row in read_rows(self._questions)} if self._questions.is_file() else {}
        with self._questions.open("ab") as file:
            for row in rows:
                old = known.get(row["id"])
                if old is None:
                    file.write(_line(row))
                elif any(old.get(name) != row.get(name) for name in ("question", "choices", "request")):
                    raise EmergeError(
                        f"{self._questions}: {row['id']!r} is another question there; give another --task or --out"
                    )
        return {str(each) for each in known}

    def add_models(
        self, rows: Iterable[Mapping[str, Any]], frontier: Collection[str] | None = None
    ) -> list[dict[str, Any]]:
        """Add the models to `models.json` and return their rows as they are then. Fields that the file has already
        stay. With `frontier`, the tier of each row is set: these upstream names are frontier, the others are not."""
        try:
            known = json.loads(self._models.read_text("utf-8"))["models"] if self._models.is_file() else []
            models = {row["model"]: row for row in known}
        except (ValueError, KeyError, TypeError) as error:
            raise EmergeError(f"{self._models}: not a list of models") from error
        merged = []
        for row in rows:
            found = models[row["model"]] = {**row, **models.get(row["model"], {})}
            if frontier is not None:
                was = found.get("tier")
                found["tier"] = FRONTIER if row["model"] in frontier else MEMBER if was in (None, FRONTIER) else was
            merged.append(found)
        written = self._models.with_suffix(".json.part")
        written.write_text(json.dumps({"models": list(models.values())}, indent=1, ensure_ascii=False) + "\n", "utf-8")
        written.replace(self._models)
        return merged

    def is_settled(self, row: Place | Dispute) -> bool:
        """Whether the row need not be asked again."""
        return row in self.settled_disputes if isinstance(row, Dispute) else row in self.settled

    def add(self, place: Place | Dispute, fields: Mapping[str, Any]) -> None:
        """Append a row: a member's reply, or what a model answered when it was shown a dispute."""
        head: dict[str, Any] = {"id": place.question, "model": place.model}
        if isinstance(place, Dispute):
            head |= {"role": ADJUDICATION, "candidates": list(place.texts)}
        else:
            head["sample"] = place.sample
        self._file.write(_line({**head, **fields}))
        if not _settles(fields):
            return
        if isinstance(place, Dispute):
            self.settled_disputes.add(place)
        else:
            self.settled.add(place)

    def _plain(self, stem: str) -> Path:
        packed = self.folder / f"{stem}.jsonl.gz"
        if packed.exists():
            raise EmergeError(f"{packed} is packed: to go on recording into it, unpack it (gunzip)")
        return self.folder / f"{stem}.jsonl"

    def rows(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The rows of replies, each with its place in the file."""
        return read_rows(self._responses) if self._responses.is_file() else iter(())


def _place(where: str, row: Mapping[str, Any]) -> Place:
    return Place(str(row.get("id")), str(row.get("model")), read_sample(where, row))


def _settles(row: Mapping[str, Any]) -> bool:
    error = row.get("error")
    return error is None or error.get("kind") in _LASTING


def _line(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"


def _mend(path: Path) -> None:
    """Repair the end of a file that a killed run left: cut off half a line, end a whole one with a newline."""
    if not path.is_file():
        return
    with path.open("r+b") as file:
        content = file.read()
        start = content.rfind(b"\n") + 1
        tail = content[start:]
        if not tail:
            return
        try:
            json.loads(tail)
        except ValueError:
            file.truncate(start)
        else:
            file.write(b"\n")
