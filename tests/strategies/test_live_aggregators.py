"""Judge, merge and the embedder asked over HTTP: the calls that recordings cannot answer."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from emerge_core.engine.engine import Engine
from emerge_core.types import ChatRequest, Trace

QUESTION = ChatRequest(
    messages=({"role": "system", "content": "Be terse."}, {"role": "user", "content": "What is 6 times 7?"}),
    temperature=0.3,
    max_tokens=50,
)


def run(config: Any, request: ChatRequest = QUESTION) -> Trace:
    async def once() -> Trace:
        engine = Engine(config, environ={})
        try:
            return await engine.run(request, "emerge")
        finally:
            await engine.aclose()

    return asyncio.run(once())


def panel(aggregator: str) -> str:
    return '{"emerge": {"members": ["a", "b", "c"], "aggregator": {' + aggregator + "}}}"


def roles(trace: Trace) -> list[tuple[str, str, str]]:
    return [(call.role, call.model, call.status) for call in trace.calls]


@pytest.mark.parametrize("best", [1, 2, 3])
def test_the_judge_picks_a_members_own_answer(upstream: Any, says: Any, panels: Any, best: int) -> None:
    upstream.script = {
        "a": says("It is 42."),
        "b": says("It is 41."),
        "c": says("It is 40."),
        "frontier": says(json.dumps({"best": best})),
    }
    trace = run(panels(panel('"name": "judge", "judge": "frontier"')))
    assert trace.decision is not None
    assert trace.decision.rule == "judge:choice"
    assert roles(trace)[-1] == ("judge", "frontier", "ok")
    (asked,) = upstream.asked("frontier")
    shown = json.dumps(asked["messages"])
    place = [shown.index(text) for text in ("It is 42.", "It is 41.", "It is 40.")]
    assert (
        trace.decision.message.text
        == [f"It is {n}." for _, n in sorted(zip(place, (42, 41, 40), strict=True))][best - 1]
    )
    assert trace.cost.usd == pytest.approx(3 * 120e-6 + (100 * 10 + 10 * 20) / 1e6)


@pytest.mark.parametrize("verdict", [{"text": "The first one is best."}, {"text": '{"best": 9}'}, {"status": 401}])
def test_a_judge_that_fails_is_replaced_by_the_vote_and_still_billed(
    upstream: Any, says: Any, panels: Any, verdict: dict[str, Any]
) -> None:
    upstream.script = {"a": says("42"), "b": says("41"), "c": says("41"), "frontier": says(**verdict)}
    trace = run(panels(panel('"name": "judge", "judge": "frontier"')))
    assert trace.decision is not None
    assert trace.decision.message.text == "41"
    assert trace.decision.fallback is not None
    assert len(trace.calls) == 4


def test_merge_writes_a_new_answer_under_the_callers_parameters(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {
        "a": says("It is 42."),
        "b": says("41?"),
        "c": says("Forty-two."),
        "frontier": says("The product is 42."),
    }
    trace = run(panels(panel('"name": "merge", "merger": "frontier"')))
    assert trace.decision is not None
    assert trace.decision.message.text == "The product is 42."
    assert trace.decision.selected == ("4",)
    assert trace.decision.rule == "merge:written"
    (asked,) = upstream.asked("frontier")
    assert asked["temperature"] == 0.3
    assert asked["max_tokens"] == 50
    assert asked["messages"][0]["content"].startswith("Be terse.")
    assert "It is 42." in json.dumps(asked["messages"])


def test_a_merger_that_fails_leaves_the_panels_vote(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("42"), "b": says("42"), "c": says("41"), "frontier": says(status=403)}
    trace = run(panels(panel('"name": "merge", "merger": "frontier"')))
    assert trace.decision is not None
    assert trace.decision.message.text == "42"
    assert trace.decision.fallback is not None


def test_members_are_never_told_who_the_others_are(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("42"), "b": says("41"), "c": says("40"), "frontier": says('{"best": 1}')}
    config = panels(panel('"name": "judge", "judge": "frontier"'), a={"family": "SECRETFAMILY"})
    run(config)
    assert "SECRETFAMILY" not in json.dumps(upstream.bodies)
