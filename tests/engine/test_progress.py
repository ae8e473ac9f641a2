"""A caller may watch the calls of its request: each begins once, ends once, and says when it began."""

from __future__ import annotations

import asyncio
from typing import Any

from emerge_core.engine.engine import Engine
from emerge_core.types import Call, ChatRequest, Role

ENSEMBLES = '{"emerge": {"members": ["a", "b"], "aggregator": "vote", "escalate": {"to": "e", "final": "adjudicate"}}}'


class Watch:
    def __init__(self) -> None:
        self.seen: list[tuple[str, ...]] = []
        self.calls: list[Call] = []

    def began(self, call_id: str, role: Role, model: str) -> None:
        self.seen.append(("began", call_id, role, model))

    def ended(self, call: Call) -> None:
        self.seen.append(("ended", call.id, call.status))
        self.calls.append(call)


def test_every_call_is_seen_to_begin_and_to_end(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("The answer is 42."), "b": says("The answer is 41."), "e": says("The answer is 42.")}
    watch = Watch()

    async def once() -> Any:
        async with Engine(panels(ENSEMBLES), environ={}) as engine:
            return await engine.run(ChatRequest.of("What is 6 times 7?"), "emerge", progress=watch)

    trace = asyncio.run(once())
    assert watch.seen[:2] == [("began", "1", "member", "a"), ("began", "2", "member", "b")]
    assert set(watch.seen[2:4]) == {("ended", "1", "ok"), ("ended", "2", "ok")}
    assert watch.seen[4:] == [("began", "3", "adjudication", "e"), ("ended", "3", "ok")]
    assert sorted(watch.calls, key=lambda call: call.id) == list(trace.calls)
    first, _, last = trace.calls
    assert first.began_ms >= 0
    assert first.completion.latency_ms <= last.began_ms <= trace.latency_ms
