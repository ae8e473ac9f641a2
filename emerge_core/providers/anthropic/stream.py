"""Anthropic's streamed events, put together to the message that would have come whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from emerge_core.providers.anthropic.messages import tool_id
from emerge_core.providers.errors import Scrubber, bad_response, http_failure, json_object, sent_in_stream
from emerge_core.providers.parts import block_text, check_calls
from emerge_core.providers.transport.content import Content
from emerge_core.types import Delta, JsonObject, Sink, ToolCallDelta

_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}


class Assembly:
    """Takes the data of each event, emits the text and the calls in it, and gives the whole `reply` at the end. With
    `native` the event itself goes along, for a client that speaks this API."""

    def __init__(self, emit: Sink, scrub: Scrubber, *, native: bool = False) -> None:
        self.content = Content()
        self._sink = emit
        self._native = native
        self._scrub = scrub
        self._message: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._blocks: dict[Any, dict[str, Any]] = {}
        self._signatures: dict[Any, list[str]] = {}  # of thinking blocks
        self._parts: dict[Any, list[str]] = {}  # of a block's text or JSON, by its index
        self._calls: dict[Any, int] = {}  # the number of a call, by its block's index

    def take(self, data: bytes | dict[str, Any]) -> bool:
        """Whether this was the last event."""
        event = data if isinstance(data, dict) else json_object(data)
        match event.get("type"):
            case "message_start":
                self._take_message(_mapping(event, "message"))
            case "content_block_start":
                self._start(event.get("index"), _mapping(event, "content_block"), event)
            case "content_block_delta":
                self._take_part(event.get("index"), _mapping(event, "delta"), event)
            case "content_block_stop":
                self._emit(event)
            case "message_delta":
                self._take_message({**_mapping(event, "delta"), "usage": event.get("usage")})
            case "error":
                kind = str(_mapping(event, "error").get("type"))
                raise sent_in_stream(http_failure(_STATUS.get(kind, 500), {}, json.dumps(event), scrub=self._scrub))
            case "message":  # a server that does not stream
                self._take_message(event)
                content = event.get("content")
                for index, block in enumerate(content if isinstance(content, list) else ()):
                    self._start(index, block if isinstance(block, Mapping) else {}, None)
        return event.get("type") == "message_stop"

    def reply(self) -> dict[str, Any]:
        if self._message.get("stop_reason") is None:
            raise bad_response("the upstream's stream ended before the reply did")
        blocks = [self._whole(index, block) for index, block in self._blocks.items()]
        return {**self._message, "content": blocks, "usage": self._usage or None}

    def arguments(self) -> list[str]:
        """Of each call, the JSON text as it was streamed; empty if there was none."""
        return ["".join(self._parts[index]) for index in self._calls]

    def _take_message(self, message: JsonObject) -> None:
        usage = message.get("usage")
        if isinstance(usage, Mapping):  # counts are running totals: later ones replace earlier ones
            self._usage |= {name: value for name, value in usage.items() if value is not None}
        self._message |= {name: value for name, value in message.items() if name not in ("usage", "content")}

    def _start(self, index: Any, block: JsonObject, event: JsonObject | None) -> None:
        """`event` is None if the block came in one piece, in a message that is not streamed."""
        if isinstance(index, (dict, list)):
            raise bad_response("a block in the upstream's stream has no index")
        self._blocks[index] = dict(block)
        check_calls(len(self._blocks))
        self._parts[index] = []
        if block.get("type") == "text":
            self._emit(event, text=self._keep(index, block.get("text")))
            return
        if block.get("type") == "thinking":
            self._keep(index, block.get("thinking"))
            self._signatures[index] = []
            self._take_signature(index, block.get("signature"))
        call: ToolCallDelta | None = None
        if block.get("type") == "tool_use" and event is not None:
            number = self._calls.setdefault(index, len(self._calls))
            call = ToolCallDelta(index=number, id=tool_id(block.get("id")), name=str(block.get("name")))
        self._emit(event, call=call)

    def _take_part(self, index: Any, delta: JsonObject, event: JsonObject) -> None:
        if isinstance(index, (dict, list)) or index not in self._blocks:
            raise bad_response("the upstream's stream continues a block that it did not start")
        text, call = "", None
        if delta.get("type") == "text_delta":
            text = self._keep(index, delta.get("text"))
        elif delta.get("type") == "thinking_delta":
            self._keep(index, delta.get("thinking"))
        elif delta.get("type") == "signature_delta":
            self._take_signature(index, delta.get("signature"))
        elif delta.get("type") == "input_json_delta":
            arguments = self._keep(index, delta.get("partial_json"))
            if arguments and index in self._calls:
                call = ToolCallDelta(index=self._calls[index], arguments=arguments)
        self._emit(event, text=text, call=call)

    def _emit(self, event: JsonObject | None, *, text: str = "", call: ToolCallDelta | None = None) -> None:
        native = event if self._native else None
        if text or call or native is not None:
            self._sink(Delta(text=text, tool_calls=(call,) if call else (), native=native))

    def _keep(self, index: Any, text: Any) -> str:
        """Adds a piece to the block's text or JSON, and returns it. Raises UpstreamError if it is not text."""
        piece = block_text(text)
        if piece:
            self.content.add(piece)
            self._parts[index].append(piece)
        return piece

    def _take_signature(self, index: Any, text: Any) -> None:
        if isinstance(text, str) and index in self._signatures:
            self.content.add(text)
            self._signatures[index].append(text)

    def _whole(self, index: Any, block: dict[str, Any]) -> dict[str, Any]:
        text = "".join(self._parts[index])
        if block.get("type") == "text":
            return {**block, "text": text}
        if block.get("type") == "thinking":
            return {**block, "thinking": text, "signature": "".join(self._signatures.get(index, ()))}
        if block.get("type") == "tool_use" and text:
            try:
                return {**block, "input": json.loads(text)}
            except (ValueError, RecursionError):
                if self._message.get("stop_reason") == "max_tokens":
                    return {**block, "input": text}  # cut off: no call, and not to be taken for one
                what = "the arguments of a tool call in the upstream's stream are not JSON"
                raise bad_response(what, provoked=True) from None
        return block


def _mapping(event: JsonObject, name: str) -> JsonObject:
    value = event.get(name)
    return value if isinstance(value, Mapping) else {}
