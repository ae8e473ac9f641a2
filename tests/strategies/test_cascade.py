"""Cheapest first: both stop rules, the order, and what happens when nothing stops it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from emerge_core.engine.engine import Engine
from emerge_core.types import ChatRequest, Trace

QUESTION = ChatRequest(messages=({"role": "user", "content": "What is 6 times 7?"},))


def run(config: Any, request: ChatRequest = QUESTION) -> Trace:
    async def once() -> Trace:
        engine = Engine(config, environ={})
        try:
            return await engine.run(request, "emerge")
        finally:
            await engine.aclose()

    return asyncio.run(once())


def cascade(options: str = "", members: str = '["frontier", "a", "b"]') -> str:
    return '{"emerge": {"members": ' + members + ', "strategy": {"name": "cascade"' + options + "}}}"


def asked(trace: Trace) -> list[str]:
    return [call.model for call in trace.calls]


@pytest.mark.parametrize("text", ["42", "B", "The answer is 42."])
def test_a_short_answer_is_a_full_answer(upstream: Any, says: Any, panels: Any, text: str) -> None:
    upstream.script = {"a": says(text)}
    trace = run(panels(cascade()))
    assert asked(trace) == ["a"]  # the cheapest, and not the first in the config
    assert trace.decision is not None
    assert trace.decision.message.text == text
    assert trace.decision.rule == "cascade:substantive"


@pytest.mark.parametrize(
    "weak",
    [{"text": "I'm not sure, it might be 41."}, {"text": "I cannot help with that."}, {"status": 401}, {"text": ""}],
)
def test_a_hedge_a_refusal_or_a_fault_moves_on(upstream: Any, says: Any, panels: Any, weak: dict[str, Any]) -> None:
    upstream.script = {"a": says(**weak), "b": says("42")}
    trace = run(panels(cascade()))
    assert asked(trace) == ["a", "b"]
    assert trace.decision is not None
    assert trace.decision.message.text == "42"


def test_config_order_is_kept_when_asked_for(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"frontier": says("42")}
    assert asked(run(panels(cascade(', "order": "config"')))) == ["frontier"]


def test_unknown_prices_come_last(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"frontier": says("42")}
    config = panels(cascade(members='["a", "frontier"]'), a={"price": None})
    assert asked(run(config)) == ["frontier"]


def test_agree_stops_at_the_first_pair(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("42"), "b": says("The answer is 42.")}
    trace = run(panels(cascade(', "stop": "agree"')))
    assert asked(trace) == ["a", "b"]
    assert trace.decision is not None
    assert trace.decision.agreement == 1.0
    assert trace.decision.message.text == "42"


def test_agree_goes_on_one_at_a_time_until_two_match(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("41"), "b": says("40"), "c": says("40"), "frontier": says("0")}
    trace = run(panels(cascade(', "stop": "agree"', '["a", "b", "c", "frontier"]')))
    assert asked(trace) == ["a", "b", "c"]
    assert trace.decision is not None
    assert trace.decision.message.text == "40"
    assert trace.decision.agreement == pytest.approx(2 / 3)


def test_an_exhausted_cascade_votes(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("41"), "b": says("40"), "frontier": says("39")}
    trace = run(panels(cascade(', "stop": "agree"', '["a", "b", "frontier"]')))
    assert trace.decision is not None
    assert trace.decision.rule == "cascade:exhausted"
    assert trace.decision.message.text == "41"


def test_nothing_usable_is_an_error(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {name: says(status=401) for name in ("a", "b", "frontier")}
    trace = run(panels(cascade()))
    assert trace.failure is not None
    assert trace.failure.status == 502


def test_several_choices_need_several_answers(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("42"), "b": says("42"), "frontier": says("42")}
    assert asked(run(panels(cascade()), ChatRequest(messages=QUESTION.messages, n=2))) == ["a", "b"]


def test_one_answer_has_no_agreement_and_the_reserve_is_an_escalation(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("42"), "b": says("42"), "frontier": says("42")}
    first = run(panels(cascade()))
    assert first.decision is not None
    assert (first.decision.agreement, first.decision.escalated) == (None, False)
    upstream.script["a"] = says("I am not sure, perhaps 41.")
    second = run(panels(cascade()))
    assert second.decision is not None
    assert asked(second) == ["a", "b"]
    assert second.decision.escalated
    upstream.script["a"] = says("41")
    agreed = run(panels(cascade(', "stop": "agree"')))
    assert agreed.decision is not None
    assert asked(agreed) == ["a", "b", "frontier"]
    assert agreed.decision.agreement == pytest.approx(2 / 3)
    assert agreed.decision.escalated
