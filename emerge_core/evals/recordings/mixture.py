"""Several tasks of a recording as one task, so that one server can answer a mix of them.

The id of a question is then `<task>/<id>`: two tasks may use the same ids.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from emerge_core.evals.recordings.recording import Recordings
from emerge_core.evals.recordings.rows import Dispute, Gold, Question, RecordedModel, Reply

NAME = "mix"


def mixed_id(task: str, question: str) -> str:
    return f"{task}/{question}"


def split_id(mixed: str) -> tuple[str, str]:
    """The task and the question's own id. Names of tasks hold no slash: they are names of folders."""
    task, _, question = mixed.partition("/")
    return task, question


class Mixture:
    """Reads like `Recordings` with a single task; `task` arguments are ignored. Raises EmergeError for a task that
    the recording does not have."""

    def __init__(self, recordings: Recordings, tasks: Sequence[str]) -> None:
        self.parts = tuple(name for task in tasks for name in recordings.choose(task))
        self.recordings = recordings

    def choose(self, task: str | None) -> tuple[str, ...]:
        return (NAME,)

    def models(self) -> dict[str, RecordedModel]:
        return self.recordings.models()

    def questions(self, task: str = NAME) -> dict[str, Question]:
        return {
            mixed_id(part, id_): replace(question, id=mixed_id(part, id_))
            for part in self.parts
            for id_, question in self.recordings.questions(part).items()
        }

    def golds(self, task: str = NAME) -> dict[str, Gold]:
        return {mixed_id(part, id_): gold for part in self.parts for id_, gold in self.recordings.golds(part).items()}

    def replies(
        self, task: str, questions: Collection[str], models: Collection[str] | None = None
    ) -> dict[str, dict[str, Reply]]:
        """The replies by model and question, as those of a single task."""
        found: dict[str, dict[str, Reply]] = {}
        for part in self.parts:
            own = {id_ for name, id_ in map(split_id, questions) if name == part}
            for model, replies in self.recordings.replies(part, own, models).items():
                of_model = found.setdefault(model, {})
                of_model.update((mixed_id(part, id_), reply) for id_, reply in replies.items())
        return found

    def adjudications(self, task: str, models: Collection[str] | None = None) -> dict[Dispute, Reply]:
        return {
            dispute._replace(question=mixed_id(part, dispute.question)): reply
            for part in self.parts
            for dispute, reply in self.recordings.adjudications(part, models).items()
        }
