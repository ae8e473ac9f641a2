"""The events of a streamed response: typed and numbered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from emerge_core.api.choices import logprobs_of
from emerge_core.api.errors import encode_json, error_body
from emerge_core.api.limits import MAX_TOOL_CALLS
from emerge_core.api.responses.encode import Frame, Key, failed, finished, in_progress
from emerge_core.api.sse import EventStream, pieces
from emerge_core.errors import RequestError
from emerge_core.types import Decision, Delta, ToolCall, ToolCallDelta, Trace

Json = dict[str, Any]

_EMPTY_PARTS: dict[str, Json] = {
    "output_text": {"type": "output_text", "text": "", "annotations": [], "logprobs": []},
    "refusal": {"type": "refusal", "refusal": ""},
}
# By the type of a call's item: the field with its text, and the name of its events.
_CALL_EVENTS = {
    "function_call": ("arguments", "function_call_arguments"),
    "custom_tool_call": ("input", "custom_tool_call_input"),
}


class ResponseStream(EventStream):
    """The items of the output. Each may be streamed live, in the order in which the first deltas of it come."""

    def __init__(self, frame: Frame, **options: Any) -> None:
        super().__init__(**options)
        self._frame = frame
        self._number = 0
        self._items: list[Key] = []  # that have begun: their places are their output indexes
        self._parts: dict[str, str] = {}  # text so far, by the parts of the message that have begun
        self._texts: dict[Key, str] = {}  # reasoning and arguments so far
        begun = in_progress(frame)
        self._opening = [self._event(f"response.{kind}", response=begun) for kind in ("created", "in_progress")]

    def opening_events(self) -> Iterable[bytes]:
        return self._opening

    def delta_events(self, delta: Delta) -> Iterator[bytes]:
        if self._frame.params.compacts:
            return  # the text is packed into an item, whole
        if delta.reasoning:
            yield from self._reasoning_delta(delta.reasoning)
        if delta.text:
            logprobs = logprobs_of(delta.logprobs, self._frame.params.request)
            yield from self._delta("output_text", delta.text, logprobs=logprobs["content"] if logprobs else [])
        if delta.refusal:
            yield from self._delta("refusal", delta.refusal)
        for part in delta.tool_calls:
            yield from self._call_delta(part)

    def final_events(self, trace: Trace, decision: Decision) -> Iterator[bytes]:
        response = finished(self._frame, trace, decision, self.level, streamed=self._items)
        for item in response["output"]:
            if item["type"] == "message":
                yield from self._message(item)
            elif item["type"] == "reasoning":
                yield from self._reasoning(item)
            elif item["type"] == "compaction":
                yield from self._open_item("compaction", item)
                yield self._done(item)
            else:
                yield from self._call(item)
        yield self._event(f"response.{response['status']}", response=response)

    def error_events(self, error: RequestError, emerge: Mapping[str, Any] | None) -> Iterator[bytes]:
        """Official clients raise on the `error` event; others wait for the response to end."""
        fields = error_body(error, emerge)["error"]
        plain = {name: fields[name] for name in ("code", "message", "param")}
        yield self._event("error", **plain, error=fields)
        yield self._event("response.failed", response=failed(self._frame, error, emerge))

    def _message(self, item: Json) -> Iterator[bytes]:
        for part in item["content"]:
            kind = part["type"]
            yield from self._open_part(kind)
            if kind == "refusal":
                if rest := _remainder(part["refusal"], self._parts[kind]):
                    yield from self._delta(kind, rest)
                yield self._event("response.refusal.done", **self._place(kind), refusal=part["refusal"])
            else:
                rest, logprobs = _remainder(part["text"], self._parts[kind]), part["logprobs"]
                # Tokens need not add up to the text, so their probabilities go with the whole of it.
                for piece in [rest] if logprobs and rest else pieces(rest):
                    yield from self._delta(kind, piece, logprobs=logprobs)
                whole = {"text": part["text"], "logprobs": logprobs}
                yield self._event("response.output_text.done", **self._place(kind), **whole)
            yield self._event("response.content_part.done", **self._place(kind), part=part)
        yield self._done(item)

    def _reasoning(self, item: Json) -> Iterator[bytes]:
        text = "".join(part["text"] for part in item["content"])
        rest = _remainder(text, self._texts.get("reasoning", ""))
        if rest or "reasoning" not in self._items:
            yield from self._reasoning_delta(rest)
        place = {"item_id": item["id"], "output_index": self._items.index("reasoning"), "content_index": 0}
        if text:
            yield self._event("response.reasoning_text.done", **place, text=text)
        yield self._done(item)

    def _reasoning_delta(self, piece: str) -> Iterator[bytes]:
        item_id = self._frame.item_id("reasoning")
        empty = {"id": item_id, "type": "reasoning", "summary": [], "content": []}
        yield from self._open_item("reasoning", empty)
        self._texts["reasoning"] = self._texts.get("reasoning", "") + piece
        if piece:
            place = {"item_id": item_id, "output_index": self._items.index("reasoning"), "content_index": 0}
            yield self._event("response.reasoning_text.delta", **place, delta=piece)

    def _call(self, item: Json) -> Iterator[bytes]:
        key = next(key for key in range(MAX_TOOL_CALLS) if self._frame.item_id(key) == item["id"])
        field, events = _CALL_EVENTS[item["type"]]
        yield from self._open_item(key, {**item, "status": "in_progress", field: ""})
        place = {"item_id": item["id"], "output_index": self._items.index(key)}
        for piece in pieces(_remainder(item[field], self._texts.get(key, ""))):
            yield self._event(f"response.{events}.delta", **place, delta=piece)
        whole = {"name": item["name"], field: item[field]} if field == "arguments" else {field: item[field]}
        yield self._event(f"response.{events}.done", **place, **whole)
        yield self._done(item)

    def _call_delta(self, part: ToolCallDelta) -> Iterator[bytes]:
        """A custom tool's text is inside of JSON, so it comes whole, at the end."""
        key, tools = part.index, self._frame.params.tools
        if key not in self._items:
            call = ToolCall(id=part.id, name=part.name, arguments="")
            item = tools.item_of(call, id_=self._frame.item_id(key), status="in_progress")
            yield from self._open_item(key, item)
            if item["type"] == "function_call":
                self._texts[key] = ""
        if key in self._texts and part.arguments:
            self._texts[key] += part.arguments
            place = {"item_id": self._frame.item_id(key), "output_index": self._items.index(key)}
            yield self._event("response.function_call_arguments.delta", **place, delta=part.arguments)

    def _open_item(self, key: Key, item: Json) -> Iterator[bytes]:
        if key not in self._items:
            self._items.append(key)
            yield self._event("response.output_item.added", output_index=len(self._items) - 1, item=item)

    def _open_part(self, kind: str) -> Iterator[bytes]:
        """Opens the part, and the message with its first part."""
        if kind in self._parts:
            return
        item = {"id": self._frame.item_id("message"), "type": "message", "status": "in_progress", "role": "assistant"}
        yield from self._open_item("message", {**item, "content": []})
        self._parts[kind] = ""
        yield self._event("response.content_part.added", **self._place(kind), part=_EMPTY_PARTS[kind])

    def _delta(self, kind: str, piece: str, **more: Any) -> Iterator[bytes]:
        yield from self._open_part(kind)
        self._parts[kind] += piece
        yield self._event(f"response.{kind}.delta", **self._place(kind), delta=piece, **more)

    def _done(self, item: Json) -> bytes:
        index = next(i for i, key in enumerate(self._items) if self._frame.item_id(key) == item["id"])
        return self._event("response.output_item.done", output_index=index, item=item)

    def _place(self, kind: str) -> Json:
        return {
            "item_id": self._frame.item_id("message"),
            "output_index": self._items.index("message"),
            "content_index": list(self._parts).index(kind),
        }

    def _event(self, kind: str, /, **fields: Any) -> bytes:
        body = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return b"event: " + kind.encode() + b"\ndata: " + encode_json(body) + b"\n\n"


def _remainder(whole: str, streamed: str) -> str:
    if not whole.startswith(streamed):
        raise RuntimeError("the answer differs from what was streamed")
    return whole.removeprefix(streamed)
