"""Replies that are almost right: read if nothing is lost by it, and else an error, never an empty answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from emerge_core.types import ChatRequest
from tests.support.aws import event_stream
from tests.support.socket_upstream import Reply

HELLO = ChatRequest.of("Hello")
AWS = {"content-type": "application/vnd.amazon.eventstream"}


def lines(*events: dict[str, Any], data: str = "data: ") -> list[bytes]:
    return [f"{data}{json.dumps(event)}\n\n".encode() for event in events]


def openai_events(content: Any) -> list[bytes]:
    return lines(
        {"choices": [{"index": 0, "delta": {"content": content}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    )


def anthropic_events(text: Any) -> list[bytes]:
    return lines(
        {"type": "message_start", "message": {"role": "assistant", "content": [], "usage": {"input_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    )


def ollama_events(content: Any) -> list[bytes]:
    return lines(
        {"message": {"content": content}, "done": False},
        {"message": {"content": ""}, "done": True, "done_reason": "stop"},
        data="",
    )


def bedrock_events(text: Any) -> list[bytes]:
    return [
        event_stream.event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": text}}),
        event_stream.event("messageStop", {"stopReason": "end_turn"}),
        event_stream.event("metadata", {"usage": {"inputTokens": 1, "outputTokens": 1}}),
    ]


EVENTS = {
    "openai": openai_events,
    "anthropic": anthropic_events,
    "ollama": ollama_events,
    "bedrock": bedrock_events,
}


def whole(kind: str, content: Any) -> dict[str, Any]:
    if kind == "openai":
        return {"choices": [{"message": {"content": content}, "finish_reason": "stop"}]}
    if kind == "anthropic":
        return {"content": [{"type": "text", "text": content}], "stop_reason": "end_turn"}
    if kind == "ollama":
        return {"message": {"content": content}, "done": True, "done_reason": "stop"}
    return {"output": {"message": {"content": [{"text": content}]}}, "stopReason": "end_turn"}


def streamed(exchange: Any, kind: str, events: list[bytes]) -> Any:
    reply = Reply(reads=events, headers=AWS if kind == "bedrock" else {})
    return exchange(
        kind, reply, call=lambda provider: provider.stream("m", HELLO, timeout_s=20, emit=lambda delta: None)
    )


@pytest.mark.parametrize("kind", EVENTS)
@pytest.mark.parametrize("content", [42, 0, True, False, 1.5, {"a": 1}])
@pytest.mark.parametrize("streams", [False, True])
def test_content_that_is_not_text_is_no_empty_answer(exchange: Any, kind: str, content: Any, streams: bool) -> None:
    done = streamed(exchange, kind, EVENTS[kind](content)) if streams else exchange(kind, whole(kind, content))
    assert done.error.kind == "bad_response"


@pytest.mark.parametrize("kind", EVENTS)
def test_what_is_changed_was_an_answer(exchange: Any, kind: str) -> None:
    assert exchange(kind, whole(kind, "Hi")).completion.text == "Hi"
    assert streamed(exchange, kind, EVENTS[kind]("Hi")).completion.text == "Hi"


@pytest.mark.parametrize("kind", ["openai", "anthropic", "ollama"])
@pytest.mark.parametrize("apart", [False, True])
def test_a_byte_order_mark_loses_no_event(exchange: Any, kind: str, apart: bool) -> None:
    first, *more = EVENTS[kind]("Hi")
    events = [b"\xef\xbb", b"\xbf" + first, *more] if apart else [b"\xef\xbb\xbf" + first, *more]
    assert streamed(exchange, kind, events).completion.text == "Hi"
    assert exchange(kind, b"\xef\xbb\xbf" + json.dumps(whole(kind, "Hi")).encode()).completion.text == "Hi"
