"""Makes a recording of the log of a deployed emerge, without any further call.

With `trace: full` and `log_content: true` the log holds each request (a `request` line) and what every member answered
(`call` lines). The files are logs of the local server or of Lambda: JSON lines, with or without a prefix
(`aws logs tail`), or the JSON of `aws logs filter-log-events`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emerge_core.config.schema import Config
from emerge_core.errors import EmergeError
from emerge_core.evals.record.journal import Journal, Place
from emerge_core.evals.record.questions import question_row
from emerge_core.evals.recordings.log_lines import Line, log_lines

ROLES = ("member", "escalation")


@dataclass(slots=True)
class Found:
    """What a log holds. `mute` counts requests whose content was not logged; `cut` counts calls that were cancelled,
    because the decision no longer depended on them."""

    requests: int = 0
    answers: int = 0
    errors: int = 0
    known: int = 0
    mute: int = 0
    cut: int = 0
    models: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Trace:
    request: Mapping[str, Any] | None = None
    calls: list[Line] = field(default_factory=list)
    seen: bool = False


def keep_traces(paths: Sequence[Path], config: Config, journal: Journal) -> Found:
    """Append the replies that the logs hold and the journal does not. Models get the config's upstream names. Raises
    EmergeError if no request was logged with its content."""
    traces = _traces(paths)
    found = Found(mute=sum(each.seen and each.request is None for each in traces.values()))
    questions = {
        request_id: question_row(f"request {request_id}", {"request": trace.request})
        for request_id, trace in traces.items()
        if trace.request is not None
    }
    journal.add_questions({row["id"]: row for row in questions.values()}.values())
    known = {(row.get("request_id"), row.get("call")) for _, row in journal.rows()}
    samples = Counter((place.question, place.model) for place in journal.settled)
    found.requests = len(questions)
    for request_id, question in questions.items():
        for call in traces[request_id].calls:
            if (request_id, call["call"]) in known:
                found.known += 1
                continue
            fields = _fields(call)
            if fields is None:
                found.cut += call.get("status") == "cancelled"
                continue
            name = str(call["model"])
            model = config.models[name].model if name in config.models else name
            failed = "error" in fields
            place = Place(question["id"], model, samples[question["id"], model])
            samples[question["id"], model] += not failed  # an answer takes the place of an error
            head = {"provider": call.get("provider"), "request_id": request_id, "call": call["call"]}
            journal.add(place, {**head, **fields})
            found.models.add(name)
            found.answers += not failed
            found.errors += failed
    if not found.requests:
        why = f"{found.mute} requests were logged without their content" if found.mute else "no request was logged"
        raise EmergeError(
            f"{', '.join(map(str, paths))}: nothing to record: {why}; content is logged if the config says "
            "`trace: full` and `log_content: true`, and by a local server under `emerge serve --log`"
        )
    return found


def _traces(paths: Iterable[Path]) -> dict[str, _Trace]:
    traces: dict[str, _Trace] = {}
    for path in paths:
        for line in log_lines(path):
            request_id = line.get("request_id")
            event = line.get("event") or line.get("message")
            if not isinstance(request_id, str) or event not in ("call", "request"):
                continue
            trace = traces.setdefault(request_id, _Trace())
            if event == "call":
                if line.get("role") in ROLES and all(each["call"] != line.get("call") for each in trace.calls):
                    trace.calls.append(line)
            else:
                trace.seen = True
                if isinstance(line.get("request"), Mapping):
                    trace.request = line["request"]
    return traces


def _fields(call: Line) -> dict[str, Any] | None:
    """The call's part of a row; None if it says nothing of the model: cancelled, never made, or not logged."""
    measured = {"latency_ms": call.get("latency_ms")}
    if call.get("cost_known"):
        measured["cost_usd"] = call.get("cost_usd")
    if call.get("status") in ("error", "timeout"):
        return {"error": {"kind": call.get("error")}, **measured}
    if call.get("status") != "ok" or not ("text" in call or call.get("tool_calls")):
        return None
    fields = {"response_text": call.get("text") or "", "finish_reason": call.get("finish_reason")}
    for name in ("tool_calls", "refusal", "upstream_model", "logprobs"):
        if call.get(name):
            fields[name] = call[name]
    if call.get("output_tokens") is not None:
        fields["usage"] = {"input_tokens": call.get("input_tokens"), "output_tokens": call["output_tokens"]}
        fields["completion_tokens"] = call["output_tokens"]
    return {**fields, **measured}
