"""A scripted engine, and the traces that it returns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from emerge_core.config import parse_config
from emerge_core.config.schema import Config
from emerge_core.engine.engine import Limits
from emerge_core.types import (
    AnswerKey,
    Call,
    CallError,
    Candidate,
    ChatRequest,
    Completion,
    Cost,
    Decision,
    Delta,
    Member,
    Progress,
    Sink,
    Trace,
    Unusable,
    Usage,
    VoteGroup,
)

CONFIG = """
providers: {sim: {kind: simulated}}
models:
  mini: {provider: sim, model: sim-a}
  haiku: {provider: sim, model: sim-b}
  flash: {provider: sim, model: sim-c}
ensembles:
  emerge: {members: [mini, haiku, flash], aggregator: vote}
  other: {members: [mini, haiku]}
default: emerge
"""
MODELS = ("mini", "haiku", "flash")


def reply(text: str | None = "42", **fields: Any) -> Completion:
    defaults: dict[str, Any] = {
        "finish_reason": "stop",
        "usage": Usage(input_tokens=10, output_tokens=2, cached_tokens=4, reasoning_tokens=1),
        "cost": Cost(usd=0.1),
        "latency_ms": 12.3456,
    }
    return Completion(text=text, **{**defaults, **fields})


def failed(kind: Any = "rate_limit", message: str = "slow down", status: int | None = 429) -> Completion:
    return Completion(error=CallError(kind=kind, message=message, status=status), cost=Cost(usd=0.0))


def trace(
    *completions: Completion,
    name: str = "emerge",
    keys: Sequence[str | None] = (),
    winner: int = 0,
    message: Completion | None = None,
    **fields: Any,
) -> Trace:
    """Of members that replied so, the one at `winner` chosen. `keys` are the answers' keys, None for unusable."""
    calls, candidates = [], []
    for index, completion in enumerate(completions):
        member = Member(model=MODELS[index], position=index)
        status: Any = "ok" if completion.ok else "error"
        call = Call(
            id=str(index + 1),
            role="member",
            model=member.model,
            provider="sim",
            status=status,
            completion=completion,
            member=member,
        )
        key = keys[index] if index < len(keys) else completion.text
        why = None if completion.ok and key is not None else "error" if not completion.ok else "empty"
        calls.append(call)
        candidates.append(
            Candidate(
                call=call,
                member=member,
                why_unusable=Unusable("error" if why == "error" else "empty") if why else None,
                key=None if why else AnswerKey("number", str(key)),
                confidence=None if why else 0.75,
            )
        )
    selected = candidates[winner]
    decision = Decision(
        message=message or selected.completion,
        selected=(selected.call.id,),
        rule="vote:majority",
        votes=groups(candidates),
        agreement=2 / 3,
    )
    made = Trace(
        request_id="r",
        name=name,
        strategy="ensemble",
        aggregator="vote",
        calls=tuple(calls),
        candidates=tuple(candidates),
        decision=decision,
        latency_ms=20.00049,
        overhead_ms=1.5,
    )
    return replace(made, **fields)


def groups(candidates: Sequence[Candidate]) -> tuple[VoteGroup, ...]:
    said: dict[AnswerKey, list[Candidate]] = {}
    for candidate in candidates:
        if candidate.key:
            said.setdefault(candidate.key, []).append(candidate)
    votes = [
        VoteGroup(
            key=key,
            weight=float(len(members)),
            members=tuple(c.member.model for c in members),
            call_ids=tuple(c.call.id for c in members),
        )
        for key, members in said.items()
    ]
    return tuple(sorted(votes, key=lambda group: -group.weight))


@dataclass
class Scripted:
    """An engine that gives `result` (a trace, an exception, or a function of request and name) after `delay_s`."""

    result: Trace | Exception | Callable[[ChatRequest, str], Trace] = field(
        default_factory=lambda: trace(reply(), reply(), reply("41"))
    )
    says: Sequence[Delta] = ()  # heard by whoever streams, before the result
    delay_s: float = 0.0
    config: Config = field(default_factory=lambda: parse_config(CONFIG, source="test"))
    requests: list[ChatRequest] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    limits: list[Limits | None] = field(default_factory=list)
    request_ids: list[str | None] = field(default_factory=list)
    progress: Progress | None = None  # of the last request
    cancelled: int = 0
    closed: bool = False

    async def run(
        self,
        request: ChatRequest,
        name: str,
        *,
        limits: Limits | None = None,
        request_id: str | None = None,
        live: Sink | None = None,
        progress: Progress | None = None,
    ) -> Trace:
        self.progress = progress
        self.requests.append(request)
        self.names.append(name)
        self.limits.append(limits)
        self.request_ids.append(request_id)
        try:
            for delta in self.says:
                if live:
                    live(delta)
                await asyncio.sleep(0)
            await asyncio.sleep(self.delay_s)
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # closing connections takes a moment
            self.cancelled += 1
            raise
        if isinstance(self.result, Exception):
            raise self.result
        return self.result if isinstance(self.result, Trace) else self.result(request, name)

    async def embed(self, request: Any, name: str, **_: Any) -> tuple[Trace, list[list[float]]]:
        raise AssertionError("nothing here asks for embeddings")

    async def count_tokens(self, request: ChatRequest, name: str) -> None:
        return None

    def breakers(self) -> dict[str, Any]:
        return {"mini": {"state": "open"}}

    def refusals(self) -> list[dict[str, Any]]:
        return []

    async def aclose(self) -> None:
        self.closed = True
