"""Names and attributes of spans and metrics, by OpenTelemetry's semantic conventions for generative AI (1.41), all of
them of status "development" there. What the conventions have no name for is in `emerge.…`.

Pure functions from a request and its trace; nothing of OpenTelemetry is imported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from emerge_core.config.schema import Config, ProviderConfig
from emerge_core.provider_kinds import KINDS
from emerge_core.types import Call, ChatRequest, Completion, Trace, text_of

Attributes = dict[str, str | bool | int | float | Sequence[str]]

TOKEN_USAGE = "gen_ai.client.token.usage"  # noqa: S105
DURATION = "gen_ai.client.operation.duration"
# Bucket boundaries that the conventions advise: tokens by powers of four, seconds by powers of two.
TOKEN_BUCKETS = [float(4**power) for power in range(14)]
DURATION_BUCKETS = [round(0.01 * 2**power, 2) for power in range(14)]

_PROVIDERS = {"openai": "openai", "anthropic": "anthropic", "bedrock": "aws.bedrock"}
_PROVIDERS_BY_HOST = {
    "generativelanguage.googleapis.com": "gcp.gemini",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral_ai",
    "api.deepseek.com": "deepseek",
    "api.x.ai": "x_ai",
    "api.perplexity.ai": "perplexity",
    "api.moonshot.ai": "moonshot_ai",
    "api.cohere.ai": "cohere",
}


def request_name(trace: Trace) -> str:
    return f"invoke_workflow {trace.ensemble}"


def call_name(call: Call, config: Config) -> str:
    return f"{_operation(call)} {_upstream_model(call, config)}"


def request_attributes(trace: Trace) -> Attributes:
    """Of the span of a request: a workflow of calls. Tokens are on the spans of the calls, where each is counted
    once."""
    decision = trace.decision
    found: Mapping[str, Any] = {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.workflow.name": trace.ensemble,
        "gen_ai.agent.name": trace.ensemble,  # its name from version 0.1 of the separate GenAI conventions on
        "http.response.status_code": trace.failure.status if trace.failure else 200,
        "error.type": trace.failure.type if trace.failure else None,
        "emerge.request_id": trace.request_id,
        "emerge.model": trace.name,
        "emerge.strategy": trace.strategy,
        "emerge.aggregator": trace.aggregator,
        "emerge.route": trace.route.form if trace.route else None,
        "emerge.rule": decision.rule if decision else None,
        "emerge.selected": list(decision.selected) if decision else None,
        "emerge.agreement": decision.agreement if decision else None,
        "emerge.early": decision.early if decision else None,
        "emerge.escalated": decision.escalated if decision else None,
        "emerge.abstained": decision.abstained if decision else None,
        "emerge.degraded": trace.degraded,
        "emerge.calls": len(trace.calls),
        "emerge.cost_usd": trace.cost.usd,
        "emerge.cost_known": trace.cost.known,
        "emerge.overhead_ms": trace.overhead_ms,
        "emerge.baseline_cost_usd": trace.baseline.usd if trace.baseline and trace.baseline.known else None,
    }
    return _present(found)


def call_attributes(call: Call, request: ChatRequest, trace: Trace, config: Config) -> Attributes:
    """Of the span of an upstream call."""
    done, usage = call.completion, call.completion.usage
    member = call.member
    found: Mapping[str, Any] = {
        **metric_attributes(call, config),
        **(_parameters(request) if call.role not in ("embed", "judge") else {}),  # those are asked with their own
        **({"gen_ai.request.temperature": member.temperature} if member and member.temperature is not None else {}),
        "gen_ai.response.finish_reasons": [done.finish_reason] if done.finish_reason else None,
        "gen_ai.usage.input_tokens": usage.input_tokens if usage else None,
        "gen_ai.usage.output_tokens": usage.output_tokens if usage else None,
        "gen_ai.usage.cache_read.input_tokens": (usage.cached_tokens or None) if usage else None,
        "gen_ai.usage.cache_creation.input_tokens": (usage.cache_write_tokens or None) if usage else None,
        "gen_ai.usage.reasoning.output_tokens": (usage.reasoning_tokens or None) if usage else None,
        "emerge.call.id": call.id,
        "emerge.call.role": call.role,
        "emerge.call.model": call.model,
        "emerge.call.provider": call.provider,
        "emerge.call.status": call.status,
        "emerge.call.attempts": done.attempts,
        "emerge.call.selected": bool(trace.decision and call.id in trace.decision.selected),
        "emerge.call.cost_usd": done.cost.usd,
        "emerge.call.cost_known": done.cost.known,
    }
    return _present(found)


def metric_attributes(call: Call, config: Config) -> Attributes:
    """What the metrics of a call are counted by; every value comes from the config or from the upstream."""
    provider = config.providers[call.provider]
    address = urlsplit(provider.base_url or KINDS[provider.kind].base_url or "")
    found: Mapping[str, Any] = {
        "gen_ai.operation.name": _operation(call),
        "gen_ai.provider.name": _provider(provider),
        "gen_ai.request.model": _upstream_model(call, config),
        "gen_ai.response.model": call.completion.upstream_model,
        "server.address": address.hostname,
        "server.port": _port(provider, address.scheme) if address.hostname else None,
        "error.type": call.completion.error.kind if call.completion.error and call.status != "cancelled" else None,
    }
    return _present(found)


def input_content(request: ChatRequest) -> Attributes:
    """The conversation, for a config that logs content."""
    system = [each for each in request.messages if each.get("role") in ("system", "developer")]
    rest = [_message(each) for each in request.messages if each not in system]
    parts = [{"type": "text", "content": text_of(each.get("content"))} for each in system]
    return _present(
        {
            "gen_ai.input.messages": json.dumps(rest, ensure_ascii=False),
            "gen_ai.system_instructions": json.dumps(parts, ensure_ascii=False) if parts else None,
        }
    )


def output_content(completion: Completion) -> Attributes:
    """A reply, for a config that logs content."""
    parts: list[dict[str, Any]] = []
    if completion.reasoning_content:
        parts.append({"type": "reasoning", "content": completion.reasoning_content})
    if text := completion.text or completion.refusal:
        parts.append({"type": "text", "content": text})
    parts += [
        {"type": "tool_call", "id": call.id, "name": call.name, "arguments": _json(call.arguments)}
        for call in completion.tool_calls
    ]
    message = {"role": "assistant", "parts": parts, "finish_reason": completion.finish_reason}
    return _present({"gen_ai.output.messages": json.dumps([message], ensure_ascii=False) if parts else None})


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    if message.get("role") == "tool":
        reply = {"type": "tool_call_response", "id": message.get("tool_call_id"), "response": message.get("content")}
        return {"role": "tool", "parts": [reply]}
    parts: list[dict[str, Any]] = []
    if text := text_of(message.get("content")):
        parts.append({"type": "text", "content": text})
    for call in message.get("tool_calls") or ():
        function = call.get("function") or {}
        arguments = _json(function.get("arguments"))
        parts.append({"type": "tool_call", "id": call.get("id"), "name": function.get("name"), "arguments": arguments})
    return {"role": message.get("role"), "parts": parts}


def _json(text: Any) -> Any:
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return text


def _parameters(request: ChatRequest) -> Mapping[str, Any]:
    return {
        "gen_ai.request.max_tokens": request.max_tokens,
        "gen_ai.request.temperature": request.temperature,
        "gen_ai.request.top_p": request.top_p,
        "gen_ai.request.presence_penalty": request.presence_penalty,
        "gen_ai.request.frequency_penalty": request.frequency_penalty,
        "gen_ai.request.stop_sequences": list(request.stop) or None,
        "gen_ai.request.seed": request.seed,
        "gen_ai.output.type": "json" if request.wants_json else None,
    }


def _operation(call: Call) -> str:
    return "embeddings" if call.role == "embed" else "chat"


def _upstream_model(call: Call, config: Config) -> str:
    return (config.embedders if call.role == "embed" else config.models)[call.model].model


def _provider(provider: ProviderConfig) -> str:
    """OpenAI-compatible servers of no known host are `openai`: it names the flavour of the API."""
    host = urlsplit(provider.base_url or "").hostname or ""
    return _PROVIDERS_BY_HOST.get(host) or _PROVIDERS.get(provider.kind, provider.kind)


def _port(provider: ProviderConfig, scheme: str) -> int:
    return urlsplit(provider.base_url or "").port or {"http": 80}.get(scheme, 443)


def _present(attributes: Mapping[str, Any]) -> Attributes:
    """Without what is not known. A lone surrogate, which protobuf refuses, would cost every span of its batch."""
    return {name: _encodable(value) for name, value in attributes.items() if value is not None}


def _encodable(value: Any) -> Any:
    if isinstance(value, list):
        return [_encodable(each) for each in value]
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
