"""Spans and metrics of requests, exported over OTLP by OpenTelemetry's SDK in threads of its own.

A request's span begins with the request, so that its sampling is decided and its place in the trace is known when the
first upstream is called. The spans of the calls are written when the request is over, from its trace. Recording only
appends to a bounded queue: a collector that is slow or gone costs a request nothing, and spans that do not fit are
dropped.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextvars import ContextVar

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from emerge_core.about import VERSION
from emerge_core.config.schema import Config
from emerge_core.telemetry.otel import conventions
from emerge_core.telemetry.trace_context import SpanPlace, read, request_span
from emerge_core.types import Call, ChatRequest, Trace

log = logging.getLogger("emerge")

CLOSE_S = 2.0  # for what is still queued when the process ends
QUIET_S = 60.0  # without flushes, after one that took too long

_next_span_id: ContextVar[int | None] = ContextVar("next_span_id", default=None)
_span: ContextVar[Span | None] = ContextVar("span", default=None)


class OpenTelemetry:
    """What one process exports. The resource, sampling, limits, queue, endpoints, headers and timeouts are those of
    the standard `OTEL_*` variables."""

    def __init__(self, *, traces: bool, metrics: bool) -> None:
        resource = Resource.create({"service.instance.id": str(uuid.uuid4()), "service.version": VERSION})
        if resource.attributes.get("service.name", "unknown_service").startswith("unknown_service"):  # type: ignore[union-attr]
            resource = resource.merge(Resource({"service.name": "emerge"}))
        self._traces = TracerProvider(resource=resource, id_generator=_SpanIds(), shutdown_on_exit=False)
        if traces:
            self._traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        readers = [PeriodicExportingMetricReader(OTLPMetricExporter())] if metrics else []
        self._metrics = MeterProvider(readers, resource=resource, shutdown_on_exit=False)
        self._tracer = self._traces.get_tracer("emerge", VERSION)
        meter = self._metrics.get_meter("emerge", VERSION)
        self._tokens = meter.create_histogram(
            conventions.TOKEN_USAGE,
            unit="{token}",
            description="Number of input and output tokens used",
            explicit_bucket_boundaries_advisory=conventions.TOKEN_BUCKETS,
        )
        self._duration = meter.create_histogram(
            conventions.DURATION,
            unit="s",
            description="Duration of an operation",
            explicit_bucket_boundaries_advisory=conventions.DURATION_BUCKETS,
        )
        self._exports_traces = traces
        self._flushing: threading.Thread | None = None
        self._quiet_until = 0.0

    def begin(self, traceparent: str = "", tracestate: str = "") -> None:
        """Begins the span of the request that is handled in the current context, as a child of the caller's span if
        the W3C headers name one."""
        if not self._exports_traces:
            return
        caller = read(traceparent, tracestate) if traceparent else None
        span = self._start(_parent(caller) if caller else None)
        _span.set(span)
        context = span.get_span_context()
        state = context.trace_state.to_header() if context.trace_state else ""
        request_span.set(SpanPlace(context.trace_id, context.span_id, context.trace_flags.sampled, state))

    def recorder(self, config: Config) -> Callable[[ChatRequest, Trace], None]:
        """A recorder for an engine of this config."""
        content = config.log_content and config.trace == "full"

        def record(request: ChatRequest, trace: Trace) -> None:
            ended = time.time_ns()
            try:
                self._record(request, trace, config, ended, content=content)
            except Exception as fault:  # telemetry must not cost the answer
                log.error("a request could not be exported: %s", type(fault).__name__)

        return record

    def flush(self, timeout_s: float) -> bool:
        """Exports what is queued, for at most this long: for a process that is frozen between requests. Whether it is
        done. A collector that took too long is not waited for again for a while. Blocks."""
        if time.monotonic() < self._quiet_until or timeout_s <= 0:
            return False
        if self._flushing is None or not self._flushing.is_alive():
            self._flushing = threading.Thread(target=self._flush, name="otel-flush", daemon=True)
            self._flushing.start()
        self._flushing.join(timeout_s)
        if self._flushing.is_alive():
            self._quiet_until = time.monotonic() + QUIET_S
            return False
        return True

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Exports what is queued, for at most this long, and ends the threads."""
        thread = threading.Thread(target=self._shutdown, name="otel-close", daemon=True)
        thread.start()
        thread.join(timeout_s)

    def _start(self, parent: Context | None = None, start_time: int | None = None) -> Span:
        return self._tracer.start_span("request", context=parent, kind=SpanKind.SERVER, start_time=start_time)

    def _flush(self) -> None:
        self._traces.force_flush()
        self._metrics.force_flush()

    def _shutdown(self) -> None:
        self._traces.shutdown()
        self._metrics.shutdown()

    def _record(self, request: ChatRequest, trace: Trace, config: Config, ended: int, *, content: bool) -> None:
        calls = [call for call in trace.calls if call.status != "skipped"]
        for call in calls:
            self._measure(call, config)
        name = {"gen_ai.operation.name": "invoke_workflow", "gen_ai.workflow.name": trace.ensemble}
        failed = {"error.type": trace.failure.type} if trace.failure else {}
        self._duration.record(trace.latency_ms / 1000, {**name, **failed})
        if not self._exports_traces:
            return
        began = ended - int(trace.latency_ms * 1e6)
        span = _span.get() or self._start(start_time=began)  # an engine without the HTTP API around it has none
        if not span.is_recording():
            return
        self._write_calls(calls, span, request, trace, config, began, content=content)
        span.update_name(conventions.request_name(trace))
        span.set_attributes(conventions.request_attributes(trace))
        if content:
            span.set_attributes(conventions.input_content(request))
            span.set_attributes(conventions.output_content(trace.decision.message) if trace.decision else {})
        if trace.failure and trace.failure.status >= 500:
            span.set_status(Status(StatusCode.ERROR, trace.failure.type))
        span.end(ended)

    def _write_calls(
        self,
        calls: Sequence[Call],
        parent: Span,
        request: ChatRequest,
        trace: Trace,
        config: Config,
        began: int,
        *,
        content: bool,
    ) -> None:
        context = parent.get_span_context()
        place = SpanPlace(context.trace_id, context.span_id, sampled=True)
        for call in calls:
            start = began + int(call.began_ms * 1e6)
            attributes = conventions.call_attributes(call, request, trace, config)
            if content:
                attributes |= conventions.output_content(call.completion)
            token = _next_span_id.set(place.child(call.id).span_id)
            try:
                span = self._tracer.start_span(
                    conventions.call_name(call, config),
                    context=set_span_in_context(parent),
                    kind=SpanKind.CLIENT,
                    attributes=attributes,
                    start_time=start,
                )
            finally:
                _next_span_id.reset(token)
            if call.completion.error and call.status != "cancelled":
                span.set_status(Status(StatusCode.ERROR, call.completion.error.kind))
            span.end(start + int(call.completion.latency_ms * 1e6))

    def _measure(self, call: Call, config: Config) -> None:
        attributes = conventions.metric_attributes(call, config)
        if call.status != "cancelled":
            self._duration.record(call.completion.latency_ms / 1000, attributes)
        if usage := call.completion.usage:
            self._tokens.record(usage.input_tokens, {**attributes, "gen_ai.token.type": "input"})
            self._tokens.record(usage.output_tokens, {**attributes, "gen_ai.token.type": "output"})


class _SpanIds(RandomIdGenerator):
    """The id that was announced to the upstream, for the span of a call."""

    def generate_span_id(self) -> int:
        return _next_span_id.get() or super().generate_span_id()


def _parent(caller: SpanPlace) -> Context:
    flags = TraceFlags(TraceFlags.SAMPLED if caller.sampled else TraceFlags.DEFAULT)
    state = TraceState.from_header([caller.state]) if caller.state else None
    context = SpanContext(caller.trace_id, caller.span_id, is_remote=True, trace_flags=flags, trace_state=state)
    return set_span_in_context(NonRecordingSpan(context))
