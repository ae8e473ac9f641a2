"""No reply can raise through the decision: an invalid one is that member's alone, and what we fail at is recorded."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from emerge_core.aggregators import AGGREGATORS
from emerge_core.answers import Extractor
from emerge_core.engine.engine import Engine
from emerge_core.types import ChatRequest, Trace

TOOLS = ({"type": "function", "function": {"name": "pay", "parameters": {"type": "object"}}},)
TOOL_REQUEST = ChatRequest(messages=({"role": "user", "content": "Pay."},), tools=TOOLS)
JSON_REQUEST = ChatRequest(
    messages=({"role": "user", "content": "Give JSON."},), response_format={"type": "json_object"}
)
OPTIONS = {"judge": {"judge": "e"}, "merge": {"merger": "e"}}
ENSEMBLES: dict[str, dict[str, Any]] = {
    name: {"members": ["a", "b", "c"], "aggregator": {"name": name, **OPTIONS.get(name, {})}, "early_decision": False}
    for name in AGGREGATORS
} | {
    "adjudicated": {"members": ["a", "b", "c"], "aggregator": "vote", "escalate": {"to": "e", "final": "adjudicate"}},
    "cascade": {"members": ["a", "b", "c"], "strategy": {"name": "cascade", "stop": "agree", "order": "config"}},
}


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"x": value}
    return value


def run(config: Any, request: ChatRequest, name: str, recorded: list[Trace] | None = None) -> Trace:
    async def once() -> Trace:
        record = None if recorded is None else lambda _, trace: recorded.append(trace)
        engine = Engine(config, environ={}, record=record)
        try:
            return await engine.run(request, name)
        finally:
            await engine.aclose()

    return asyncio.run(once())


@pytest.mark.parametrize("name", ENSEMBLES)
@pytest.mark.parametrize("depth", [90, 250, 500, 900])
def test_deep_arguments_are_that_members_fault_alone(
    upstream: Any, says: Any, panels: Any, name: str, depth: int
) -> None:
    upstream.script = {
        "a": says(tool_calls=[("pay", nested(depth))]),
        "b": says(tool_calls=[("pay", {"usd": 1})]),
        "c": says(tool_calls=[("pay", {"usd": 1})]),
        "e": says(tool_calls=[("pay", {"usd": 1})]),
    }
    trace = run(panels(json.dumps(ENSEMBLES)), TOOL_REQUEST, name)
    assert trace.failure is None
    assert trace.decision is not None
    assert trace.decision.message.tool_calls[0].arguments == '{"usd": 1}'


@pytest.mark.parametrize("name", ENSEMBLES)
def test_deep_json_is_that_members_fault_alone(upstream: Any, says: Any, panels: Any, name: str) -> None:
    good = says('{"n": 1}')
    upstream.script = {"a": says('{"x": ' * 600 + "1" + "}" * 600), "b": good, "c": good, "e": good}
    trace = run(panels(json.dumps(ENSEMBLES)), JSON_REQUEST, name)
    assert trace.failure is None
    assert trace.decision is not None
    assert trace.decision.message.text == '{"n": 1}'


def test_what_cannot_be_read_is_unusable(
    upstream: Any, says: Any, panels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is wrong with our own reading of one reply costs that reply, not the request."""
    original = Extractor.why_unusable

    def broken(self: Extractor, completion: Any) -> Any:
        if completion.text == "poison":
            raise RecursionError
        return original(self, completion)

    monkeypatch.setattr(Extractor, "why_unusable", broken)
    upstream.script = {"a": says("poison"), "b": says("42"), "c": says("42")}
    trace = run(panels(json.dumps(ENSEMBLES)), ChatRequest(messages=({"role": "user", "content": "6 x 7?"},)), "vote")
    assert trace.decision is not None
    assert trace.decision.message.text == "42"
    assert [str(c.why_unusable) for c in trace.candidates if not c.usable] == ["error: unreadable reply"]
    assert trace.degraded


def test_an_internal_error_is_recorded_with_every_billed_call(
    upstream: Any, says: Any, panels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("emerge_core.aggregators.vote.aggregate", broken)
    upstream.script = {name: says("42") for name in "abc"}
    recorded: list[Trace] = []
    request = ChatRequest(messages=({"role": "user", "content": "6 x 7?"},))
    trace = run(panels(json.dumps(ENSEMBLES)), request, "vote", recorded)
    assert trace.decision is None
    assert trace.failure is not None
    assert (trace.failure.status, trace.failure.code) == (500, "internal_error")
    assert [call.status for call in trace.calls] == ["ok"] * 3
    assert trace.cost.usd == pytest.approx(3 * (100 + 2 * 10) / 1e6)
    assert recorded == [trace]
