"""Metric lines are those of Powertools, which writes the embedded metric format too, only slower."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch import AmazonCloudWatchEMFProvider

from emerge_core.engine.engine import Engine
from emerge_core.telemetry.metrics import MODEL_METRICS, NAMESPACE, REQUEST_METRICS, STACK_METRICS, UNITS, Metrics
from emerge_core.types import ChatRequest

QUESTION = ChatRequest(messages=({"role": "user", "content": "What is 6 times 7?"},))


def without_time(line: dict[str, Any]) -> dict[str, Any]:
    assert isinstance(line["_aws"].pop("Timestamp"), int)
    return line


def powertools(line: dict[str, Any], *sets: dict[str, str]) -> dict[str, Any]:
    """The metric line that Powertools itself writes for the values of a line, with the given dimensions."""
    emf = AmazonCloudWatchEMFProvider(namespace=NAMESPACE, service="", dimension_set=dict(sets[0]))
    for dimensions in sets[1:]:
        emf.add_dimensions(**dimensions)
    for name in line.keys() & UNITS.keys():
        for value in line[name]:
            emf.add_metric(name, UNITS[name], value)
    return without_time(json.loads(json.dumps(emf.serialize_metric_set())))


def in_any_order(line: dict[str, Any]) -> dict[str, Any]:
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    directive["Metrics"].sort(key=lambda metric: metric["Name"])
    return line


def test_a_request_makes_the_lines_that_powertools_would_make(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {name: says("The answer is 42.") for name in "ab"}
    config = panels('{"pair": {"members": ["a", "b"]}}')

    async def ask() -> Any:
        engine = Engine(config, environ={})
        try:
            return await engine.run(QUESTION, "pair")
        finally:
            await engine.aclose()

    emitted: list[str] = []
    metrics = Metrics("stack", per_model=True, emit=emitted.append)
    metrics.request(asyncio.run(ask()), ensembles=config.ensembles)
    metrics.refused()
    metrics.config(failed=True, age_s=61.23456789)
    request, a, b, refused, age = (without_time(json.loads(line)) for line in "\n".join(emitted).splitlines())
    stack = {"Stack": "stack"}
    for line, *sets in (
        (request, stack, {**stack, "Ensemble": "pair"}),
        (a, {**stack, "Model": "a"}),
        (b, {**stack, "Model": "b"}),
        (refused, stack),
        (age, stack),
    ):
        assert in_any_order(line) == in_any_order(powertools(line, *sets))
    assert set(REQUEST_METRICS) <= set(request)
    assert set(MODEL_METRICS) <= set(a)
    assert set(STACK_METRICS) <= set(age)
    assert age["ConfigAge"] == [61.2346]
