"""Converse's reply as a completion."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from emerge_core.providers.bedrock.converse import Wire
from emerge_core.providers.bedrock.messages import thinking_blocks, tool_use_id
from emerge_core.providers.bedrock.outcomes import STOP_REASONS, StopReason
from emerge_core.providers.errors import bad_response
from emerge_core.providers.parts import block_text, count, unfenced, whole_usage
from emerge_core.types import Completion, JsonObject, ToolCall, Usage


def from_wire(reply: JsonObject, wire: Wire, *, model: str, attempts: int) -> Completion:
    """Raises UpstreamError (`bad_response`) for a reply without content or with a malformed call."""
    output = reply.get("output")
    message = output.get("message") if isinstance(output, Mapping) else None
    content = message.get("content") if isinstance(message, Mapping) else None
    if not isinstance(content, list) or not all(isinstance(block, Mapping) for block in content):
        raise bad_response("the upstream's reply has no content")
    stop = STOP_REASONS.get(str(reply.get("stopReason")), StopReason("stop"))
    if stop.finish is None:
        raise bad_response(stop.what, provoked=True)
    texts = [block_text(block["text"]) for block in content if block.get("text") is not None]
    calls = tuple(_tool_call(block["toolUse"]) for block in content if "toolUse" in block)
    thoughts = thinking_blocks(content)
    text, finish = "".join(texts) if texts else None, stop.finish
    if wire.text_in_tool and calls:
        text, calls = calls[0].arguments, ()
        finish = "stop" if finish == "tool_calls" else finish
    return Completion(
        text=unfenced(text) if text and wire.wants_json else text,
        tool_calls=calls,
        refusal=(text or stop.what) if finish == "content_filter" else None,
        finish_reason=finish,
        reasoning_content="".join(block.get("thinking", "") for block in thoughts) or None,
        thinking_blocks=thoughts,
        usage=_usage(reply.get("usage")),
        upstream_model=model,
        dropped_params=wire.dropped,
        attempts=attempts,
    )


def _tool_call(call: Any) -> ToolCall:
    name = call.get("name") if isinstance(call, Mapping) else None
    if not isinstance(name, str):
        raise bad_response("a tool call in the upstream's reply has no name", provoked=True)
    return ToolCall(id=tool_use_id(call.get("toolUseId")), name=name, arguments=json.dumps(call.get("input") or {}))


def _usage(counts: Any) -> Usage | None:
    """Bedrock counts tokens read from and written to the cache beside the input tokens, not among them."""
    if not isinstance(counts, Mapping) or "inputTokens" not in counts:
        return None
    try:
        read, written = count(counts, "cacheReadInputTokens"), count(counts, "cacheWriteInputTokens")
        return whole_usage(
            input_tokens=count(counts, "inputTokens") + read + written,
            output_tokens=count(counts, "outputTokens"),
            cached=read,
            cache_write=written,
        )
    except ValueError:
        return None
