"""Logs and metrics name what served a request, which an alias or routes may have chosen."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from emerge_core.engine.engine import Engine
from emerge_core.telemetry.metrics import Metrics
from emerge_core.types import ChatRequest, Trace

LETTERS = ChatRequest(messages=({"role": "user", "content": "Which is red?\n\nA. grass\nB. blood\nC. sky"},))
ENSEMBLES = '{"voted": {"members": ["a", "b"]}, "any": {"routes": {"choices": "voted", "open_ended": "e"}}}'


def test_metrics_and_log_lines_follow_the_ensemble_that_serves(
    upstream: Any, says: Any, panels: Any, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.script = {name: says("The answer is B.") for name in "ab"}
    config = panels(ENSEMBLES).model_copy(update={"aliases": {"gpt-*": "any"}})

    async def once() -> Trace:
        engine = Engine(config, environ={})
        try:
            return await engine.run(LETTERS, "gpt-4o")
        finally:
            await engine.aclose()

    with caplog.at_level(logging.INFO, logger="emerge"):
        trace = asyncio.run(once())
    assert (trace.name, trace.ensemble, trace.route) == ("gpt-4o", "voted", ("choices", "voted"))
    (line,) = [record for record in caplog.records if record.getMessage() == "request"]
    fields = vars(line)
    assert (fields["ensemble"], fields["served_by"], fields["route"]) == ("gpt-4o", "voted", "choices")
    emitted: list[str] = []
    Metrics("stack", per_model=False, emit=emitted.append).request(trace, ensembles=config.ensembles)
    shown = "".join(emitted)
    assert "voted" in shown
    assert "gpt-4o" not in shown
    assert all(json.loads(each) for each in emitted)
