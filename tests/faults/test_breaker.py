"""A member that is down is left alone, and never so many that too few are left to ask."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from emerge_core.api import create_app
from emerge_core.config.schema import BreakerConfig
from emerge_core.fanout.breaker import Breakers
from emerge_core.providers.errors import json_object
from emerge_core.types import CallError, ErrorKind, UpstreamError

CONFIG = BreakerConfig(failures=3, cooldown_s=10)
DOWN = CallError(kind="server", message="overloaded", status=503)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breakers(clock: Clock) -> Breakers:
    return Breakers(clock=clock)


def fail(breakers: Breakers, times: int = 3, error: CallError = DOWN, *, trial: bool = False) -> None:
    for _ in range(times):
        breakers.failed("m", error, CONFIG, trial=trial)


def state(breakers: Breakers) -> Any:
    return breakers.status().get("m", {}).get("state")


def test_failures_in_a_row_open_it(breakers: Breakers) -> None:
    fail(breakers, 2)
    assert breakers.open("m") is None
    fail(breakers, 1)
    error = breakers.open("m")
    assert error is not None
    assert (error.kind, error.status, error.retry_after_s) == ("server", 503, 10)
    assert "not asked for 10 s" in error.message
    assert "3 times in a row" in error.message
    assert "overloaded" in error.message
    assert state(breakers) == "open"


def test_a_success_in_between_begins_anew(breakers: Breakers) -> None:
    fail(breakers, 2)
    breakers.succeeded("m")
    fail(breakers, 2)
    assert breakers.open("m") is None


def test_after_the_cooldown_one_call_tries_it(breakers: Breakers, clock: Clock) -> None:
    fail(breakers)
    clock.now += 10
    assert state(breakers) == "half-open"
    assert breakers.open("m") is None
    assert breakers.asking("m")
    other = breakers.open("m")
    assert other is not None
    assert "until another call has tried it" in other.message
    assert not breakers.asking("m")  # whoever asks it all the same is not the trial
    breakers.succeeded("m")
    assert breakers.open("m") is None
    assert breakers.status() == {}


def test_a_trial_that_fails_doubles_the_cooldown_up_to_a_limit(breakers: Breakers, clock: Clock) -> None:
    fail(breakers)
    waits = []
    for _ in range(8):
        clock.now += breakers.status()["m"]["retry_in_s"]
        assert breakers.asking("m")
        fail(breakers, 1, trial=True)
        waits.append(breakers.status()["m"]["retry_in_s"])
    assert waits == [20, 40, 80, 160, 320, 320, 320, 320]


def test_a_trial_that_is_given_up_lets_another_try(breakers: Breakers, clock: Clock) -> None:
    fail(breakers)
    clock.now += 10
    assert breakers.asking("m")
    breakers.given_up("m", trial=False)  # another call's end
    assert breakers.open("m") is not None
    breakers.given_up("m", trial=True)
    assert breakers.open("m") is None


def test_calls_that_were_under_way_do_not_open_it_further(breakers: Breakers) -> None:
    fail(breakers, 40)
    assert breakers.status()["m"]["retry_in_s"] == 10


def test_retry_after_is_waited_for_within_reason(breakers: Breakers) -> None:
    fail(breakers, error=CallError(kind="rate_limit", message="slow down", status=429, retry_after_s=60))
    error = breakers.open("m")
    assert error is not None
    assert error.retry_after_s == 60
    breakers.succeeded("m")
    fail(breakers, error=CallError(kind="rate_limit", message="slow down", status=429, retry_after_s=86_400))
    assert breakers.status()["m"]["retry_in_s"] == 300


@pytest.mark.parametrize("kind", ["invalid_request", "context_length", "unsupported", "budget", "cancelled", "config"])
def test_what_is_not_the_models_fault_does_not_count(breakers: Breakers, kind: ErrorKind) -> None:
    fail(breakers, 9, CallError(kind=kind, message="no"))
    fail(breakers, 9, CallError(kind="auth", message="moderated", status=403))
    assert breakers.status() == {}


@pytest.mark.parametrize("status", [400, 403, 413, 422])
@pytest.mark.parametrize("kind", ["auth", "not_found", "server", "bad_response"])
def test_a_status_that_the_request_can_cause_does_not_count(breakers: Breakers, status: int, kind: ErrorKind) -> None:
    """Whatever the upstream says beside it, since it may quote the request."""
    error = CallError(kind=kind, message="insufficient_quota!", status=status)
    for _ in range(20):
        breakers.failed("m", error, BreakerConfig(failures=1), trial=False)
    assert breakers.status() == {}


def test_a_reply_that_the_request_can_provoke_does_not_count(breakers: Breakers) -> None:
    with pytest.raises(UpstreamError) as caught:
        json_object(b'{"message": {"tool_calls": ' + b"[" * 20_000 + b"]" * 20_000 + b"}}")
    assert caught.value.error.kind == "bad_response"
    breakers.failed("m", caught.value.error, BreakerConfig(failures=1), trial=False)
    assert breakers.status() == {}


def test_it_can_be_turned_off(breakers: Breakers) -> None:
    for _ in range(9):
        breakers.failed("m", DOWN, BreakerConfig(failures=0), trial=False)
    assert breakers.open("m") is None


def test_a_member_that_is_down_is_skipped_and_tried_again(faulty: Any, call_of: Any) -> None:
    async def main() -> None:
        async with faulty({"members": ["well", "well:42", "status_503"]}) as panel:
            for _ in range(5):
                assert call_of(await panel.ask(), "status_503").status == "error"
            skipped = await panel.ask()
            assert panel.calls("status_503") == 5
            call = call_of(skipped, "status_503")
            assert (call.status, call.completion.attempts, call.completion.cost.usd) == ("skipped", 0, 0)
            assert call.completion.error.kind == "server"
            assert "not asked for 10 s" in call.completion.error.message
            assert skipped.decision.agreement == 1.0  # of those who were asked
            assert skipped.degraded
            panel.now += 11
            together = await asyncio.gather(*(panel.ask() for _ in range(8)))
            assert panel.calls("status_503") == 6
            assert sorted(call_of(trace, "status_503").status for trace in together) == ["error"] + ["skipped"] * 7

    asyncio.run(main())


def test_a_member_that_recovers_is_a_member_again(faulty: Any, call_of: Any) -> None:
    async def main() -> None:
        async with faulty({"members": ["well", "1.0:42"]}, breaker={"failures": 2, "cooldown_s": 5}) as panel:
            panel.upstream.chance.choice = lambda _: next(f for f in _ if f.name == "status_500")
            for _ in range(2):
                await panel.ask()
            assert call_of(await panel.ask(), "1.0:42").status == "skipped"
            panel.upstream.chance.random = lambda: 1.0  # from now on it answers
            panel.now += 6
            for _ in range(2):
                assert call_of(await panel.ask(), "1.0:42").status == "ok"
            assert panel.engine.breakers() == {}

    asyncio.run(main())


@pytest.mark.parametrize("strategy", ["ensemble", "cascade"])
@pytest.mark.parametrize("needed", [1, 2])
def test_min_answers_members_are_always_asked(faulty: Any, needed: int, strategy: str) -> None:
    members = ["status_500", "status_503", "status_529"]

    async def main() -> None:
        async with faulty({"members": members, "min_answers": needed, "strategy": strategy}) as panel:
            for _ in range(6):
                trace = await panel.ask()
            before = panel.total
            trace = await panel.ask()
            assert panel.total - before == needed
            assert sum(call.status == "skipped" for call in trace.calls) == 3 - needed
            assert trace.failure.status == 502
            assert all(name in trace.failure.message for name in members)

    asyncio.run(main())


def test_a_cascade_passes_over_who_is_down(faulty: Any, call_of: Any) -> None:
    ensemble = {"members": ["status_500", "well"], "strategy": {"name": "cascade", "order": "config"}}

    async def main() -> None:
        async with faulty(ensemble) as panel:
            for _ in range(7):
                trace = await panel.ask()
                assert trace.decision is not None
            assert panel.calls("status_500") == 5
            assert call_of(trace, "status_500").status == "skipped"

    asyncio.run(main())


def test_a_model_alone_is_always_asked(faulty: Any) -> None:
    async def main() -> None:
        async with faulty({"members": ["well"]}, "status_503") as panel:
            for _ in range(8):
                await panel.ask(name="status_503")
            assert panel.calls("status_503") == 8

    asyncio.run(main())


def test_rate_limits_stay_rate_limits_when_members_are_left_alone(faulty: Any) -> None:
    async def main() -> None:
        async with faulty({"members": ["status_429", "retry_after_hour"]}) as panel:
            for _ in range(7):
                trace = await panel.ask()
            assert any(call.status == "skipped" for call in trace.calls)
            assert trace.failure.status == 429
            assert trace.failure.retry_after_s <= 300

    asyncio.run(main())


def test_a_deadline_that_the_caller_made_too_short_tells_nothing(faulty: Any) -> None:
    async def main() -> None:
        async with faulty({"members": ["hang_before_headers", "hang_in_body"]}) as panel:
            for _ in range(7):
                assert (await panel.ask(deadline_s=0.05)).failure.status == 504
            assert panel.engine.breakers() == {}

    asyncio.run(main())


def test_timeouts_count_where_the_time_was_the_models_own(faulty: Any, call_of: Any) -> None:
    async def main() -> None:
        async with faulty({"members": ["well", "hang_before_headers"]}, timeout_s=0.1) as panel:
            for _ in range(6):
                trace = await panel.ask()
            error = call_of(trace, "hang_before_headers").completion.error
            assert (call_of(trace, "hang_before_headers").status, error.kind) == ("skipped", "timeout")

    asyncio.run(main())


def test_an_escalation_to_a_model_that_is_down_is_skipped_unless_nothing_else_is_left(
    faulty: Any, call_of: Any
) -> None:
    disagree = {"members": ["well:41", "well:42"], "escalate": {"to": "status_500"}}
    silent = {"members": ["status_400", "status_404"], "escalate": {"to": "status_500"}}

    async def main(ensemble: dict[str, Any]) -> Any:
        async with faulty(ensemble, "status_500") as panel:
            for _ in range(6):
                trace = await panel.ask()
            return trace, call_of(trace, "status_500")

    trace, call = asyncio.run(main(disagree))
    assert call.status == "skipped"
    assert "status_500" in trace.decision.fallback
    trace, call = asyncio.run(main(silent))
    assert call.status == "error"
    assert trace.failure is not None


def test_the_status_tells_who_is_down(faulty: Any) -> None:
    async def main() -> Any:
        async with faulty({"members": ["well", "status_401"]}) as panel:
            for _ in range(5):
                await panel.ask()
            transport = httpx.ASGITransport(create_app(panel.engine))
            async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
                return (await client.get("/v1/emerge/status")).json()["breakers"]

    told = asyncio.run(main())
    assert told == {"status_401": {"state": "open", "failures": 5, "last_error": "auth 401", "retry_in_s": 10.0}}
