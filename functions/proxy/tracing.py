"""X-Ray subsegments: one for each request, with searchable annotations and with the calls as metadata.

Sent if `EMERGE_TRACING=true` and if the invocation's trace is sampled. As in the log, no prompt, answer or secret is
in them. A subsegment goes to the X-Ray daemon as one UDP message, so that a request in flight holds its own and no
state is shared with the others, as it is in X-Ray's SDK.
Formats: "Segment documents" and "Tracing header", AWS X-Ray Developer Guide.
"""

from __future__ import annotations

import json
import secrets
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from emerge_core.config import variables
from emerge_core.types import Trace

NAME = "## emerge"
DAEMON = "AWS_XRAY_DAEMON_ADDRESS"  # Lambda sets it
HEADER = b'{"format": "json", "version": 1}\n'
MOST_BYTES = 64_000  # of a message


@dataclass
class Subsegment:
    """What is known of one request while it is open."""

    trace_id: str
    parent_id: str
    started: float = field(default_factory=time.time)
    annotations: Mapping[str, Any] = field(default_factory=dict)
    calls: list[Mapping[str, Any]] = field(default_factory=list)

    def describe(self, trace: Trace) -> None:
        decision = trace.decision
        self.annotations = {
            "ensemble": trace.name,
            "status": trace.failure.status if trace.failure else 200,
            "degraded": trace.degraded,
            "escalated": bool(decision and decision.escalated),
        }
        self.calls = [
            {
                "model": call.model,
                "role": call.role,
                "status": call.status,
                "latency_ms": round(call.completion.latency_ms, 1),
            }
            for call in trace.calls
        ]

    def document(self) -> dict[str, Any]:
        return {
            "type": "subsegment",
            "name": NAME,
            "id": secrets.token_hex(8),
            "trace_id": self.trace_id,
            "parent_id": self.parent_id,
            "start_time": self.started,
            "end_time": time.time(),
            "annotations": self.annotations,
            "metadata": {"emerge": {"calls": self.calls}},
        }


class Tracing:
    def __init__(self, environ: Mapping[str, str]) -> None:
        wanted = environ.get(variables.TRACING, "").lower() == "true"
        self._daemon = _address(environ.get(DAEMON, "")) if wanted else None

    def begin(self, header: str | None) -> Subsegment | None:
        """`header` is the invocation's tracing header. None if its trace is not sampled, or tracing is off."""
        parts = dict(part.strip().partition("=")[::2] for part in (header or "").split(";"))
        if self._daemon is None or parts.get("Sampled") != "1" or not parts.get("Root") or not parts.get("Parent"):
            return None
        return Subsegment(trace_id=parts["Root"], parent_id=parts["Parent"])

    def end(self, subsegment: Subsegment | None) -> None:
        """Sends it. A message that cannot be sent is lost, as UDP may lose any."""
        if subsegment is None or self._daemon is None:
            return
        message = HEADER + json.dumps(subsegment.document()).encode()
        if len(message) > MOST_BYTES:
            subsegment.calls = []
            message = HEADER + json.dumps(subsegment.document()).encode()
        with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(message, self._daemon)


def _address(given: str) -> tuple[str, int] | None:
    """Of `host:port`, or of `tcp:host:port udp:host:port`."""
    found = next((part.removeprefix("udp:") for part in given.split() if not part.startswith("tcp:")), "")
    host, _, port = found.rpartition(":")
    return (host, int(port)) if host and port.isdigit() else None
