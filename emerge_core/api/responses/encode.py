"""From a trace to a `response` object and its output items."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from secrets import token_hex
from typing import Any, NamedTuple

from emerge_core.api.choices import choices, logprobs_of, selected_calls
from emerge_core.api.responses import compaction
from emerge_core.api.responses.parse import ResponseParams
from emerge_core.api.responses.state import reasoning_item
from emerge_core.api.trace_object import TraceLevel, emerge_object
from emerge_core.errors import RequestError
from emerge_core.types import Completion, Decision, Trace, Usage

Key = str | int  # of an output item: "reasoning", "message", "compaction", or the number of a call

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


class Frame(NamedTuple):
    """What every event of one response has in common."""

    id: str
    created_at: int
    params: ResponseParams

    def item_id(self, key: Key) -> str:
        mark = self.id.removeprefix("resp_")
        named = {"reasoning": f"rs_{mark}", "message": f"msg_{mark}", "compaction": f"cmp_{mark}"}
        return named.get(str(key)) or f"fc_{mark}{key}"


def frame_of(params: ResponseParams) -> Frame:
    return Frame(f"resp_{token_hex(16)}", int(time.time()), params)


def in_progress(frame: Frame) -> dict[str, Any]:
    """The response before there is an answer."""
    return {
        "id": frame.id,
        "object": "response",
        "created_at": frame.created_at,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "model": frame.params.model,
        "output": [],
        "usage": None,
        **frame.params.repeated,
    }


def finished(
    frame: Frame, trace: Trace, decision: Decision, level: TraceLevel, *, streamed: Sequence[Key] = ()
) -> dict[str, Any]:
    completion = decision.message
    picked = choices(trace, decision, 1)
    usage = trace.usage if trace.usage_policy == "sum" else trace.usage_of(selected_calls(picked))
    reason = _INCOMPLETE.get(completion.finish_reason or "")
    status = "incomplete" if reason else "completed"
    response = {
        **in_progress(frame),
        "status": status,
        "incomplete_details": {"reason": reason} if reason else None,
        "output": _output(frame, completion, status, streamed),
        "usage": usage_json(usage),
    }
    emerge = emerge_object(trace, level, picked, frame.params.request, dropped=frame.params.tools.dropped)
    return response if emerge is None else {**response, "emerge": emerge}


def failed(frame: Frame, error: RequestError, emerge: Mapping[str, Any] | None) -> dict[str, Any]:
    response = {**in_progress(frame), "status": "failed", "error": {"code": error.code, "message": error.message}}
    return response if emerge is None else {**response, "emerge": emerge}


def usage_json(usage: Usage) -> dict[str, Any]:
    """Details are parts of the totals, never added to them."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _output(frame: Frame, completion: Completion, status: str, streamed: Sequence[Key]) -> list[dict[str, Any]]:
    """The items: those that were streamed in their order, then the others in theirs."""
    if frame.params.compacts:
        return [compaction.item(completion, frame.item_id("compaction"))]
    items: dict[Key, dict[str, Any]] = {}
    if reasoning := reasoning_item(completion, frame.item_id("reasoning")):
        items["reasoning"] = reasoning
    if completion.text or completion.refusal is not None or not completion.tool_calls or "message" in streamed:
        items["message"] = {
            "id": frame.item_id("message"),
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": _content(frame, completion),
        }
    for index, call in enumerate(completion.tool_calls):
        items[index] = frame.params.tools.item_of(call, id_=frame.item_id(index), status=status)
    return [items[key] for key in dict.fromkeys([*(key for key in streamed if key in items), *items])]


def _content(frame: Frame, completion: Completion) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    if completion.text or completion.refusal is None:
        logprobs = logprobs_of(completion.logprobs, frame.params.request)
        parts.append(
            {
                "type": "output_text",
                "text": completion.text or "",
                "annotations": [],
                "logprobs": logprobs["content"] if logprobs else [],
            }
        )
    if completion.refusal is not None:
        parts.append({"type": "refusal", "refusal": completion.refusal})
    return parts
