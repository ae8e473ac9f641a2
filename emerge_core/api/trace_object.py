"""From a trace to the wire: the `chat.completion` object, the `emerge` object, and the headers."""

from __future__ import annotations

import time
import uuid
from typing import Any, Literal, NamedTuple

from emerge_core.api.choices import Choice, choices, finish_reason_of, logprobs_of, message_of
from emerge_core.types import Call, Candidate, ChatRequest, Decision, Trace, Usage

TraceLevel = Literal["off", "summary", "full"]


class Encoded(NamedTuple):
    """A decided trace in the parts that both forms, JSON and SSE, are made of."""

    id: str
    created: int
    model: str
    choices: list[Choice]
    usage: dict[str, Any]
    emerge: dict[str, Any] | None


def encode(trace: Trace, decision: Decision, request: ChatRequest, level: TraceLevel) -> Encoded:
    picked = choices(trace, decision, request.n)
    return Encoded(
        id=completion_id(),
        created=int(time.time()),
        model=trace.name,
        choices=picked,
        usage=usage_json(trace.usage if trace.usage_policy == "sum" else _usage_of(trace, _selected(picked))),
        emerge=emerge_object(trace, level, picked, request),
    )


def completion_id() -> str:
    return f"chatcmpl-{uuid.uuid4().hex}"


def completion_json(encoded: Encoded, request: ChatRequest) -> dict[str, Any]:
    body: dict[str, Any] = {
        "id": encoded.id,
        "object": "chat.completion",
        "created": encoded.created,
        "model": encoded.model,
        "choices": [
            {
                "index": index,
                "message": message_of(choice.completion),
                "logprobs": logprobs_of(choice.completion.logprobs, request),
                "finish_reason": finish_reason_of(choice.completion),
            }
            for index, choice in enumerate(encoded.choices)
        ],
        "usage": encoded.usage,
        "system_fingerprint": None,
    }
    if encoded.emerge is not None:
        body["emerge"] = encoded.emerge
    return body


def headers_of(trace: Trace, picked: list[Choice] | None = None) -> dict[str, str]:
    """What a client may want to know without reading the body. Cost in US dollars, without exponent."""
    headers = {
        "x-emerge-ensemble": trace.name,
        "x-emerge-cost-usd": f"{trace.cost.usd:.9f}",
        "x-emerge-degraded": "true" if trace.degraded else "false",
        **_rate_limits(trace),
    }
    if picked:
        headers["x-emerge-selected"] = ",".join(_selected(picked))
    agreement = trace.decision.agreement if trace.decision else None
    if agreement is not None:
        headers["x-emerge-agreement"] = f"{rounded(agreement)}"
    return headers


def _rate_limits(trace: Trace) -> dict[str, str]:
    """The upstream's, where only one was asked: the limits of several are nobody's."""
    asked = [call.completion for call in trace.calls if call.status != "skipped"]
    if len(asked) != 1:
        return {}
    return dict(asked[0].error.rate_limits if asked[0].error else asked[0].rate_limits)


def emerge_object(
    trace: Trace, level: TraceLevel, picked: list[Choice] | None = None, request: ChatRequest | None = None
) -> dict[str, Any] | None:
    """What happened and what it cost. For a failure too: then nothing is selected."""
    if level == "off":
        return None
    decision, cost = trace.decision, trace.cost
    selected = _selected(picked or [])
    candidates = {candidate.call.id: candidate for candidate in trace.candidates}
    wants_logprobs = request is not None and request.logprobs
    return {
        "ensemble": trace.name,
        "strategy": trace.strategy,
        "aggregator": trace.aggregator,
        "rule": decision.rule if decision else None,
        "selected": list(selected),
        "agreement": rounded(decision.agreement) if decision else None,
        "votes": [
            {"weight": rounded(group.weight), "members": list(group.members)}
            | ({"key": group.key.value} if level == "full" else {})
            for group in (decision.votes if decision else ())
        ],
        "early": decision.early if decision else False,
        "escalated": decision.escalated if decision else False,
        "degraded": trace.degraded,
        "fallback": decision.fallback if decision else None,
        "cost_usd": rounded(cost.usd),
        "cost_known": cost.known,
        "cost_estimated": cost.estimated,
        "usage": {"sum": usage_json(trace.usage), "selected": usage_json(_usage_of(trace, selected))},
        "latency_ms": round(trace.latency_ms, 3),
        "overhead_ms": round(trace.overhead_ms, 3),
        "calls": [
            _call_json(call, candidates.get(call.id), level, lacks_logprobs=wants_logprobs and call.id in selected)
            for call in trace.calls
        ],
    }


def usage_json(usage: Usage) -> dict[str, Any]:
    """OpenAI's shape. Details are parts of the totals, never added to them."""
    prompt_details = {"cached_tokens": usage.cached_tokens}
    if usage.cache_write_tokens:
        prompt_details["cache_write_tokens"] = usage.cache_write_tokens
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": prompt_details,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def rounded(value: float | None) -> float | None:
    """Without the noise of binary fractions."""
    return None if value is None else round(value, 9)


def _call_json(call: Call, candidate: Candidate | None, level: TraceLevel, *, lacks_logprobs: bool) -> dict[str, Any]:
    completion = call.completion
    member = candidate.member if candidate else call.member
    dropped = list(completion.dropped_params)
    if lacks_logprobs and completion.logprobs is None and "logprobs" not in dropped:
        dropped.append("logprobs")
    fields: dict[str, Any] = {
        "id": call.id,
        "role": call.role,
        "model": call.model,
        "provider": call.provider,
        "status": call.status,
        "usable": candidate.usable if candidate else call.status == "ok",
        "error": _why(call, candidate),
        "finish_reason": completion.finish_reason,
        "attempts": completion.attempts,
        "latency_ms": round(completion.latency_ms, 3),
        "usage": usage_json(completion.usage) if completion.usage else None,
        "cost_usd": rounded(completion.cost.usd),
        "cost_known": completion.cost.known,
        "cost_estimated": completion.cost.estimated,
        "weight": rounded(member.weight) if member else None,
        "confidence": rounded(candidate.confidence) if candidate else None,
    }
    if level == "full":
        fields["answer_key"] = candidate.key.value if candidate and candidate.key else None
    fields["dropped_params"] = dropped
    if level == "full":
        fields["text"] = completion.text
        if completion.tool_calls:
            fields["tool_calls"] = message_of(completion)["tool_calls"]
    return fields


def _why(call: Call, candidate: Candidate | None) -> str | None:
    """One line: the upstream's error, else why a reply that came was of no use."""
    error = call.completion.error
    if error is not None:
        return error.line
    return str(candidate.why_unusable) if candidate and candidate.why_unusable else None


def _selected(picked: list[Choice]) -> tuple[str, ...]:
    return tuple(call_id for choice in picked for call_id in choice.call_ids)


def _usage_of(trace: Trace, call_ids: tuple[str, ...]) -> Usage:
    return sum((call.completion.usage or Usage() for call in trace.calls if call.id in call_ids), Usage())
