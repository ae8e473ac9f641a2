"""From a trace to a `response` object and its output items."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

from emerge_core.api.choices import choices, logprobs_of, selected_calls
from emerge_core.api.responses.parse import ResponseParams
from emerge_core.api.trace_object import TraceLevel, emerge_object
from emerge_core.errors import RequestError
from emerge_core.types import Completion, Decision, Trace, Usage

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


class Frame(NamedTuple):
    """What every event of one response has in common."""

    id: str
    created_at: int
    message_id: str
    params: ResponseParams


def frame_of(params: ResponseParams) -> Frame:
    return Frame(f"resp_{uuid.uuid4().hex}", int(time.time()), f"msg_{uuid.uuid4().hex}", params)


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


def finished(frame: Frame, trace: Trace, decision: Decision, level: TraceLevel) -> dict[str, Any]:
    completion = decision.message
    picked = choices(trace, decision, 1)
    usage = trace.usage if trace.usage_policy == "sum" else trace.usage_of(selected_calls(picked))
    reason = _INCOMPLETE.get(completion.finish_reason or "")
    status = "incomplete" if reason else "completed"
    response = {
        **in_progress(frame),
        "status": status,
        "incomplete_details": {"reason": reason} if reason else None,
        "output": _output(frame, completion, status),
        "usage": usage_json(usage),
    }
    emerge = emerge_object(trace, level, picked, frame.params.request)
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


def _output(frame: Frame, completion: Completion, status: str) -> list[dict[str, Any]]:
    output: list[dict[str, Any]] = []
    if completion.text or completion.refusal is not None or not completion.tool_calls:
        output.append(
            {
                "id": frame.message_id,
                "type": "message",
                "status": status,
                "role": "assistant",
                "content": _content(frame, completion),
            }
        )
    output += [
        {
            "id": f"fc_{uuid.uuid4().hex}",
            "type": "function_call",
            "status": status,
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
        }
        for call in completion.tool_calls
    ]
    return output


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
