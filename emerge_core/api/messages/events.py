"""The events of a streamed message.

Blocks come one after the other: a block opens with its first delta and closes when the next one opens. Events of a
member that speaks this API are passed on as they are; for the others they are made from text, reasoning and calls.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from emerge_core.api.choices import choices
from emerge_core.api.errors import anthropic_error_body, encode_json
from emerge_core.api.messages.encode import content_of, ending, message_id, usage_json, usage_of
from emerge_core.api.messages.parse import MessageParams
from emerge_core.api.sse import EventStream, pieces
from emerge_core.api.trace_object import emerge_object
from emerge_core.errors import RequestError
from emerge_core.types import Decision, Delta, Trace, Usage

Json = dict[str, Any]

_PASSED_ON = ("content_block_start", "content_block_delta", "content_block_stop")
_EMPTY: dict[str, Json] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}


class MessageStream(EventStream):
    def __init__(self, params: MessageParams, **options: Any) -> None:
        super().__init__(**options)
        self._params = params
        self._id = message_id()
        self._native = False  # whether a member's own events are passed on
        self._open: Any = None  # the key of the open block: its type, or the number of a call
        self._index = -1  # of the block that was opened last
        self._streamed: dict[Any, str] = {}  # text, thinking or arguments so far, by the key of their block
        self._unclosed: set[int] = set()  # blocks of a member's own events

    def opening_events(self) -> Iterable[bytes]:
        message: Json = {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._params.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_json(Usage()),
        }
        yield _event("message_start", message=message)
        yield _event("ping")

    def keepalive(self) -> bytes:
        return _event("ping")

    def delta_events(self, delta: Delta) -> Iterator[bytes]:
        if delta.native is not None and delta.native.get("type") in _PASSED_ON:
            self._native = True
            yield self._pass_on(delta.native)
            return
        if self._native:
            return
        if delta.reasoning:
            yield from self._add("thinking", delta.reasoning)
        if delta.text or delta.refusal:
            yield from self._add("text", delta.text + delta.refusal)
        for part in delta.tool_calls:
            block = {"type": "tool_use", "id": part.id, "name": part.name, "input": {}}
            yield from self._add(part.index, part.arguments, block)

    def final_events(self, trace: Trace, decision: Decision) -> Iterator[bytes]:
        if self._native:
            for index in sorted(self._unclosed):
                yield _event("content_block_stop", index=index)
        else:
            yield from self._rest(content_of(decision.message))
        fields: Json = {
            "delta": ending(decision.message, abstained=decision.abstained),
            "usage": usage_of(trace, decision),
        }
        emerge = emerge_object(trace, self.level, choices(trace, decision, 1), self._params.request)
        if emerge is not None:
            fields["emerge"] = emerge
        yield _event("message_delta", **fields)
        yield _event("message_stop")

    def error_events(self, error: RequestError, emerge: Mapping[str, Any] | None) -> Iterator[bytes]:
        body = anthropic_error_body(error, emerge)
        yield _event(body.pop("type"), **body)

    def _pass_on(self, event: Mapping[str, Any]) -> bytes:
        index = event.get("index")
        if isinstance(index, int):
            (self._unclosed.discard if event["type"] == "content_block_stop" else self._unclosed.add)(index)
        return _event(str(event["type"]), **{name: value for name, value in event.items() if name != "type"})

    def _rest(self, blocks: list[Json]) -> Iterator[bytes]:
        """What the deltas did not carry of the content."""
        calls = 0
        for block in blocks:
            kind = block.get("type")
            if kind == "tool_use":
                streamed = self._streamed.get(calls)
                if streamed is None:
                    empty = {**block, "input": {}}
                    yield from self._add(calls, "", empty)
                    for piece in pieces(json.dumps(block["input"], ensure_ascii=False)) if block["input"] else ():
                        yield from self._add(calls, piece, empty)
                calls += 1
            elif kind in _EMPTY:
                whole = str(block.get(str(kind), ""))
                streamed = self._streamed.get(kind, "")
                if not whole.startswith(streamed):
                    raise RuntimeError("the answer differs from what was streamed")
                for piece in pieces(whole.removeprefix(streamed)):
                    yield from self._add(kind, piece)
                if block.get("signature"):
                    yield from self._add(kind, "", signature=block["signature"])
            else:
                yield from self._close()
                self._index += 1
                yield _event("content_block_start", index=self._index, content_block=block)
                yield _event("content_block_stop", index=self._index)
        yield from self._close()

    def _add(self, key: Any, piece: str, block: Json | None = None, signature: str | None = None) -> Iterator[bytes]:
        if self._open != key:
            yield from self._close()
            self._open = key
            self._index += 1
            started = block or _EMPTY[key]
            yield _event("content_block_start", index=self._index, content_block=started)
        self._streamed[key] = self._streamed.get(key, "") + piece
        if signature is not None:
            delta: Json = {"type": "signature_delta", "signature": signature}
        elif not piece:
            return
        elif key == "text":
            delta = {"type": "text_delta", "text": piece}
        elif key == "thinking":
            delta = {"type": "thinking_delta", "thinking": piece}
        else:
            delta = {"type": "input_json_delta", "partial_json": piece}
        yield _event("content_block_delta", index=self._index, delta=delta)

    def _close(self) -> Iterator[bytes]:
        if self._open is not None:
            self._open = None
            yield _event("content_block_stop", index=self._index)


def _event(kind: str, /, **fields: Any) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + encode_json({"type": kind, **fields}) + b"\n\n"
