"""The `emerge` object and the response headers: what happened in a request, and what it cost."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import quote

from emerge_core.answers.json_schema import unchecked_patterns
from emerge_core.api.choices import Choice, selected_calls, tool_calls_json
from emerge_core.types import Call, Candidate, ChatRequest, Cost, Trace, Usage

TraceLevel = Literal["off", "summary", "full"]


def header_text(name: str) -> str:
    """A name as a header's value: what is not plain ASCII is percent-encoded."""
    return quote(name, safe=" !#$&'()*+,/:;=?@[]~")


def response_headers(trace: Trace, picked: list[Choice] | None = None) -> dict[str, str]:
    """The `x-emerge-…` headers, for clients that do not read the body. Costs are US dollars, without exponent."""
    headers = {
        "x-emerge-ensemble": header_text(trace.name),
        "x-emerge-cost-usd": f"{trace.cost.usd:.9f}",
        "x-emerge-degraded": "true" if trace.degraded else "false",
        **_rate_limits(trace),
    }
    if picked and (selected := selected_calls(picked)):
        headers["x-emerge-selected"] = ",".join(selected)
    agreement = trace.decision.agreement if trace.decision else None
    if agreement is not None:
        headers["x-emerge-agreement"] = f"{rounded(agreement)}"
    return headers


def _rate_limits(trace: Trace) -> dict[str, str]:
    """The upstream's own headers, if only one was asked: with several there is no single rate limit to report."""
    asked = [call.completion for call in trace.calls if call.status != "skipped"]
    if len(asked) != 1:
        return {}
    return dict(asked[0].error.rate_limits if asked[0].error else asked[0].rate_limits)


def emerge_object(
    trace: Trace,
    level: TraceLevel,
    picked: list[Choice] | None = None,
    request: ChatRequest | None = None,
    *,
    dropped: tuple[str, ...] = (),
) -> dict[str, Any] | None:
    """The object, or None if `level` is off. Nothing is selected in the object of a failure. `dropped` names what the
    surface left out for every model."""
    if level == "off":
        return None
    decision, cost = trace.decision, trace.cost
    selected = selected_calls(picked or [])
    candidates = {candidate.call.id: candidate for candidate in trace.candidates}
    wants_logprobs = request is not None and request.logprobs
    unchecked = unchecked_patterns(request) if request is not None else []
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
        "abstained": decision.abstained if decision else False,
        "degraded": trace.degraded,
        "fallback": decision.fallback if decision else None,
        "cost_usd": rounded(cost.usd),
        "cost_known": cost.known,
        "cost_estimated": cost.estimated,
        "usage": {"sum": usage_json(trace.usage), "selected": usage_json(trace.usage_of(selected))},
        **({"route": trace.route._asdict()} if trace.route else {}),
        **({"baseline_cost_usd": _usd(trace.baseline)} if trace.baseline else {}),
        "latency_ms": round(trace.latency_ms, 3),
        "overhead_ms": round(trace.overhead_ms, 3),
        "calls": [
            _call_json(
                call,
                candidates.get(call.id),
                level,
                dropped=(*dropped, *(["logprobs"] if wants_logprobs and _lacks_logprobs(call, selected) else ())),
            )
            for call in trace.calls
        ],
        **({"unchecked": unchecked} if unchecked else {}),
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
    """Rounded to nine digits, without the noise of binary fractions."""
    return None if value is None else round(value, 9)


def _usd(cost: Cost) -> float | None:
    return rounded(cost.usd) if cost.known else None


def _lacks_logprobs(call: Call, selected: tuple[str, ...]) -> bool:
    completion = call.completion
    return call.id in selected and completion.logprobs is None and "logprobs" not in completion.dropped_params


def _call_json(
    call: Call, candidate: Candidate | None, level: TraceLevel, *, dropped: tuple[str, ...]
) -> dict[str, Any]:
    """`dropped` is what was left out beside what the provider's adapter dropped."""
    completion = call.completion
    member = candidate.member if candidate else call.member
    fields: dict[str, Any] = {
        "id": call.id,
        "role": call.role,
        "model": call.model,
        "provider": call.provider,
        "status": call.status,
        "usable": candidate.usable if candidate else call.status == "ok",
        "error": error_line(call, candidate),
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
    fields["dropped_params"] = [*completion.dropped_params, *dropped]
    if level == "full":
        fields["text"] = completion.text
        if completion.tool_calls:
            fields["tool_calls"] = tool_calls_json(completion)
    return fields


def error_line(call: Call, candidate: Candidate | None) -> str | None:
    """One line: the upstream's error, else why the reply was not usable."""
    error = call.completion.error
    if error is not None:
        return error.line
    return str(candidate.why_unusable) if candidate and candidate.why_unusable else None
