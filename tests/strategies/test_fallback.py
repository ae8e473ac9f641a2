"""Fallback: one member after the other, the first usable answer live, and never another after its first token."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from emerge_core.config import parse_config
from emerge_core.engine.engine import Engine
from emerge_core.errors import ConfigError
from emerge_core.types import ChatRequest, Delta, Trace

QUESTION = ChatRequest(messages=({"role": "user", "content": "Tell me about tides."},))
FALLBACK = '{"emerge": {"members": ["a", "b", "c"], "strategy": "fallback"}}'


def run(config: Any, request: ChatRequest = QUESTION, *, live: list[Delta] | None = None) -> Trace:
    async def once() -> Trace:
        engine = Engine(config, environ={})
        try:
            return await engine.run(request, "emerge", live=None if live is None else live.append)
        finally:
            await engine.aclose()

    return asyncio.run(once())


def statuses(trace: Trace) -> dict[str, str]:
    return {call.model: call.status for call in trace.calls}


def streamed(live: list[Delta]) -> str:
    return "".join(delta.text for delta in live)


@pytest.mark.parametrize("streaming", [False, True])
def test_the_first_usable_answer_is_the_reply(upstream: Any, says: Any, panels: Any, streaming: bool) -> None:
    upstream.script = {"a": says("The moon pulls the sea."), "b": says("unused"), "c": says("unused")}
    live: list[Delta] = []
    trace = run(panels(FALLBACK), live=live if streaming else None)
    assert trace.decision is not None
    assert (trace.decision.message.text, trace.decision.rule) == ("The moon pulls the sea.", "fallback:first")
    assert trace.decision.agreement is None
    assert not trace.decision.escalated
    assert statuses(trace) == {"a": "ok"}
    assert not trace.degraded
    if streaming:
        assert len(live) > 1
        assert streamed(live) == "The moon pulls the sea."


@pytest.mark.parametrize("bad", [{"status": 401}, {"text": ""}, {"text": "I'm sorry, but I can't help with that."}])
def test_the_next_is_asked_if_one_fails_or_is_not_usable(
    upstream: Any, says: Any, panels: Any, bad: dict[str, Any]
) -> None:
    upstream.script = {"a": says(**bad), "b": says("The moon."), "c": says("unused")}
    trace = run(panels(FALLBACK))
    assert trace.decision is not None
    assert (trace.decision.message.text, trace.decision.rule) == ("The moon.", "fallback:next")
    assert list(statuses(trace)) == ["a", "b"]
    assert trace.degraded
    assert not trace.decision.escalated


def test_a_failure_before_the_first_token_is_not_seen_in_the_stream(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says(status=401), "b": says("unseen", breaks_after=0), "c": says("The moon, mostly.")}
    config = panels(FALLBACK, b={"max_retries": 0})
    live: list[Delta] = []
    trace = run(config, live=live)
    assert trace.decision is not None
    assert streamed(live) == trace.decision.message.text == "The moon, mostly."
    assert statuses(trace) == {"a": "error", "b": "error", "c": "ok"}


def test_after_the_first_token_no_other_member_is_asked(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("The moon pulls the sea.", breaks_after=2), "b": says("unused"), "c": says("unused")}
    live: list[Delta] = []
    trace = run(panels(FALLBACK), live=live)
    assert live
    assert trace.decision is None
    assert trace.failure is not None
    assert trace.failure.code == "stream_interrupted"
    assert list(statuses(trace)) == ["a"]


def test_what_was_streamed_is_the_reply_even_if_it_declines(upstream: Any, says: Any, panels: Any) -> None:
    refusal = "I'm sorry, but I can't help with that."
    upstream.script = {"a": says(refusal), "b": says("unused"), "c": says("unused")}
    live: list[Delta] = []
    trace = run(panels(FALLBACK), live=live)
    assert trace.decision is not None
    assert streamed(live) == trace.decision.message.text == refusal
    assert list(statuses(trace)) == ["a"]


def test_every_member_down_is_an_error_that_names_each(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {name: says(status=401) for name in "abc"}
    trace = run(panels(FALLBACK))
    assert trace.failure is not None
    assert trace.failure.status == 502
    assert all(f"{name}: auth" in trace.failure.message for name in "abc")


def test_several_choices_are_several_members(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("One."), "b": says("Two."), "c": says("unused")}
    request = ChatRequest(messages=QUESTION.messages, n=2)
    trace = run(panels(FALLBACK), request)
    assert trace.decision is not None
    assert trace.decision.message.text == "One."
    assert list(statuses(trace)) == ["a", "b"]


@pytest.mark.parametrize(
    ("option", "fault"),
    [
        ("escalate: {to: a}", "cannot go with strategy fallback, which asks one member after the other"),
        ("stragglers: {after: 1}", "cannot go with strategy fallback, which asks one member after the other"),
        ("strategy: {name: fallback, order: cost}", "is not used by strategy fallback, only by cascade"),
    ],
)
def test_what_cannot_go_with_fallback(option: str, fault: str) -> None:
    strategy = "" if option.startswith("strategy") else "strategy: fallback, "
    text = (
        "providers: {s: {kind: simulated}}\nmodels: {a: {provider: s, model: a}, b: {provider: s, model: b}}\n"
        f"ensembles: {{emerge: {{members: [a, b], {strategy}{option}}}}}\n"
    )
    with pytest.raises(ConfigError, match=fault):
        parse_config(text, source="test")
