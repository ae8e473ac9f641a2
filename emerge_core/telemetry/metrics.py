"""CloudWatch metrics in the embedded metric format (EMF): lines on standard output that CloudWatch
reads from the function's log. Dimension values come from the config alone, never from a client.

`Errors` counts requests that ended in an error reply, whatever the cause (but not if the client left); the
alarms on our own faults watch Lambda's errors, ConfigErrors and a log filter. `CallLatency` and `CallCostUSD`
have one value for each call.
Specification: "Embedded metric format specification", Amazon CloudWatch User Guide.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache

from emerge_core.errors import CLIENT_LEFT
from emerge_core.types import Trace

NAMESPACE = "Emerge"

# name → unit. The stack's own alarms and dashboard are tested against these tables.
REQUEST_METRICS = {
    "Requests": "Count",
    "Errors": "Count",
    "Latency": "Milliseconds",
    "Overhead": "Milliseconds",
    "CostUSD": "None",
    "Agreement": "None",
    "EarlyDecisions": "Count",
    "Escalations": "Count",
    "Degraded": "Count",
}
BASELINE_METRICS = {"BaselineCostUSD": "None"}  # beside those of a request, if the config names a baseline
STACK_METRICS = {"ConfigErrors": "Count", "ConfigAge": "Seconds"}
MODEL_METRICS = {
    "Calls": "Count",
    "CallErrors": "Count",
    "CallLatency": "Milliseconds",
    "InputTokens": "Count",
    "OutputTokens": "Count",
    "CallCostUSD": "None",
    "Selected": "Count",
}

UNITS = REQUEST_METRICS | BASELINE_METRICS | STACK_METRICS | MODEL_METRICS

Values = Mapping[str, float | list[float]]  # of a list: one value for each call

MOST_VALUES = 100  # of one metric in a line: EMF's limit
DIGITS = 6  # significant ones


def _print(lines: str) -> None:
    sys.stdout.write(lines + "\n")
    sys.stdout.flush()


class Metrics:
    """Emits the metrics of one stack."""

    def __init__(self, stack: str, *, per_model: bool, emit: Callable[[str], None] = _print) -> None:
        self._stack = stack
        self._per_model = per_model
        self._emit = emit

    def request(self, trace: Trace, *, ensembles: Collection[str]) -> None:
        """`ensembles` are those of the config: a model called by its own name counts for the stack alone."""
        more = {"Ensemble": trace.ensemble} if trace.ensemble in ensembles else {}
        lines = [self._line(_of_request(trace), more, alone=True)]
        if self._per_model:
            selected = trace.decision.selected if trace.decision else ()
            models = dict.fromkeys(call.model for call in trace.calls if call.role != "embed")
            lines += (self._line(_of_model(trace, model, selected), {"Model": model}) for model in models)
        self._emit("\n".join(lines))

    def refused(self) -> None:
        """A request that ended in an error before an engine ran."""
        self._emit(self._line({"Requests": 1.0, "Errors": 1.0}))

    def config(self, *, failed: bool, age_s: float) -> None:
        """After a refresh of the config: whether it failed, and the age of the config that serves."""
        self._emit(self._line({"ConfigErrors": float(failed), "ConfigAge": age_s}))

    def _line(self, values: Values, more: Mapping[str, str] | None = None, *, alone: bool = False) -> str:
        """`alone`: the values also count for the stack without the dimension in `more`. CloudWatch bills every set of
        dimensions as a metric of its own."""
        fields: dict[str, str | list[float]] = {"Stack": self._stack, **(more or {})}
        sets: tuple[tuple[str, ...], ...] = (tuple(fields),)
        if alone and more:
            sets = (("Stack",), *sets)
        directive = _directive(tuple(values), sets)
        for name, value in values.items():
            each = value[:MOST_VALUES] if isinstance(value, list) else [value]
            fields[name] = [float(f"{one:.{DIGITS}g}") for one in each]
        return f'{{"_aws":{{"Timestamp":{time.time_ns() // 1_000_000},{directive}}},{_encode(fields)[1:]}'


_encode = json.JSONEncoder(separators=(",", ":")).encode


@lru_cache(maxsize=64)  # there are as many as kinds of requests
def _directive(names: tuple[str, ...], sets: tuple[tuple[str, ...], ...]) -> str:
    metrics = [{"Name": name, "Unit": UNITS[name]} for name in names]
    return f'"CloudWatchMetrics":{_encode([{"Namespace": NAMESPACE, "Dimensions": sets, "Metrics": metrics}])}'


def _of_request(trace: Trace) -> Values:
    decision = trace.decision
    values = {
        "Requests": 1.0,
        "Errors": float(trace.failure is not None and trace.failure.status != CLIENT_LEFT),
        "Latency": trace.latency_ms,
        "Overhead": trace.overhead_ms,
        "CostUSD": trace.cost.usd,
        "EarlyDecisions": float(bool(decision and decision.early)),
        "Escalations": float(bool(decision and decision.escalated)),
        "Degraded": float(trace.degraded),
    }
    if decision and decision.agreement is not None:
        values["Agreement"] = decision.agreement
    if trace.baseline and trace.baseline.known:
        values["BaselineCostUSD"] = trace.baseline.usd
    return values


def _of_model(trace: Trace, model: str, selected: Collection[str]) -> Values:
    calls = [call for call in trace.calls if call.model == model and call.status != "skipped"]
    usages = [call.completion.usage for call in calls if call.completion.usage]
    values: dict[str, float | list[float]] = {
        "Calls": float(len(calls)),
        "CallErrors": float(sum(call.status in ("error", "timeout") for call in calls)),
        "InputTokens": float(sum(usage.input_tokens for usage in usages)),
        "OutputTokens": float(sum(usage.output_tokens for usage in usages)),
        "Selected": float(sum(call.id in selected for call in calls)),
    }
    lists: dict[str, list[float]] = {
        "CallCostUSD": [call.completion.cost.usd for call in calls],
        "CallLatency": [call.completion.latency_ms for call in calls if call.status == "ok"],
    }
    return {**values, **{name: each for name, each in lists.items() if each}}
