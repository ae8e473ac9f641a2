"""Early decision and escalation through the engine: who is asked, who is cancelled, who answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from emerge_core.engine.engine import Engine
from emerge_core.types import ChatRequest, Trace

QUESTION = ChatRequest(messages=({"role": "user", "content": "What is 6 times 7?"},))


def run(config: Any) -> Trace:
    async def once() -> Trace:
        engine = Engine(config, environ={})
        try:
            return await engine.run(QUESTION, "emerge")
        finally:
            await engine.aclose()

    return asyncio.run(once())


def ensemble(extra: str) -> str:
    return '{"emerge": {"members": ["a", "b", "c"], "aggregator": "vote", ' + extra + "}}"


def statuses(trace: Trace) -> dict[str, str]:
    return {call.model: call.status for call in trace.calls}


def test_two_of_three_cancel_the_third_and_its_cost_is_estimated(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("42"), "b": says("42"), "c": says("41", delay=30)}
    trace = run(panels(ensemble('"early_decision": true')))
    assert trace.decision is not None
    assert trace.decision.early
    assert trace.decision.message.text == "42"
    assert statuses(trace) == {"a": "ok", "b": "ok", "c": "cancelled"}
    cut = trace.calls[2].completion.cost
    assert cut.estimated
    assert cut.usd > 0
    assert trace.usage.input_tokens == 200
    assert not trace.degraded
    assert trace.decision.agreement == pytest.approx(2 / 3)  # at least: the member that was cancelled is dissent


def test_unanimity_is_never_accepted_early(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("42"), "b": says("42"), "c": says("42", delay=0.3), "frontier": says("41")}
    trace = run(panels(ensemble('"escalate": {"to": "frontier"}')))
    assert trace.decision is not None
    assert not trace.decision.early
    assert not trace.decision.escalated
    assert statuses(trace) == {"a": "ok", "b": "ok", "c": "ok"}


def test_the_first_two_differing_answers_escalate_at_once(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("42"), "b": says("41"), "c": says("42", delay=30), "frontier": says("It is 42.")}
    trace = run(panels(ensemble('"escalate": {"to": "frontier"}')))
    assert trace.decision is not None
    assert trace.decision.escalated
    assert trace.decision.early
    assert trace.decision.message.text == "It is 42."
    assert trace.decision.rule == "escalation:replace"
    assert statuses(trace) == {"a": "ok", "b": "ok", "c": "cancelled", "frontier": "ok"}
    assert [call.role for call in trace.calls][-1] == "escalation"


def test_a_final_vote_waits_for_the_panel_and_counts_the_stronger_model(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("42"), "b": says("41"), "c": says("40", delay=0.2), "frontier": says("41")}
    trace = run(panels(ensemble('"escalate": {"to": "frontier", "final": "vote"}')))
    assert trace.decision is not None
    assert trace.decision.message.text == "41"
    assert statuses(trace) == {"a": "ok", "b": "ok", "c": "ok", "frontier": "ok"}
    assert trace.decision.rule == "escalation:vote"


def test_a_majority_is_enough_below_its_threshold(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("42"), "b": says("41"), "c": says("42"), "frontier": says("0")}
    trace = run(panels(ensemble('"escalate": {"to": "frontier", "below_agreement": 0.5}')))
    assert trace.decision is not None
    assert not trace.decision.escalated
    assert trace.decision.message.text == "42"


def test_a_failed_escalation_leaves_the_panels_answer(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("42"), "b": says("41"), "c": says("42"), "frontier": says(status=401)}
    trace = run(panels(ensemble('"escalate": {"to": "frontier"}, "early_decision": false')))
    assert trace.decision is not None
    assert trace.decision.message.text == "42"
    assert trace.decision.escalated  # it was asked
    assert trace.decision.rule == "vote:majority"
    assert trace.decision.fallback is not None
    assert "frontier" in trace.decision.fallback


def test_a_dead_panel_is_rescued_by_the_escalation(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {**{name: says(status=401) for name in "abc"}, "frontier": says("42")}
    trace = run(panels(ensemble('"escalate": {"to": "frontier"}')))
    assert trace.decision is not None
    assert trace.decision.message.text == "42"
    assert trace.degraded


@pytest.mark.parametrize("early", ["true", "false"])
@pytest.mark.parametrize("said", [("1", "1", "2"), ("1", "2", "2"), ("1", "2", "3"), ("2", "1", "1")])
def test_the_answer_never_depends_on_timing(
    upstream: Any, says: Any, panels: Any, early: str, said: tuple[str, str, str]
) -> None:
    answers = set()
    for slow in range(3):
        upstream.script = {
            name: says(text, delay=0.15 if place == slow else 0)
            for place, (name, text) in enumerate(zip("abc", said, strict=True))
        }
        trace = run(panels(ensemble(f'"early_decision": {early}')))
        assert trace.decision is not None
        answers.add(trace.decision.message.text)
    assert answers == {max(said, key=said.count) if len(set(said)) < 3 else said[0]}


def test_the_default_aggregator_decides_early_too(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("42"), "b": says("42"), "c": says("41", delay=30)}
    trace = run(panels('{"emerge": {"members": ["a", "b", "c"]}}'))
    assert trace.decision is not None
    assert (trace.decision.rule, trace.decision.early) == ("adaptive:majority", True)
    assert statuses(trace) == {"a": "ok", "b": "ok", "c": "cancelled"}


def test_prose_is_waited_for(upstream: Any, says: Any, panels: Any) -> None:
    essay = "Tides rise and fall because the moon pulls the water of the oceans, and the sun pulls it too. "
    upstream.script = {name: says(essay * 3, delay=0.1 * n) for n, name in enumerate("abc")}
    trace = run(panels('{"emerge": {"members": ["a", "b", "c"]}}'))
    assert statuses(trace) == {"a": "ok", "b": "ok", "c": "ok"}
