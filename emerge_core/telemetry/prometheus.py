"""Counters and histograms of the requests of this process, in Prometheus' text format.

Labels come from the config alone, never from a client, so their number is bounded by it.
Format: "Exposition formats", Prometheus documentation, text format 0.0.4.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping

from emerge_core.errors import CLIENT_LEFT
from emerge_core.telemetry import Recorder
from emerge_core.types import ChatRequest, Trace

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0)
BUCKETS_SHARE = (0.25, 0.34, 0.5, 0.67, 0.75, 0.9, 1.0)

Labels = tuple[tuple[str, str], ...]

HELP = {
    "emerge_requests_total": ("counter", "Requests by ensemble (or model) that served and by HTTP status."),
    "emerge_request_seconds": ("histogram", "Time from a request to its whole answer."),
    "emerge_request_cost_usd_total": ("counter", "What upstreams charge, in US dollars, cancelled calls estimated."),
    "emerge_baseline_cost_usd_total": ("counter", "What the same requests would have cost at the baseline."),
    "emerge_agreement_ratio": ("histogram", "Share of the weight asked that voted for the answer."),
    "emerge_early_decisions_total": ("counter", "Requests decided before every member had answered."),
    "emerge_escalations_total": ("counter", "Requests on which a model was asked after the first round."),
    "emerge_abstentions_total": ("counter", "Requests answered by saying that the models do not agree."),
    "emerge_degraded_total": ("counter", "Requests on which a member that was asked gave no usable reply."),
    "emerge_calls_total": ("counter", "Upstream calls by model, role and outcome."),
    "emerge_call_seconds": ("histogram", "Time of upstream calls that succeeded."),
    "emerge_call_cost_usd_total": ("counter", "What upstream calls cost, in US dollars."),
    "emerge_tokens_total": ("counter", "Tokens of upstream calls; type is input or output."),
    "emerge_selected_total": ("counter", "Calls whose reply was the answer."),
}
OTHER = "other"  # what a client named that the config does not


class _Histogram:
    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Prometheus:
    """Counts requests since the start of the process."""

    def __init__(self) -> None:
        self._counters: dict[str, dict[Labels, float]] = defaultdict(lambda: defaultdict(float))
        self._histograms: dict[str, dict[Labels, _Histogram]] = defaultdict(dict)

    def recorder(self, known: Collection[str]) -> Recorder:
        """What an engine calls with every request that is over. `known` are the config's ensembles and models."""

        def record(_: ChatRequest, trace: Trace) -> None:
            self._request(trace, trace.ensemble if trace.ensemble in known else OTHER)
            self._calls(trace)

        return record

    def text(self) -> str:
        return "".join(line + "\n" for line in self._lines())

    def _request(self, trace: Trace, ensemble: str) -> None:
        decision, failure = trace.decision, trace.failure
        own: Labels = (("ensemble", ensemble),)
        self._add("emerge_requests_total", (*own, ("status", str(failure.status if failure else 200))))
        self._add("emerge_request_cost_usd_total", own, trace.cost.usd)
        if failure is None or failure.status != CLIENT_LEFT:
            self._observe("emerge_request_seconds", own, trace.latency_ms / 1000, BUCKETS_S)
        if trace.baseline and trace.baseline.known:
            self._add("emerge_baseline_cost_usd_total", own, trace.baseline.usd)
        if decision and decision.agreement is not None:
            self._observe("emerge_agreement_ratio", own, decision.agreement, BUCKETS_SHARE)
        for name, happened in (
            ("emerge_early_decisions_total", decision and decision.early),
            ("emerge_escalations_total", decision and decision.escalated),
            ("emerge_abstentions_total", decision and decision.abstained),
            ("emerge_degraded_total", trace.degraded),
        ):
            self._add(name, own, float(bool(happened)))

    def _calls(self, trace: Trace) -> None:
        selected = trace.decision.selected if trace.decision else ()
        for call in trace.calls:
            own: Labels = (("model", call.model), ("provider", call.provider))
            self._add("emerge_calls_total", (*own, ("role", call.role), ("status", call.status)))
            self._add("emerge_call_cost_usd_total", own, call.completion.cost.usd)
            if usage := call.completion.usage:
                self._add("emerge_tokens_total", (*own, ("type", "input")), usage.input_tokens)
                self._add("emerge_tokens_total", (*own, ("type", "output")), usage.output_tokens)
            if call.status == "ok":
                self._observe("emerge_call_seconds", own, call.completion.latency_ms / 1000, BUCKETS_S)
            if call.id in selected:
                self._add("emerge_selected_total", own)

    def _add(self, name: str, labels: Labels, amount: float = 1.0) -> None:
        self._counters[name][labels] += amount

    def _observe(self, name: str, labels: Labels, value: float, bounds: tuple[float, ...]) -> None:
        rows = self._histograms[name]
        if labels not in rows:
            rows[labels] = _Histogram(bounds)
        rows[labels].add(value)

    def _lines(self) -> Iterator[str]:
        for name, (kind, about) in HELP.items():
            yield f"# HELP {name} {about}"
            yield f"# TYPE {name} {kind}"
            for labels, value in self._counters.get(name, {}).items():
                yield f"{name}{_braces(labels)} {value:.10g}"
            for labels, histogram in self._histograms.get(name, {}).items():
                below = 0
                for bound, count in zip((*histogram.bounds, None), histogram.counts, strict=True):
                    below += count
                    le = "+Inf" if bound is None else f"{bound:g}"
                    yield f"{name}_bucket{_braces((*labels, ('le', le)))} {below}"
                yield f"{name}_sum{_braces(labels)} {histogram.total:.10g}"
                yield f"{name}_count{_braces(labels)} {below}"


def _braces(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def gauges(breakers: Mapping[str, Mapping[str, object]]) -> str:
    """Which models' circuit breakers are open, as lines to follow those of `text`."""
    name = "emerge_breaker_open"
    lines = [f"# HELP {name} Whether a model is left alone because it failed.", f"# TYPE {name} gauge"]
    for model, state in breakers.items():
        lines.append(f"{name}{_braces((('model', model),))} {int(state.get('state') == 'open')}")
    return "".join(line + "\n" for line in lines)
