"""From a trace to Anthropic's message object."""

from __future__ import annotations

import json
from collections.abc import Mapping
from secrets import token_hex
from typing import Any

from emerge_core.api.choices import choices, selected_calls
from emerge_core.api.messages.parse import KIND, MessageParams
from emerge_core.api.trace_object import TraceLevel, emerge_object
from emerge_core.providers.state import reasoning_block
from emerge_core.types import Completion, Decision, ToolCall, Trace, Usage

Json = dict[str, Any]

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
# Of a reply in this format, what stands beside the fields that are made here.
_KEPT = ("stop_reason", "stop_sequence", "stop_details", "container", "context_management")


def message_id() -> str:
    return f"msg_{token_hex(16)}"


def message_json(id_: str, trace: Trace, decision: Decision, params: MessageParams, level: TraceLevel) -> Json:
    completion = decision.message
    message = {
        "id": id_,
        "type": "message",
        "role": "assistant",
        "model": params.model,
        "content": content_of(completion),
        **ending(completion, abstained=decision.abstained),
        "usage": usage_of(trace, decision),
    }
    emerge = emerge_object(trace, level, choices(trace, decision, 1), params.request)
    return message if emerge is None else {**message, "emerge": emerge}


def native_reply(completion: Completion) -> Mapping[str, Any]:
    """The reply in this format, if the model gave it so; else an empty mapping."""
    return completion.native if completion.native is not None and completion.native_kind == KIND else {}


def content_of(completion: Completion) -> list[Json]:
    native = native_reply(completion).get("content")
    if isinstance(native, list):
        return native
    blocks = thinking_of(completion)
    if completion.text or (completion.refusal and not completion.tool_calls):
        blocks.append({"type": "text", "text": completion.text or completion.refusal or ""})
    return blocks + [tool_use(call) for call in completion.tool_calls]


def thinking_of(completion: Completion) -> list[Json]:
    """The model's own blocks; for a model that only states its reasoning, a block without a signature, which goes
    back to it as `reasoning_content` on the next turn."""
    if completion.thinking_blocks:
        return [dict(block) for block in completion.thinking_blocks]
    if completion.reasoning_content:
        return [dict(reasoning_block(completion.reasoning_content, completion.maker))]
    return []


def tool_use(call: ToolCall) -> Json:
    try:
        arguments = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        arguments = {}
    return {
        "type": "tool_use",
        "id": call.id,
        "name": call.name,
        "input": arguments if isinstance(arguments, dict) else {"value": arguments},
    }


def ending(completion: Completion, *, abstained: bool = False) -> Json:
    """Why the reply ended."""
    native = native_reply(completion)
    if native.get("stop_reason"):
        return {"stop_sequence": None, **{name: native[name] for name in _KEPT if name in native}}
    reason = completion.finish_reason or ("tool_calls" if completion.tool_calls else "stop")
    stop_reason = _STOP_REASONS.get(reason, "end_turn")
    if completion.refusal is not None and not abstained and not completion.tool_calls:
        stop_reason = "refusal"
    if abstained and completion.refusal is not None:
        stop_reason = "refusal"
    return {"stop_reason": stop_reason, "stop_sequence": None}


def usage_of(trace: Trace, decision: Decision) -> Json:
    picked = selected_calls(choices(trace, decision, 1))
    if trace.usage_policy == "sum":
        return usage_json(trace.usage)
    native = native_reply(decision.message).get("usage")
    return usage_json(trace.usage_of(picked)) | (dict(native) if isinstance(native, Mapping) else {})


def usage_json(usage: Usage) -> Json:
    """Anthropic counts cached and cache-writing tokens beside the input, not in it."""
    return {
        "input_tokens": max(usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens, 0),
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
    }
