"""W3C trace context of the request in hand: which span it has, and the headers by which an upstream continues it.

Set for a request only if spans are exported (see `telemetry.otel`). Standard library only.
Specification: W3C Recommendation "Trace Context", level 1.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from contextvars import ContextVar
from typing import NamedTuple

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_TRACESTATE = re.compile(r"[ -~\t]{0,512}")


class SpanPlace(NamedTuple):
    """The place of a span in its trace: what a `traceparent` header says."""

    trace_id: int  # 128 bits
    span_id: int  # 64 bits
    sampled: bool
    state: str = ""  # the `tracestate` header

    def headers(self) -> dict[str, str]:
        parent = f"00-{self.trace_id:032x}-{self.span_id:016x}-{int(self.sampled):02x}"
        return {"traceparent": parent, **({"tracestate": self.state} if self.state else {})}

    def child(self, name: str) -> SpanPlace:
        """The place of the child with this name, which is unique below its parent. The same every time, so that the
        header can be sent before the span is written."""
        seed = f"{self.trace_id:032x}{self.span_id:016x}{name}".encode()
        return self._replace(span_id=int.from_bytes(hashlib.sha256(seed).digest()[:8]) or 1)


request_span: ContextVar[SpanPlace | None] = ContextVar("request_span", default=None)


def read(traceparent: str, tracestate: str = "") -> SpanPlace | None:
    """The caller's span, or None if the header is not valid."""
    match = _TRACEPARENT.fullmatch(traceparent.strip())
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == "ff" or (version == "00" and more) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    state = tracestate.strip() if _TRACESTATE.fullmatch(tracestate) else ""
    return SpanPlace(int(trace_id, 16), int(span_id, 16), bool(int(flags, 16) & 1), state)


def headers_of_call(call_id: str) -> Mapping[str, str]:
    """The headers for an upstream call of the request in hand; none if its spans are not exported."""
    place = request_span.get()
    return place.child(call_id).headers() if place else {}
