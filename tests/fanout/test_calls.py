"""Retries, ceilings and capabilities: what is asked of an upstream, how often, and what never is."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest

from emerge_core.engine.engine import Engine, Limits
from emerge_core.types import ChatRequest, Trace

QUESTION = ChatRequest(messages=({"role": "user", "content": "What is 6 times 7?"},))
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
ONE = '{"emerge": {"members": ["a"], "aggregator": "vote"}}'
TWO = '{"emerge": {"members": ["a", "b"], "aggregator": "vote", "early_decision": false}}'


def run(config: Any, request: ChatRequest = QUESTION, **limits: float) -> Trace:
    async def once() -> Trace:
        engine = Engine(config, environ={})
        try:
            return await engine.run(request, "emerge", limits=Limits(**limits))
        finally:
            await engine.aclose()

    return asyncio.run(once())


# An adapter whose import takes longer than a call may, unless the event loop stands still meanwhile.
SLOW_IMPORT = """
import asyncio, json, sys, threading
from emerge_core.config import parse_config
from emerge_core.engine.engine import Engine
from emerge_core.types import ChatRequest

ran_on = threading.Event()

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "emerge_core.providers.openai":
            print("the loop runs on" if ran_on.wait(10) else "the loop stands still")

sys.meta_path.insert(0, Slow())
config = parse_config(sys.argv[1], source="here")

async def main():
    asyncio.get_running_loop().call_later(config.models["a"].timeout_s + 0.2, ran_on.set)
    engine = Engine(config, environ={})
    trace = await engine.run(ChatRequest(messages=({"role": "user", "content": "6 * 7?"},)), "a")
    print(*(call.status for call in trace.calls))
    await engine.aclose()

asyncio.run(main())
"""


def test_an_adapter_is_imported_beside_the_loop_and_not_in_the_time_of_a_call(upstream: Any, says: Any) -> None:
    upstream.script = {"a": says("42")}
    model = {"provider": "up", "model": "a", "timeout_s": 2, "max_retries": 0}
    config = {"providers": {"up": {"kind": "openai", "base_url": upstream.url}}, "models": {"a": model}}
    ran = subprocess.run([sys.executable, "-c", SLOW_IMPORT, json.dumps(config)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == ["the loop runs on", "ok"]


def test_a_passing_fault_is_asked_again(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": [says(status=503), says("42")]}
    trace = run(panels(ONE))
    assert trace.decision is not None
    assert trace.calls[0].completion.attempts == 2


def test_an_invalid_request_is_not_asked_again(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says(status=400)}
    run(panels(ONE))
    assert len(upstream.bodies) == 1


def test_retry_after_is_honoured_inside_the_deadline(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": [says(status=429, headers={"retry-after": "1"}), says("42")]}
    trace = run(panels(ONE))
    assert trace.decision is not None
    assert trace.calls[0].completion.latency_ms >= 1000


def test_a_wait_past_the_deadline_is_not_begun(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says(status=429, headers={"retry-after": "3600"})}
    trace = run(panels(ONE))
    assert trace.failure is not None
    assert trace.failure.status == 429
    assert len(upstream.bodies) == 1


def test_the_call_ceiling_counts_retries(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says(status=503), "b": says(status=503)}
    run(panels(TWO.replace("false}", 'false, "max_calls": 3}')))
    assert len(upstream.bodies) == 3


@pytest.mark.parametrize(
    ("supports", "request_"),
    [
        ({"tools": False}, ChatRequest(messages=QUESTION.messages, tools=(TOOL,))),
        (
            {"images": False},
            ChatRequest(
                messages=(
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}]},
                )
            ),
        ),
        (
            {"json_schema": False},
            ChatRequest(
                messages=QUESTION.messages,
                response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
            ),
        ),
    ],
)
def test_what_a_model_cannot_take_is_not_asked_of_it(
    upstream: Any, says: Any, panels: Any, supports: dict[str, bool], request_: ChatRequest
) -> None:
    upstream.script = {"a": says("42"), "b": says("{}")}
    trace = run(panels(TWO, a={"supports": supports}), request_)
    assert [call.status for call in trace.calls] == ["skipped", "ok"]
    assert not upstream.asked("a")
    error = trace.calls[0].completion.error
    assert error is not None
    assert next(iter(supports)) in error.message
    assert not trace.degraded  # it was not asked, so it did not fail


def test_too_long_a_request_is_refused_before_anything_is_billed(upstream: Any, says: Any, panels: Any) -> None:
    long = ChatRequest(messages=({"role": "user", "content": "word " * 5000},))
    trace = run(panels(ONE, a={"context": 1000}), long)
    assert trace.failure is not None
    assert (trace.failure.status, trace.failure.code) == (400, "context_length_exceeded")
    assert not upstream.bodies


def test_a_cost_ceiling_skips_what_would_pass_it(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("42"), "b": says("42")}
    trace = run(panels(TWO, b={"price": {"input": 1000, "output": 1000}}), max_cost_usd=0.01)
    assert [call.status for call in trace.calls] == ["ok", "skipped"]
    assert trace.cost.usd <= 0.01


def test_a_cost_ceiling_below_any_call_is_the_callers_error(upstream: Any, panels: Any) -> None:
    trace = run(panels(TWO), max_cost_usd=1e-9)
    assert trace.failure is not None
    assert (trace.failure.status, trace.failure.param) == (400, "x-emerge-max-cost")
    assert not upstream.bodies


def test_a_members_own_temperature_reaches_it_alone(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("42"), "b": says("42")}
    panel = TWO.replace('["a", "b"]', '[{"model": "a", "temperature": 0.9}, "b"]')
    run(panels(panel), ChatRequest(messages=QUESTION.messages, temperature=0.1))
    assert upstream.asked("a")[0]["temperature"] == 0.9
    assert upstream.asked("b")[0]["temperature"] == 0.1


def test_unreachable_upstreams_are_connection_faults(panels: Any) -> None:
    config = panels(ONE, a={"max_retries": 0})
    dead = config.providers["up"].model_copy(update={"base_url": "http://127.0.0.1:9/v1"})
    trace = run(config.model_copy(update={"providers": {"up": dead}}))
    assert trace.failure is not None
    assert trace.failure.status == 502
    assert "a: connection" in trace.failure.message
