"""ConverseStream: event stream frames, decoded by botocore and put together to the reply that Converse would give."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from botocore.eventstream import EventStreamBuffer, ParserError

from emerge_core.providers.bedrock.outcomes import failure, message_of
from emerge_core.providers.errors import Scrubber, bad_response, sent_in_stream
from emerge_core.providers.parts import block_text, check_calls
from emerge_core.providers.transport.content import Content
from emerge_core.types import Delta, JsonObject, Sink


class Frames:
    """Takes bytes as they arrive and yields the frames that are complete: (headers, payload)."""

    def __init__(self) -> None:
        self._buffer = EventStreamBuffer()
        self._pending = 0

    def feed(self, data: bytes) -> Iterator[tuple[Mapping[str, Any], bytes]]:
        """Raises UpstreamError (`bad_response`) for a frame whose length or checksum is wrong."""
        self._buffer.add_data(data)
        self._pending += len(data)
        try:
            for frame in self._buffer:
                self._pending -= frame.prelude.total_length
                yield frame.headers, frame.payload
        except (ParserError, UnicodeDecodeError, KeyError, ValueError) as error:
            raise bad_response(f"the upstream's event stream is damaged ({type(error).__name__})") from error

    @property
    def leftover(self) -> int:
        """Bytes that are no complete frame: none after a stream that ended properly."""
        return self._pending


class Assembly:
    """Takes each frame, emits the text in it, and gives the whole `reply` at the end."""

    def __init__(self, emit: Sink, scrub: Scrubber) -> None:
        self.content = Content()
        self._emit = emit
        self._scrub = scrub
        self._frames = Frames()
        self._blocks: dict[int, dict[str, Any]] = {}
        self._parts: dict[int, list[str]] = {}  # of a block's text, reasoning or input, by the block's index
        self._stop: str | None = None
        self._usage: Any = None

    def feed(self, data: bytes) -> bool:
        """Whether the stream has ended with all that a reply needs. Raises UpstreamError for an exception in it."""
        for headers, payload in self._frames.feed(data):
            self._take(headers, payload)
        return self._stop is not None and self._usage is not None

    def reply(self) -> dict[str, Any]:
        """Raises UpstreamError (`bad_response`) if the stream ended before the reply did."""
        if self._frames.leftover:
            raise bad_response("the upstream's stream ended in the middle of an event")
        if self._stop is None:
            raise bad_response("the upstream's stream ended before the reply did")
        content = [self._whole(index, self._blocks[index]) for index in sorted(self._blocks)]
        return {"output": {"message": {"content": content}}, "stopReason": self._stop, "usage": self._usage}

    def _take(self, headers: Mapping[str, Any], payload: bytes) -> None:
        kind = headers.get(":message-type")
        if kind == "error":
            name, message = str(headers.get(":error-code")), str(headers.get(":error-message", ""))
            raise sent_in_stream(failure(name, None, message, scrub=self._scrub))
        event = _json(payload)
        if kind == "exception":
            name = str(headers.get(":exception-type"))
            raise sent_in_stream(failure(name, None, message_of(event), scrub=self._scrub))
        match headers.get(":event-type"):
            case "contentBlockStart":
                self._start(_index(event), event.get("start"))
            case "contentBlockDelta":
                self._take_delta(_index(event), event.get("delta"))
            case "messageStop":
                self._stop = str(event.get("stopReason"))
            case "metadata":
                self._usage = event.get("usage") or {}

    def _start(self, index: int, start: Any) -> None:
        call = start.get("toolUse") if isinstance(start, Mapping) else None
        if isinstance(call, Mapping):
            check_calls(len(self._blocks))
            self._blocks[index] = {"toolUse": dict(call)}
            self._parts[index] = []

    def _take_delta(self, index: int, delta: Any) -> None:
        """Text comes without a start event, a tool call with one."""
        if not isinstance(delta, Mapping):
            return
        if delta.get("text") is not None:
            text = block_text(delta["text"])
            self._part(index, "text", text)
            if text:
                self._emit(Delta(text=text))
        elif isinstance(delta.get("toolUse"), Mapping):
            if "toolUse" not in self._blocks.get(index, {}):
                raise bad_response("the upstream's stream continues a tool call that it did not start")
            fragment = delta["toolUse"].get("input")
            self._part(index, "toolUse", fragment if isinstance(fragment, str) else "")
        elif isinstance(delta.get("reasoningContent"), Mapping):
            self._take_reasoning(index, delta["reasoningContent"])

    def _take_reasoning(self, index: int, reasoning: JsonObject) -> None:
        text = reasoning.get("text")
        self._part(index, "reasoningContent", text if isinstance(text, str) else "")
        if isinstance(text, str) and text:
            self._emit(Delta(reasoning=text))
        block = self._blocks[index]["reasoningContent"]
        for name in ("signature", "redactedContent"):
            if isinstance(reasoning.get(name), str):
                block[name] = block.get(name, "") + reasoning[name]
                self.content.add(reasoning[name])

    def _part(self, index: int, kind: str, text: str) -> None:
        block = self._blocks.setdefault(index, {kind: {}})
        if kind not in block:
            raise bad_response("a block in the upstream's stream changes its kind")
        self._parts.setdefault(index, []).append(text)
        self.content.add(text)

    def _whole(self, index: int, block: dict[str, Any]) -> dict[str, Any]:
        text = "".join(self._parts[index])
        if "text" in block:
            return {"text": text}
        if "reasoningContent" in block:
            found = block["reasoningContent"]
            if "redactedContent" in found:
                return {"reasoningContent": {"redactedContent": found["redactedContent"]}}
            signed = {"signature": found["signature"]} if "signature" in found else {}
            return {"reasoningContent": {"reasoningText": {"text": text, **signed}}}
        if not text:
            return {"toolUse": {**block["toolUse"], "input": {}}}
        try:
            return {"toolUse": {**block["toolUse"], "input": json.loads(text)}}
        except (ValueError, RecursionError):
            if self._stop in ("max_tokens", "model_context_window_exceeded"):
                return {"toolUse": {**block["toolUse"], "input": text}}  # cut off: no call, and not taken for one
            raise bad_response(
                "the arguments of a tool call in the upstream's stream are not JSON", provoked=True
            ) from None


def _index(event: JsonObject) -> int:
    index = event.get("contentBlockIndex")
    if isinstance(index, bool) or not isinstance(index, int):
        raise bad_response("a block in the upstream's stream has no index")
    return index


def _json(payload: bytes) -> dict[str, Any]:
    try:
        event = json.loads(payload) if payload else {}
    except (ValueError, RecursionError) as error:
        raise bad_response("an event in the upstream's stream is not JSON") from error
    if not isinstance(event, dict):
        raise bad_response("an event in the upstream's stream is not an object")
    return event
