"""Makes a recording of other tools' logs: replies to the same prompt are replies to the same question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from emerge_core.errors import EmergeError
from emerge_core.evals.record.journal import Journal, Place
from emerge_core.evals.record.log_formats import LogFile, LoggedReply, read_logs
from emerge_core.evals.record.questions import question_row


@dataclass(slots=True)
class ImportReport:
    """`replies` counts new rows by model; `known` those that were there; `skipped` the entries left out, by reason."""

    questions: int = 0
    replies: dict[str, int] = field(default_factory=dict)
    known: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    tools: tuple[str, ...] = ()


def import_logs(files: Sequence[LogFile], journal: Journal) -> ImportReport:
    """Append the replies that the files hold and the journal does not. Of several replies of one model to one question
    the first is kept, with the best verdict of them. Raises EmergeError if there is none."""
    logs = read_logs(files)
    if not logs.replies:
        why = "; ".join(f"{count} {reason}" for reason, count in logs.skipped.items()) or "no replies in them"
        raise EmergeError(f"nothing to record from {', '.join(str(file.path) for file in files)}: {why}")
    questions: dict[str, dict[str, Any]] = {}
    rows: dict[Place, dict[str, Any]] = {}
    for reply in logs.replies:
        question = _question(reply)
        known = questions.setdefault(question["id"], question)
        if "answers" in question and "answers" not in known:
            known |= {name: question[name] for name in ("answers", "answer_format")}
        place = Place(question["id"], reply.model, 0)
        row = rows.setdefault(place, {**reply.reply, **({"scored_by": reply.tool} if "correct" in reply.reply else {})})
        if (
            reply.reply.get("correct", 0) > row.get("correct", 0)
            and reply.reply["response_text"] == row["response_text"]
        ):
            row |= {"correct": 1, "scored_by": reply.tool}
    journal.add_questions(questions.values())
    report = ImportReport(questions=len(questions), skipped=dict(logs.skipped))
    report.tools = tuple(dict.fromkeys(reply.tool for reply in logs.replies))
    for place, row in rows.items():
        if journal.is_settled(place):
            report.known += 1
            continue
        journal.add(place, row)
        report.replies[place.model] = report.replies.get(place.model, 0) + 1
    journal.add_models([{"model": model} for model in dict.fromkeys(place.model for place in rows)])
    return report


def _question(reply: LoggedReply) -> dict[str, Any]:
    """The question that the request asks: its text, if it is one user message and nothing else."""
    more: dict[str, Any] = {"answers": list(reply.answers)} if reply.answers else {}
    text = _single_message(reply.request)
    return question_row(reply.tool, {**({"question": text} if text else {"request": reply.request}), **more})


def _single_message(request: Mapping[str, Any]) -> str | None:
    messages = request["messages"]
    plain = request.keys() == {"messages"} and len(messages) == 1 and messages[0].get("role") == "user"
    text = messages[0].get("content") if plain else None
    return text if isinstance(text, str) and text.strip() else None
