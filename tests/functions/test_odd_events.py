"""Both response modes answer every odd event alike, and none is an error of the function: errors of the function
roll a deployment back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.aws_lambda.function import Context
from tests.support.aws_lambda.odd_events import odd_events
from tests.support.aws_lambda.process import runtime

OF_ITS_OWN = ("x-request-id", "openai-processing-ms", "x-emerge-")  # headers that differ between requests


def told(status: int, headers: Mapping[str, str], body: str) -> tuple[Any, ...]:
    """What is the same in every reply to an event."""
    kept = {name: value for name, value in headers.items() if not name.startswith(OF_ITS_OWN)}
    try:
        parsed = json.loads(body)
    except ValueError:
        return status, kept, body
    if not isinstance(parsed, dict) or "error" not in parsed:
        parsed = sorted(parsed)
    return status, kept, parsed


def test_both_modes_answer_odd_events_alike(aws: Any, lambda_function: Any, tmp_path: Path) -> None:
    events = odd_events()
    assert len(events) >= 120
    function = lambda_function(EMERGE_CONFIG=None)
    buffered: dict[str, Any] = {}
    for name, given in events:
        reply = function.module.handler(given, Context())
        json.dumps(reply).encode()
        buffered[name] = told(reply["statusCode"], reply["headers"], reply["body"])
    function.read()

    async def scenario() -> dict[str, Any]:
        streamed = {}
        async with runtime(tmp_path) as streaming:
            for name, given in events:
                taken = await streaming.stub.call(given)
                assert (taken.error, taken.trailers) == (None, {}), (
                    name,
                    taken.error,
                    streaming.log.read_text()[-2000:],
                )
                streamed[name] = told(taken.prelude["statusCode"], taken.prelude["headers"], taken.body.decode())
            assert not [line for line in streaming.lines if line.get("level") == "ERROR"]
        return streamed

    streamed = asyncio.run(scenario())
    differ = {name: (buffered[name], streamed[name]) for name in buffered if buffered[name] != streamed[name]}
    assert not differ
    assert not [line for line in function.lines if line.get("level") == "ERROR"]
    statuses = {name: status for name, (status, *_) in buffered.items()}
    assert statuses["well"] == 200
    assert not [name for name, status in statuses.items() if status >= 500]
    others = [name for name in statuses if name.startswith(("a function URL", "an HTTP API", "version 2.0"))]
    assert {statuses[name] for name in others} == {403}
    assert {statuses[f"time stamp {number}"] for number in range(11)} == {200}
