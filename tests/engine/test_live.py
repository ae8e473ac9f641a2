"""Whose text is heard while it is written: the strategies and the fan-out, against a real upstream that streams."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from emerge_core.engine.engine import Engine, Limits
from emerge_core.types import ChatRequest, Delta, Trace

QUESTION = ChatRequest(messages=({"role": "user", "content": "Tell me of the sea, at some length."},))
SEA = "The sea is wide and deep. "
TOOL: Any = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}


class Run:
    """One request and what was heard of its answer."""

    def __init__(self, config: Any, request: ChatRequest = QUESTION, name: str = "emerge") -> None:
        self.deltas: list[Delta] = []
        self.trace: Trace = asyncio.run(self._once(config, request, name))

    async def _once(self, config: Any, request: ChatRequest, name: str) -> Trace:
        engine = Engine(config, environ={})
        try:
            return await engine.run(request, name, live=self.deltas.append)
        finally:
            await engine.aclose()

    @property
    def heard(self) -> str:
        return "".join(delta.text for delta in self.deltas)

    @property
    def live(self) -> list[str]:
        """The ids of the calls that were heard."""
        return [call.id for call in self.trace.calls if call.live]

    @property
    def answer(self) -> str | None:
        assert self.trace.decision
        return self.trace.decision.message.text


def ensemble(members: str = "a, b, c", **more: str) -> str:
    fields = "".join(f", {name}: {value}" for name, value in more.items())
    return f"{{emerge: {{members: [{members}]{fields}}}}}"


MERGE = ensemble(aggregator="{name: merge, merger: frontier}")
ESCALATE = ensemble(aggregator="vote", escalate="{to: frontier}")
CASCADE = ensemble(strategy="{name: cascade, order: config}")


@pytest.mark.parametrize("name", ["a", "emerge"])
@pytest.mark.parametrize("strategy", ["ensemble", "cascade"])
@pytest.mark.parametrize("aggregator", ["vote", "adaptive", "{name: merge, merger: frontier}"])
def test_a_single_models_text(upstream: Any, says: Any, panels: Any, name: str, strategy: str, aggregator: str) -> None:
    upstream.script = {"a": says(SEA * 3)}
    run = Run(panels(ensemble("a", strategy=strategy, aggregator=aggregator)), name=name)
    assert run.heard == run.answer == SEA * 3
    assert len(run.deltas) == 18
    assert run.live == ["1"]
    assert run.trace.usage.output_tokens == 10


def test_a_panels_texts_are_not_heard_before_the_decision(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {name: says(SEA) for name in "abc"}
    run = Run(panels(ensemble()))
    assert (run.deltas, run.live, run.answer) == ([], [], SEA)
    assert not any(body.get("stream") for body in upstream.bodies)


def test_the_merged_text(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("Wide."), "b": says("Deep."), "c": says("Salt."), "frontier": says(SEA)}
    run = Run(panels(MERGE))
    assert run.heard == run.answer == SEA
    assert run.live == ["4"]
    assert run.trace.decision
    assert (run.trace.decision.rule, run.trace.decision.selected) == ("merge:written", ("4",))


def test_a_merged_text_that_was_heard_is_the_answer_even_cut_off(upstream: Any, says: Any, panels: Any) -> None:
    drafts = {"a": says("Wide."), "b": says("Deep."), "c": says("Blue and cold.")}
    upstream.script = drafts | {"frontier": says(SEA, finish_reason="length")}
    run = Run(panels(MERGE))
    assert run.heard == run.answer == SEA
    assert run.trace.decision
    assert run.trace.decision.message.finish_reason == "length"


def test_a_merger_that_fails_before_a_word_leaves_the_panels_vote(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {name: says("Wide.") for name in "abc"} | {"frontier": says(status=403)}
    run = Run(panels(MERGE))
    assert (run.deltas, run.answer) == ([], "Wide.")


def test_an_escalation_that_replaces(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("42"), "b": says("41"), "c": says("40"), "frontier": says("It is 42.")}
    run = Run(panels(ESCALATE))
    assert run.heard == run.answer == "It is 42."
    assert run.trace.decision
    assert run.trace.decision.rule == "escalation:replace"


def test_an_escalation_that_votes_is_not_heard(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("42"), "b": says("41"), "c": says("40"), "frontier": says("It is 42.")}
    run = Run(panels(ensemble(aggregator="vote", escalate="{to: frontier, final: vote}")))
    assert run.deltas == []


def test_a_single_member_that_may_escalate_is_not_heard(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("42"), "frontier": says("It is 42.")}
    run = Run(panels(ensemble("a", aggregator="vote", escalate="{to: frontier}")))
    assert (run.deltas, run.answer) == ([], "42")


def test_a_refusal_by_the_stronger_model_is_the_answer_once_it_was_heard(upstream: Any, says: Any, panels: Any) -> None:
    refusal = "I'm sorry, but I can't help with that."
    upstream.script = {"a": says("42"), "b": says("41"), "c": says("40"), "frontier": says(refusal)}
    run = Run(panels(ESCALATE))
    assert run.heard == run.answer == refusal


def test_a_cascades_last_call(upstream: Any, says: Any, panels: Any) -> None:
    doubt = says("I am not sure, perhaps 41.")
    upstream.script = {"a": doubt, "b": doubt, "c": says("I really do not know.")}
    run = Run(panels(CASCADE))
    assert run.heard == run.answer == "I really do not know."
    assert run.live == ["3"]


def test_a_cascade_that_stops_before_is_not_heard(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("It is 42.")}
    run = Run(panels(CASCADE))
    assert (run.deltas, run.answer) == ([], "It is 42.")


def test_a_cascades_last_call_that_fails_leaves_the_others(upstream: Any, says: Any, panels: Any) -> None:
    doubt = says("I am not sure, perhaps 41.")
    upstream.script = {"a": doubt, "b": doubt, "c": says(status=401)}
    run = Run(panels(CASCADE))
    assert (run.deltas, run.answer) == ([], "I am not sure, perhaps 41.")


@pytest.mark.parametrize("fields", [{"response_format": SCHEMA}, {"response_format": {"type": "json_object"}}])
def test_what_must_be_valid_is_heard_only_once_it_is(
    upstream: Any, says: Any, panels: Any, fields: dict[str, Any]
) -> None:
    upstream.script = {"a": says("{}")}
    run = Run(panels(ensemble("a")), ChatRequest(messages=QUESTION.messages, **fields))
    assert (run.deltas, run.answer) == ([], "{}")


def test_with_tools_only_one_model_alone_and_a_fallback_are_heard(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {name: says(SEA) for name in ("a", "b", "c", "frontier")}
    request = ChatRequest(messages=QUESTION.messages, tools=(TOOL,))
    for config, heard in ((ensemble("a"), SEA), (ensemble("a, b", strategy="fallback"), SEA), (CASCADE, "")):
        run = Run(panels(config), request)
        assert (run.heard, run.answer) == (heard, SEA)


def test_tools_that_may_not_be_called_are_no_reason_to_wait(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says(SEA)}
    run = Run(panels(ensemble("a")), ChatRequest(messages=QUESTION.messages, tools=(TOOL,), tool_choice="none"))
    assert run.heard == SEA


def test_several_choices_are_not_heard(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("1"), "b": says("2"), "c": says("3"), "frontier": says(SEA)}
    run = Run(panels(MERGE), ChatRequest(messages=QUESTION.messages, n=2))
    assert run.deltas == []


@pytest.mark.parametrize("panel", [ensemble("a"), ensemble("b", escalate="{to: a}"), CASCADE.replace("b, c", "a")])
def test_a_reply_that_breaks_off_is_neither_asked_for_again_nor_replaced(
    upstream: Any, says: Any, panels: Any, panel: str
) -> None:
    upstream.script = {"a": says(SEA, breaks_after=3), "b": says(status=401)}
    config = panels(panel.replace("members: [a, a]", "members: [b, a]"))
    run = Run(config)
    assert run.heard == "The sea is "
    assert len(upstream.asked("a")) == 1
    assert run.trace.decision is None
    assert run.trace.failure
    assert (run.trace.failure.status, run.trace.failure.code) == (502, "stream_interrupted")
    assert "broke off" in run.trace.failure.message
    assert not run.trace.cost.known


def test_a_stream_that_fails_before_a_word_is_asked_for_again(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": [says(status=500), says(SEA, breaks_after=0), says(SEA)]}
    run = Run(panels(ensemble("a")))
    assert run.heard == run.answer == SEA
    assert run.trace.calls[0].completion.attempts == 3


def test_a_live_answer_is_not_cut_by_the_deadline(upstream: Any, says: Any, panels: Any) -> None:
    """The deadline bounds the wait for the first text. The upstream goes on only when the deadline is over."""
    upstream.script = {"a": says(SEA, waits_after=2)}
    config = panels(ensemble("a", deadline_s="1.5"))
    live: list[Delta] = []

    async def once() -> Trace:
        engine = Engine(config, environ={})
        try:
            running = asyncio.create_task(engine.run(QUESTION, "emerge", live=live.append))
            await asyncio.sleep(2)
            assert not running.done()
            upstream.gate.set()
            return await running
        finally:
            upstream.gate.set()
            await engine.aclose()

    trace = asyncio.run(once())
    assert trace.decision is not None
    assert trace.decision.message.text == "".join(delta.text for delta in live) == SEA


def test_a_silence_ends_a_live_answer(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says(SEA, waits_after=2)}
    config = panels(ensemble("a", stream_idle_s="0.5"))

    async def once() -> Trace:
        engine = Engine(config, environ={})
        try:
            return await engine.run(QUESTION, "emerge", live=lambda _: None)
        finally:
            upstream.gate.set()
            await engine.aclose()

    trace = asyncio.run(once())
    assert trace.decision is None
    assert trace.failure is not None
    assert trace.failure.status == 504
    assert "the stream was silent for 0.5 s" in trace.failure.message


def test_the_end_of_the_host_in_the_middle_of_a_reply(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says(SEA, waits_after=2)}
    config = panels(ensemble("a"))
    live: list[Delta] = []

    async def once() -> Trace:
        engine = Engine(config, environ={})
        try:
            return await engine.run(QUESTION, "emerge", limits=Limits(end_s=1.5), live=live.append)
        finally:
            upstream.gate.set()
            await engine.aclose()

    trace = asyncio.run(once())
    heard = "".join(delta.text for delta in live)
    assert heard
    assert SEA.startswith(heard)
    assert trace.failure
    assert (trace.failure.status, trace.failure.code) == (504, "deadline_exceeded")
    assert "the host's time is over" in trace.failure.message
    assert trace.cost.estimated
    assert trace.cost.usd > 0
