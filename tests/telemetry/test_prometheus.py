"""The text that Prometheus scrapes: sums and buckets of what was recorded, labelled by the config alone."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from emerge_core.engine.engine import Engine
from emerge_core.telemetry.prometheus import HELP, Prometheus, gauges
from emerge_core.types import ChatRequest

ENSEMBLES = (
    '{"emerge": {"members": ["a", "b", "c"], "aggregator": "vote", "early_decision": false, "escalate": {"to": "e"}}}'
)
SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\.)*",?)*)\})? (-?[0-9.e+-]+)')


def values(text: str) -> dict[str, float]:
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            match = SAMPLE.fullmatch(line)
            assert match, line
            found[f"{match[1]}{{{match[2]}}}"] = float(match[3])
    return found


def test_requests_and_calls_are_counted(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("41"), "b": says("42"), "c": says(status=400), "e": says("42")}
    config = panels(ENSEMBLES).model_copy(update={"baseline": "frontier"})
    prometheus = Prometheus()

    async def run() -> None:
        async with Engine(
            config, environ={}, record=prometheus.recorder({*config.ensembles, *config.models})
        ) as engine:
            for _ in range(2):
                await engine.run(ChatRequest.of("What is 6 times 7?"), "emerge")

    asyncio.run(run())
    text = prometheus.text()
    found = values(text)
    own, model = '{ensemble="emerge"}', '{model="a",provider="up"}'
    assert found['emerge_requests_total{ensemble="emerge",status="200"}'] == 2
    assert found[f"emerge_escalations_total{own}"] == 2
    assert found[f"emerge_degraded_total{own}"] == 2
    assert found[f"emerge_request_seconds_count{own}"] == 2
    assert found['emerge_request_seconds_bucket{ensemble="emerge",le="+Inf"}'] == 2
    assert found['emerge_agreement_ratio_bucket{ensemble="emerge",le="0.25"}'] == 0
    assert found['emerge_agreement_ratio_bucket{ensemble="emerge",le="0.34"}'] == 2
    assert found['emerge_calls_total{model="c",provider="up",role="member",status="error"}'] == 2
    assert found['emerge_tokens_total{model="a",provider="up",type="input"}'] == 200
    assert abs(found[f"emerge_call_cost_usd_total{model}"] - 2 * (100 + 20) / 1e6) < 1e-12
    assert found['emerge_selected_total{model="e",provider="up"}'] == 2
    assert found[f"emerge_baseline_cost_usd_total{own}"] > found[f"emerge_request_cost_usd_total{own}"] / 4
    for name, (kind, _) in HELP.items():
        assert f"# TYPE {name} {kind}\n" in text


def test_labels_are_escaped() -> None:
    line = gauges({'a"b\\c\nd': {"state": "open"}}).splitlines()[-1]
    assert line == 'emerge_breaker_open{model="a\\"b\\\\c\\nd"} 1'
