"""Headers that a provider's requests carry beside those of its adapter, by the task that makes the call.

The fan-out sets the W3C trace context here; the client sends it to providers with `send_trace_context`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar

trace_headers: ContextVar[Mapping[str, str]] = ContextVar("trace_headers", default={})  # noqa: B039  (never changed)
