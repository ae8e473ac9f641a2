"""How long an upstream may take, how often it is asked, and what it may send."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import openai
import pytest

from emerge_core.api import create_app
from tests.support.faults.catalogue import KINDS
from tests.support.faults.wire import HUGE


@pytest.mark.parametrize("kind", KINDS)
def test_an_upstream_that_cannot_be_reached_is_no_slow_one(faulty: Any, call_of: Any, kind: str) -> None:
    async def main() -> None:
        async with faulty({"members": ["never_connects"]}, kind=kind, connect_timeout_s=0.1, max_retries=1) as panel:
            call = call_of(await panel.ask(), "never_connects")
            assert (call.status, call.completion.attempts) == ("error", 2)
            assert call.completion.error.kind == "connection"
            assert "no connection within 0.1 s" in call.completion.error.message
            assert call.completion.cost.known
            assert call.completion.cost.usd == 0

    asyncio.run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_byte_has_a_time_limit_of_its_own(faulty: Any, call_of: Any, kind: str) -> None:
    async def main() -> None:
        members = ["hang_before_headers", "hang_in_body"]
        async with faulty({"members": members}, kind=kind, first_byte_timeout_s=0.2, timeout_s=1) as panel:
            trace = await panel.ask()
            told = [call_of(trace, name).completion.error.message for name in members]
            assert "no reply had begun within 0.2 s" in told[0]
            assert "within 1 s" in told[1]
            assert [call.status for call in trace.calls] == ["timeout", "timeout"]

    asyncio.run(main())


def test_a_models_own_limits_go_before_its_providers(faulty: Any, call_of: Any) -> None:
    async def main() -> None:
        async with faulty(
            {"members": ["hang_before_headers"]}, model={"timeout_s": 0.1}, timeout_s=60, max_retries=0
        ) as panel:
            trace = await panel.ask()
            assert "within 0.1 s" in call_of(trace, "hang_before_headers").completion.error.message
        async with faulty({"members": ["status_500"]}, model={"max_retries": 3}, max_retries=0) as panel:
            trace = await panel.ask()
            assert call_of(trace, "status_500").completion.attempts == 4

    asyncio.run(main())


def test_a_late_member_costs_the_deadline_and_no_more(faulty: Any, call_of: Any) -> None:
    async def main() -> None:
        async with faulty({"members": ["well", "slow_drip"], "deadline_s": 1}) as panel:
            async with asyncio.timeout(30):
                trace = await panel.ask()
            assert trace.decision is not None
            assert trace.degraded
            assert call_of(trace, "slow_drip").status == "timeout"

    asyncio.run(main())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", ["huge", "endless"])
def test_a_huge_reply_is_cut_off(faulty: Any, call_of: Any, kind: str, fault: str) -> None:
    async def main() -> None:
        async with faulty({"members": ["well", fault]}, kind=kind, max_retries=2) as panel:
            trace = await panel.ask()
            assert trace.decision is not None
            call = call_of(trace, fault)
            assert call.completion.error.kind == "bad_response"
            assert "larger than 8,000,000 bytes" in call.completion.error.message
            assert panel.calls(fault) == 1  # it was generated once, and is not ordered again

    assert HUGE > 8_000_000
    asyncio.run(main())


@pytest.mark.parametrize("ceiling", [1, 4, 7])
def test_no_request_makes_more_calls_than_its_ceiling(faulty: Any, ceiling: int) -> None:
    members = ["status_500", "status_503", "reset_before_body", "closed_before_body", "status_529"]

    async def main() -> None:
        ensemble = {"members": members, "max_calls": ceiling, "escalate": {"to": "status_502"}}
        async with faulty(ensemble, "status_502", max_retries=3) as panel:
            trace = await panel.ask()
            assert trace.failure is not None
            assert panel.total == ceiling
            assert sum(call.completion.attempts for call in trace.calls) == ceiling

    asyncio.run(main())


def test_a_kept_connection_that_breaks_after_the_request_is_an_attempt(faulty: Any) -> None:
    """The upstream may have taken the request: it is asked again only as a retry, and the cost is not known."""

    async def main() -> None:
        for retries in (0, 1):
            async with faulty({"members": ["reset_before_body"]}, "well", max_retries=retries) as panel:
                for _ in range(3):
                    await panel.ask(name="well")  # leaves a connection
                    before = panel.total
                    call = (await panel.ask()).calls[0]
                    assert panel.total - before == call.completion.attempts == retries + 1
                    assert not call.completion.cost.known

    asyncio.run(main())


async def _asked_by_a_client(panel: Any, **options: Any) -> openai.APIStatusError:
    transport = httpx2.ASGITransport(create_app(panel.engine))
    http = httpx2.AsyncClient(transport=transport)
    async with openai.AsyncOpenAI(base_url="http://x/v1", api_key="none", http_client=http, **options) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.chat.completions.create(model="emerge", messages=[{"role": "user", "content": "6 x 7?"}])
    return caught.value


@pytest.mark.parametrize(
    ("members", "status"),
    [
        (["status_503", "status_500"], 502),
        (["refused", "status_401"], 502),
        (["hang_before_headers"], 504),
        (["empty", "status_500"], 502),
        (["truncated_json", "status_429"], 502),
        (["status_429", "status_429:x"], 429),
        (["retry_after_hour"], 429),
    ],
)
def test_a_client_that_retries_does_not_multiply_the_calls(faulty: Any, members: list[str], status: int) -> None:
    async def main() -> None:
        slow = {"timeout_s": 0.2} if status == 504 else {}
        async with faulty({"members": members}, max_retries=1, **slow) as panel:
            error = await _asked_by_a_client(panel, max_retries=5)
            assert error.status_code == status
            assert error.response.headers["x-should-retry"] == "false"
            body: Any = error.body
            assert panel.total == sum(
                call["attempts"] for call in body["emerge"]["calls"] if call["provider"] == "answer"
            )

    asyncio.run(main())


def test_a_client_is_asked_to_retry_where_every_upstream_says_when(faulty: Any) -> None:
    async def main() -> None:
        async with faulty({"members": ["retry_after_seconds"]}) as panel:
            error = await _asked_by_a_client(panel, max_retries=1)
            assert (error.status_code, error.response.headers["x-should-retry"]) == (429, "true")
            assert error.response.headers["retry-after"] == "1"
            assert panel.total == 2

    asyncio.run(main())
