"""The last requests, in memory, for the console: names, outcomes, tokens, times and costs.

An entry keeps no prompt, no answer and no upstream's error text, since an upstream may quote the prompt in it; error
kinds are kept. Only a config that logs content (`log_content` with `trace: full`) adds it, cut to `MOST_CHARACTERS`.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any, NamedTuple
from uuid import uuid4

from emerge_core.telemetry import Recorder
from emerge_core.types import AnswerKey, Call, ChatRequest, Cost, Form, Trace, Usage

MOST_REQUESTS = 500
MOST_CHARACTERS = 2000
MOST_NAME = 128


class CallEntry(NamedTuple):
    id: str
    role: str
    model: str
    provider: str
    status: str
    error: str | None  # the kind of an upstream's error, with its HTTP status, or why the reply was not usable
    attempts: int
    began_ms: float
    latency_ms: float
    usage: Usage | None
    cost: Cost
    text: str | None  # only if content is kept; so is the key
    key: str | None


class Entry(NamedTuple):
    number: int  # counts the requests of this process from 1
    ended_at: float  # seconds since the epoch
    request_id: str
    name: str  # what the client put in `model`
    ensemble: str
    form: Form | None  # if routes chose the ensemble
    status: int
    code: str | None  # of the error
    rule: str | None
    agreement: float | None
    early: bool
    escalated: bool
    abstained: bool
    degraded: bool
    latency_ms: float
    overhead_ms: float
    cost: Cost
    baseline: Cost | None
    selected: tuple[str, ...]  # call ids
    votes: tuple[tuple[float, tuple[str, ...]], ...]  # weight and call ids of each group
    calls: tuple[CallEntry, ...]
    question: str | None  # only if content is kept


class History:
    """The newest requests of this process, at most `most`."""

    def __init__(self, most: int = MOST_REQUESTS) -> None:
        self._entries: deque[Entry] = deque(maxlen=most)
        self._count = 0
        self.process = uuid4().hex[:8]  # tells this list from that of another process, whose numbers are its own

    def recorder(self, *, content: bool) -> Recorder:
        """What an engine calls with every request that is over."""

        def record(request: ChatRequest, trace: Trace) -> None:
            self._count += 1
            self._entries.append(_entry(self._count, trace, request if content else None))

        return record

    def since(self, number: int) -> list[Entry]:
        """The entries with a higher number, oldest first."""
        return [entry for entry in self._entries if entry.number > number]

    @property
    def count(self) -> int:
        """The requests of this process so far, those that were dropped included."""
        return self._count


def _entry(number: int, trace: Trace, content: ChatRequest | None) -> Entry:
    decision, failure = trace.decision, trace.failure
    unusable = {c.call.id: c.why_unusable.kind for c in trace.candidates if c.why_unusable}
    keys = {c.call.id: c.key for c in trace.candidates} if content else None
    return Entry(
        number,
        time.time(),
        trace.request_id,
        trace.name[:MOST_NAME],
        trace.ensemble,
        trace.route.form if trace.route else None,
        failure.status if failure else 200,
        failure.code or failure.type if failure else None,
        decision.rule if decision else None,
        decision.agreement if decision else None,
        bool(decision and decision.early),
        bool(decision and decision.escalated),
        bool(decision and decision.abstained),
        trace.degraded,
        trace.latency_ms,
        trace.overhead_ms,
        trace.cost,
        trace.baseline,
        decision.selected if decision else (),
        tuple((group.weight, group.call_ids) for group in decision.votes) if decision else (),
        tuple(_call(call, unusable.get(call.id), keys) for call in trace.calls),
        content.last_user_text[:MOST_CHARACTERS] if content else None,
    )


def _call(call: Call, unusable: str | None, keys: dict[str, AnswerKey | None] | None) -> CallEntry:
    done = call.completion
    error, text, key = unusable, None, None
    if done.error:
        error = done.error.kind if done.error.status is None else f"{done.error.kind} {done.error.status}"
    if keys is not None:
        text = (done.text or done.refusal or "")[:MOST_CHARACTERS]
        found = keys.get(call.id)
        key = found.value[:MOST_CHARACTERS] if found else None
    return CallEntry(
        call.id,
        call.role,
        call.model,
        call.provider,
        call.status,
        error,
        done.attempts,
        call.began_ms,
        done.latency_ms,
        done.usage,
        done.cost,
        text,
        key,
    )


def entry_json(entry: Entry) -> dict[str, Any]:
    """The entry as the page reads it. A cost that is not known is null."""
    return {
        **entry._asdict(),
        "latency_ms": round(entry.latency_ms, 2),
        "overhead_ms": round(entry.overhead_ms, 2),
        "cost": _usd(entry.cost),
        "cost_known": entry.cost.known,
        "cost_estimated": entry.cost.estimated,
        "baseline": _usd(entry.baseline) if entry.baseline and entry.baseline.known else None,
        "votes": [{"weight": weight, "calls": list(calls)} for weight, calls in entry.votes],
        "calls": [_call_json(call) for call in entry.calls],
    }


def _call_json(call: CallEntry) -> dict[str, Any]:
    return {
        **call._asdict(),
        "began_ms": round(call.began_ms, 2),
        "latency_ms": round(call.latency_ms, 2),
        "usage": {"input": call.usage.input_tokens, "output": call.usage.output_tokens} if call.usage else None,
        "cost": _usd(call.cost),
        "cost_known": call.cost.known,
        "cost_estimated": call.cost.estimated,
    }


def _usd(cost: Cost) -> float:
    return round(cost.usd, 9)
