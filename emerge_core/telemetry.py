"""What is told about a request once it is over: one log line per call and one per request, as JSON.

Names, outcomes, tokens, milliseconds and dollars only: no prompt, no answer, no secret. Upstream
error texts stay out as well, since an upstream may quote the prompt in them; their kind is logged.
"""

from __future__ import annotations

import json
import logging

from emerge_core.types import Trace

log = logging.getLogger("emerge")


def record(trace: Trace) -> None:
    if not log.isEnabledFor(logging.INFO):
        return
    for call in trace.calls:
        done = call.completion
        _line(
            event="call",
            request_id=trace.request_id,
            id=call.id,
            role=call.role,
            model=call.model,
            provider=call.provider,
            status=call.status,
            error=done.error.kind if done.error else None,
            attempts=done.attempts,
            latency_ms=round(done.latency_ms, 1),
            input_tokens=done.usage.input_tokens if done.usage else None,
            output_tokens=done.usage.output_tokens if done.usage else None,
            cost_usd=done.cost.usd,
            cost_known=done.cost.known,
            cost_estimated=done.cost.estimated,
        )
    _line(
        event="request",
        request_id=trace.request_id,
        ensemble=trace.name,
        status=trace.failure.status if trace.failure else 200,
        rule=trace.decision.rule if trace.decision else None,
        agreement=trace.decision.agreement if trace.decision else None,
        early=bool(trace.decision and trace.decision.early),
        escalated=bool(trace.decision and trace.decision.escalated),
        degraded=trace.degraded,
        calls=len(trace.calls),
        latency_ms=round(trace.latency_ms, 1),
        overhead_ms=round(trace.overhead_ms, 2),
        cost_usd=trace.cost.usd,
        cost_known=trace.cost.known,
        cost_estimated=trace.cost.estimated,
    )


def _line(**fields: object) -> None:
    log.info(json.dumps(fields, separators=(",", ":")))
