"""Spans and metrics leave within the invocation, in both modes, and a collector that is gone costs it nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.aws_lambda.function import QUESTION, event
from tests.support.aws_lambda.process import runtime

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra `otel` is not installed")

from tests.support.otlp_receiver import Receiver, otlp_receiver  # needs the extra

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADERS = {"traceparent": f"00-{TRACE}-{CALLER}-01"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with otlp_receiver() as receiving:
        yield receiving


def variables(receiver: Receiver) -> dict[str, str]:
    """As the template sets them; the queue is left to the flush."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_SERVICE_NAME": "my-stack",
        "OTEL_BSP_SCHEDULE_DELAY": "60000",
    }


def check(receiver: Receiver) -> None:
    request = receiver.span("invoke_workflow emerge-panel")
    assert (request.trace_id, request.parent_id) == (TRACE, CALLER)
    calls = [span for span in receiver.spans if span.parent_id == request.span_id]
    assert {span.name for span in calls} == {"chat sim-a", "chat sim-b", "chat sim-c"}
    assert receiver.resource["service.name"] == "my-stack"
    assert receiver.points("gen_ai.client.operation.duration")


def test_buffered(aws: Any, lambda_function: Any, receiver: Receiver) -> None:
    function = lambda_function(**variables(receiver))
    assert function("POST", "/v1/chat/completions", QUESTION, headers=HEADERS).status == 200
    check(receiver)  # it is all there when the invocation is over
    function.module._environment._otel.close()


def test_streaming(tmp_path: Path, receiver: Receiver) -> None:
    async def scenario() -> None:
        async with runtime(tmp_path, environ=variables(receiver)) as function:
            asked = event("POST", "/v1/chat/completions", {**QUESTION, "stream": True}, headers=HEADERS)
            taken = await function.stub.call(asked)
            assert taken.prelude["statusCode"] == 200
            while function.stub.asked < 2:  # the invocation is over when the next one is asked for
                await asyncio.sleep(0.01)
            check(receiver)

    asyncio.run(scenario())


def test_a_collector_that_hangs_is_waited_for_once(aws: Any, lambda_function: Any, receiver: Receiver) -> None:
    receiver.hangs = True
    function = lambda_function(**variables(receiver))
    for _ in range(3):
        assert function.ask().status == 200
    assert receiver.exports == 1
    assert not [line for line in function.lines if line.get("level") == "ERROR"]
    receiver.released.set()
    function.module._environment._otel.close()
