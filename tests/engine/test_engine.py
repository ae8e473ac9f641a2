"""One request through the engine, against a real HTTP upstream: the trace, the sums, the errors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from emerge_core.engine.engine import Engine, Limits
from emerge_core.errors import RequestError
from emerge_core.types import ChatRequest, EmbeddingRequest, Trace

QUESTION = ChatRequest(messages=({"role": "user", "content": "What is 6 times 7?"},))
THREE = '{"emerge": {"members": ["a", "b", "c"], "aggregator": "vote", "early_decision": false}}'


def run(config: Any, request: ChatRequest = QUESTION, name: str = "emerge", **limits: float) -> Trace:
    """Runs one request and checks that nothing of it is left on the loop."""

    async def once() -> Trace:
        engine = Engine(config, environ={})
        before = asyncio.all_tasks()
        trace = await engine.run(request, name, limits=Limits(**limits))
        assert asyncio.all_tasks() == before
        await engine.aclose()
        return trace

    return asyncio.run(once())


def failure(trace: Trace) -> RequestError:
    assert trace.decision is None
    assert trace.failure is not None
    return trace.failure


def test_three_members_vote_and_every_call_is_counted(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("The answer is 42."), "b": says("**42**"), "c": says("The answer is 41.")}
    trace = run(panels(THREE))
    assert trace.decision is not None
    assert trace.decision.message.text == "The answer is 42."
    assert trace.decision.agreement == pytest.approx(2 / 3)
    assert [(call.id, call.model, call.status) for call in trace.calls] == [
        ("1", "a", "ok"),
        ("2", "b", "ok"),
        ("3", "c", "ok"),
    ]
    assert trace.usage.input_tokens == 300
    assert trace.usage.output_tokens == 30
    assert trace.cost.usd == pytest.approx(3 * (100 * 1 + 10 * 2) / 1e6)
    assert trace.cost.known
    assert not trace.cost.estimated
    assert not trace.degraded
    assert trace.failure is None
    assert 0 <= trace.overhead_ms <= trace.latency_ms


def test_a_single_model_is_a_panel_of_one(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("Once upon a time there was a king.")}
    trace = run(panels(THREE), name="a")
    assert trace.decision is not None
    assert trace.decision.message.text == "Once upon a time there was a king."
    assert len(trace.calls) == 1


def test_unknown_names_list_the_known_ones(panels: Any) -> None:
    with pytest.raises(RequestError, match=r"`gpt-9` does not exist.*emerge, a, b") as caught:
        run(panels(THREE), name="gpt-9")
    assert (caught.value.status, caught.value.code, caught.value.param) == (404, "model_not_found", "model")


def test_a_failed_member_degrades_the_answer_and_counts_as_dissent(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("42"), "b": says(status=401), "c": says("42")}
    trace = run(panels(THREE))
    assert trace.decision is not None
    assert trace.decision.agreement == pytest.approx(2 / 3)
    assert trace.degraded
    error = trace.calls[1].completion.error
    assert error is not None
    assert error.kind == "auth"


@pytest.mark.parametrize(
    ("script", "status", "code", "said"),
    [
        ({"status": 400, "error": "bad temperature"}, 400, None, "bad temperature"),
        (
            {"status": 400, "error": "too long", "code": "context_length_exceeded"},
            400,
            "context_length_exceeded",
            "a: ",
        ),
        ({"status": 401}, 502, "no_usable_answer", "b: auth 401"),
        ({"status": 403}, 502, "no_usable_answer", "c: auth 403"),
        ({"status": 500}, 502, "no_usable_answer", "a: server 500"),
        ({"status": 429, "headers": {"retry-after": "7"}}, 429, "rate_limit_exceeded", "rate-limited"),
        ({"text": ""}, 502, "no_usable_answer", "a: empty"),
    ],
)
def test_total_failure_tells_each_cause(
    upstream: Any, says: Any, panels: Any, script: dict[str, Any], status: int, code: str | None, said: str
) -> None:
    upstream.script = {name: says(**script) for name in "abc"}
    config = panels(THREE, a={"max_retries": 0}, b={"max_retries": 0}, c={"max_retries": 0})
    error = failure(run(config))
    assert (error.status, error.code) == (status, code)
    assert said in error.message
    if status == 429:
        assert error.retry_after_s == 7


def test_mixed_faults_are_a_502(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says(status=400), "b": says(status=401), "c": says(status=404)}
    error = failure(run(panels(THREE)))
    assert error.status == 502
    assert all(f"{name}: " in error.message for name in "abc")


def test_deadline_without_an_answer_is_a_504(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {name: says("42", delay=5) for name in "abc"}
    trace = run(panels(THREE), deadline_s=0.3)
    assert (failure(trace).status, failure(trace).type) == (504, "timeout_error")
    assert trace.latency_ms < 3000
    assert trace.cost.estimated
    assert trace.cost.usd > 0


def test_enough_answers_at_the_deadline_are_an_answer(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("42"), "b": says("42"), "c": says("42", delay=5)}
    trace = run(panels(THREE), deadline_s=0.5)
    assert trace.decision is not None
    assert trace.decision.agreement == pytest.approx(2 / 3)
    assert trace.degraded
    assert trace.calls[2].status == "timeout"


def test_a_client_cannot_raise_the_deadline(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {name: says("42", delay=5) for name in "abc"}
    trace = run(panels(THREE.replace("false}", 'false, "deadline_s": 0.3}')), deadline_s=60)
    assert failure(trace).status == 504


def test_fewer_answers_than_configured_are_an_error(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("42"), "b": says(status=401), "c": says(status=401)}
    error = failure(run(panels(THREE.replace("false}", 'false, "min_answers": 2}'))))
    assert error.status == 502
    assert error.message.startswith("1 of 3 members gave a usable answer, 2 needed")
    assert error.should_retry is False  # the one answer was billed


def test_a_missing_provider_key_costs_one_member_only(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("42"), "b": says("42")}
    config = panels(THREE, c={"provider": "keyless"})
    trace = run(config)
    assert trace.decision is not None
    error = trace.calls[2].completion.error
    assert error is not None
    assert error.kind == "config"
    assert "NO_SUCH_KEY" in error.message


def test_a_reply_cut_off_by_the_callers_max_tokens_comes_back_as_it_is(upstream: Any, says: Any, panels: Any) -> None:
    cut = says("Once upon a time there", finish_reason="length")
    upstream.script = dict.fromkeys("abc", cut)
    trace = run(panels(THREE), ChatRequest(messages=QUESTION.messages, max_tokens=5))
    assert trace.decision is not None
    assert trace.decision.message.finish_reason == "length"
    assert trace.decision.rule == "unusable:truncated"
    assert trace.degraded


def left(config: Any, ask: Callable[[Engine], Coroutine[Any, Any, Any]], asked: Callable[[], bool]) -> Trace:
    """What is recorded of a request whose client leaves once all was `asked`."""
    told: list[Trace] = []

    async def leave() -> None:
        engine = Engine(config, environ={}, record=lambda request, trace: told.append(trace))
        task = asyncio.create_task(ask(engine))
        while not asked():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await engine.aclose()

    asyncio.run(leave())
    (trace,) = told
    assert failure(trace).status == 499
    return trace


def test_a_cancelled_client_leaves_no_open_call_and_a_record_of_its_cost(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {name: says("42", delay=30) for name in "abc"}
    trace = left(panels(THREE), lambda engine: engine.run(QUESTION, "emerge"), lambda: upstream.open == 3)
    assert [call.status for call in trace.calls] == ["cancelled"] * 3
    assert trace.cost.usd > 0
    assert trace.cost.estimated


def test_a_client_that_leaves_its_embeddings_leaves_a_record_of_their_cost(
    upstream: Any, says: Any, panels: Any
) -> None:
    upstream.script = {"small-1": says(delay=30)}
    request = EmbeddingRequest(inputs=("x" * 4000,))
    trace = left(panels(THREE), lambda engine: engine.embed(request, "small"), lambda: bool(upstream.bodies))
    assert [(call.role, call.status) for call in trace.calls] == [("embed", "cancelled")]
    assert (trace.strategy, trace.aggregator) == ("embedding", "none")
    assert trace.cost.estimated
    assert trace.cost.usd == pytest.approx(0.001, rel=0.1)  # about 1,000 tokens, at a dollar per million


def test_fenced_json_is_json(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says('```json\n{"x": 1}\n```'), "b": says('{"x": 1}'), "c": says('{"x": 2}')}
    trace = run(panels(THREE), ChatRequest(messages=QUESTION.messages, response_format={"type": "json_object"}))
    assert trace.decision is not None
    assert trace.decision.message.text == '{"x": 1}'
    assert not trace.degraded


def test_a_filtered_reply_comes_back_as_it_is(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {name: says("The", finish_reason="content_filter") for name in "abc"}
    trace = run(panels(THREE))
    assert trace.decision is not None
    assert trace.decision.message.finish_reason == "content_filter"
