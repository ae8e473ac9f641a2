"""One name for mixed traffic: the form of a request chooses the ensemble that serves it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from emerge_core.engine.engine import Engine
from emerge_core.strategies.routing import serving
from emerge_core.types import ChatRequest, Trace

LETTERS = "Which is red?\n\nA. grass\nB. blood\nC. sky\nD. snow"
TOOLS = ({"type": "function", "function": {"name": "pay", "parameters": {"type": "object"}}},)
ENSEMBLES = json.dumps(
    {
        "voted": {"members": ["a", "b", "c"], "aggregator": "vote", "early_decision": False},
        "small": {"members": ["a", "b"]},
        "any": {"routes": {"choices": "voted", "tools": "small", "open_ended": "e"}},
    }
)


def asks(text: str, **more: Any) -> ChatRequest:
    return ChatRequest(messages=({"role": "user", "content": text},), **more)


def run(config: Any, request: ChatRequest, name: str = "any") -> Trace:
    async def once() -> Trace:
        engine = Engine(config, environ={})
        try:
            return await engine.run(request, name)
        finally:
            await engine.aclose()

    return asyncio.run(once())


@pytest.mark.parametrize(
    ("request_", "form", "served_by"),
    [
        (asks(LETTERS), "choices", "voted"),
        (asks("Write a poem about tides and the moon."), "open_ended", "e"),
        (asks("What is due?", tools=TOOLS), "tools", "small"),
        (asks(LETTERS, tools=TOOLS), "tools", "small"),
        (asks(LETTERS, tools=TOOLS, tool_choice="none"), "choices", "voted"),
        (asks("List.", response_format={"type": "json_object"}), "json", "voted"),  # not named: the first
    ],
)
def test_the_form_chooses(panels: Any, request_: ChatRequest, form: str, served_by: str) -> None:
    found = serving(panels(ENSEMBLES), "any", request_)
    assert found is not None
    assert found.route is not None
    assert (found.route.form, found.route.ensemble, found.name) == (form, served_by, served_by)


def test_a_routed_request_is_served_by_the_ensemble_of_its_form(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {**{name: says("The answer is B.") for name in "abc"}, "e": says("Tides rise.")}
    config = panels(ENSEMBLES)
    voted = run(config, asks(LETTERS))
    assert (voted.name, voted.ensemble, voted.aggregator) == ("any", "voted", "vote")
    assert [call.model for call in voted.calls] == ["a", "b", "c"]
    prose = run(config, asks("Write a poem about tides and the moon."))
    assert prose.route == ("open_ended", "e")
    assert [call.model for call in prose.calls] == ["e"]
    direct = run(config, asks(LETTERS), "voted")
    assert (direct.ensemble, direct.route) == ("voted", None)


def test_what_a_baseline_would_have_cost_is_told(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {name: says("The answer is B.") for name in "abc"}
    config = panels(ENSEMBLES).model_copy(update={"baseline": "frontier"})
    trace = run(config, asks(LETTERS), "voted")
    assert trace.baseline is not None
    assert trace.baseline.usd == pytest.approx((100 * 10 + 10 * 20) / 1e6)
    assert trace.cost.usd == pytest.approx(3 * (100 + 2 * 10) / 1e6)
