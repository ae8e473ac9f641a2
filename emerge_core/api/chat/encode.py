"""From a trace to a `chat.completion` object."""

from __future__ import annotations

import time
from secrets import token_hex
from typing import Any, NamedTuple

from emerge_core.api.choices import Choice, choices, finish_reason_of, logprobs_of, message_of, selected_calls
from emerge_core.api.trace_object import TraceLevel, emerge_object, usage_json
from emerge_core.types import ChatRequest, Decision, Trace


class Encoded(NamedTuple):
    """The parts that a whole completion and its stream have in common."""

    id: str
    created: int
    model: str
    choices: list[Choice]
    usage: dict[str, Any]
    emerge: dict[str, Any] | None


def encode(trace: Trace, decision: Decision, request: ChatRequest, level: TraceLevel) -> Encoded:
    picked = choices(trace, decision, request.n)
    usage = trace.usage if trace.usage_policy == "sum" else trace.usage_of(selected_calls(picked))
    return Encoded(
        id=completion_id(),
        created=int(time.time()),
        model=trace.name,
        choices=picked,
        usage=usage_json(usage),
        emerge=emerge_object(trace, level, picked, request),
    )


def completion_id() -> str:
    return f"chatcmpl-{token_hex(16)}"


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
