"""One log line per upstream call and one per request, as structured fields of the logger `emerge`.

Names, outcomes, tokens, milliseconds and dollars only: no prompt, no answer, no secret. Upstream
error texts stay out as well, since an upstream may quote the prompt in them; their kind is logged.

Only a config with `log_content: true` adds the content, and only as far as its `trace` level says:
with `trace: full` the `request` line carries `request` (what the client sent, in OpenAI's shape) and
each `call` line of a member or an escalation carries `upstream_model`, `text`, `tool_calls`, `refusal`,
`finish_reason`, `logprobs` and `sent` (its parameters). From such lines a recording can be made without
asking anybody again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from emerge_core.types import Call, ChatRequest, Trace

log = logging.getLogger("emerge")

CONTENT_ROLES = ("member", "escalation")


class Lines:
    """Writes the lines. `content` is what `log_content` with `trace: full` says."""

    def __init__(self, *, content: bool = False) -> None:
        self._content = content

    def __call__(self, request: ChatRequest, trace: Trace) -> None:
        if not log.isEnabledFor(logging.INFO):
            return
        agreed = _agreed(trace)
        for call in trace.calls:
            said = _said(call) if self._content else {}
            log.info("call", extra={**_call(trace, call), "agreed": agreed.get(call.id), **said})
        log.info("request", extra={**_request(trace), **({"request": _asked(request)} if self._content else {})})


class JsonFormatter(logging.Formatter):
    """A line as JSON: the event, then its fields. For servers outside Lambda, where Powertools does it."""

    def format(self, record: logging.LogRecord) -> str:
        fields = extra_fields(record)
        if record.levelno >= logging.WARNING:
            fields["level"] = record.levelname
        if record.exc_info and record.exc_info[0]:
            fields["exception"] = record.exc_info[0].__name__
        return json.dumps({"event": record.getMessage(), **fields}, separators=(",", ":"), default=str)


_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


def extra_fields(record: logging.LogRecord) -> dict[str, Any]:
    """The fields that were logged with `extra`."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _call(trace: Trace, call: Call) -> dict[str, Any]:
    done = call.completion
    return {
        "request_id": trace.request_id,
        "call": call.id,
        "role": call.role,
        "model": call.model,
        "provider": call.provider,
        "status": call.status,
        "error": done.error.kind if done.error else None,
        "attempts": done.attempts,
        "latency_ms": round(done.latency_ms, 1),
        "input_tokens": done.usage.input_tokens if done.usage else None,
        "output_tokens": done.usage.output_tokens if done.usage else None,
        "cost_usd": done.cost.usd,
        "cost_known": done.cost.known,
        "cost_estimated": done.cost.estimated,
    }


def _agreed(trace: Trace) -> dict[str, int]:
    """By call id: 1 if a member's answer is the one that was selected, 0 if it is another (numbers, so that log
    queries can add them up). Left out if either has no answer key."""
    keys = {candidate.call.id: candidate.key for candidate in trace.candidates if candidate.key is not None}
    selected = trace.decision.selected if trace.decision else ()
    winner = next((keys[each] for each in selected if each in keys), None)
    return {} if winner is None else {each: int(key == winner) for each, key in keys.items()}


def _request(trace: Trace) -> dict[str, Any]:
    decision = trace.decision
    return {
        "request_id": trace.request_id,
        "ensemble": trace.name,
        "served_by": trace.ensemble,
        "route": trace.route.form if trace.route else None,
        "status": trace.failure.status if trace.failure else 200,
        "rule": decision.rule if decision else None,
        "selected": list(decision.selected) if decision else [],
        "agreement": decision.agreement if decision else None,
        "early": bool(decision and decision.early),
        "escalated": bool(decision and decision.escalated),
        "abstained": bool(decision and decision.abstained),
        "degraded": trace.degraded,
        "calls": len(trace.calls),
        "latency_ms": round(trace.latency_ms, 1),
        "overhead_ms": round(trace.overhead_ms, 2),
        "cost_usd": trace.cost.usd,
        "cost_known": trace.cost.known,
        "cost_estimated": trace.cost.estimated,
        **({"baseline_cost_usd": trace.baseline.usd} if trace.baseline and trace.baseline.known else {}),
    }


def _said(call: Call) -> dict[str, Any]:
    done = call.completion
    if call.role not in CONTENT_ROLES or call.status != "ok":
        return {}
    return {
        "upstream_model": done.upstream_model,
        "text": done.text,
        "tool_calls": [asdict(each) for each in done.tool_calls],
        "refusal": done.refusal,
        "finish_reason": done.finish_reason,
        "logprobs": [[each.token, round(each.logprob, 6)] for each in done.logprobs or ()],
        "sent": {"temperature": call.member.temperature if call.member else None},
    }


def _asked(request: ChatRequest) -> Mapping[str, Any]:
    optional = {
        "tools": list(request.tools) or None,
        "tool_choice": request.tool_choice,
        "response_format": request.response_format,
        request.max_tokens_param: request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stop": list(request.stop) or None,
        "seed": request.seed,
    }
    given = {name: value for name, value in optional.items() if value is not None}
    return {"messages": list(request.messages), **given}
