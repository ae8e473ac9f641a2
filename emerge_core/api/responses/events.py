"""The events of a streamed response: typed and numbered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from emerge_core.api.choices import logprobs_of
from emerge_core.api.errors import encode_json, error_body
from emerge_core.api.responses.encode import Frame, failed, finished, in_progress
from emerge_core.api.sse import EventStream, pieces
from emerge_core.errors import RequestError
from emerge_core.types import Decision, Delta, Trace

Json = dict[str, Any]

_EMPTY_PARTS: dict[str, Json] = {
    "output_text": {"type": "output_text", "text": "", "annotations": [], "logprobs": []},
    "refusal": {"type": "refusal", "refusal": ""},
}


class ResponseStream(EventStream):
    """The items of the output, one after the other. The message is the first, and its parts may be streamed live."""

    def __init__(self, frame: Frame, **options: Any) -> None:
        super().__init__(**options)
        self._frame = frame
        self._number = 0
        self._streamed: dict[str, str] = {}  # text so far, by the parts of the message that have begun
        begun = in_progress(frame)
        self._opening = [self._event(f"response.{kind}", response=begun) for kind in ("created", "in_progress")]

    def opening_events(self) -> Iterable[bytes]:
        return self._opening

    def delta_events(self, delta: Delta) -> Iterator[bytes]:
        if delta.text:
            logprobs = logprobs_of(delta.logprobs, self._frame.params.request)
            yield from self._delta("output_text", delta.text, logprobs=logprobs["content"] if logprobs else [])
        if delta.refusal:
            yield from self._delta("refusal", delta.refusal)

    def final_events(self, trace: Trace, decision: Decision) -> Iterator[bytes]:
        response = finished(self._frame, trace, decision, self.level)
        for index, item in enumerate(response["output"]):
            yield from self._message(item) if item["type"] == "message" else self._call(index, item)
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
            yield from self._open(kind)
            if kind == "refusal":
                if rest := self._rest_of(kind, part["refusal"]):
                    yield from self._delta(kind, rest)
                yield self._event("response.refusal.done", **self._place(kind), refusal=part["refusal"])
            else:
                rest, logprobs = self._rest_of(kind, part["text"]), part["logprobs"]
                # Tokens need not add up to the text, so their probabilities go with the whole of it.
                for piece in [rest] if logprobs and rest else pieces(rest):
                    yield from self._delta(kind, piece, logprobs=logprobs)
                whole = {"text": part["text"], "logprobs": logprobs}
                yield self._event("response.output_text.done", **self._place(kind), **whole)
            yield self._event("response.content_part.done", **self._place(kind), part=part)
        yield self._event("response.output_item.done", output_index=0, item=item)

    def _call(self, index: int, item: Json) -> Iterator[bytes]:
        begun = {**item, "status": "in_progress", "arguments": ""}
        yield self._event("response.output_item.added", output_index=index, item=begun)
        place = {"item_id": item["id"], "output_index": index}
        for piece in pieces(item["arguments"]):
            yield self._event("response.function_call_arguments.delta", **place, delta=piece)
        whole = {"name": item["name"], "arguments": item["arguments"]}
        yield self._event("response.function_call_arguments.done", **place, **whole)
        yield self._event("response.output_item.done", output_index=index, item=item)

    def _open(self, kind: str) -> Iterator[bytes]:
        """Opens the part, and the message with its first part."""
        if kind in self._streamed:
            return
        if not self._streamed:
            message = {"id": self._frame.message_id, "type": "message", "status": "in_progress", "role": "assistant"}
            yield self._event("response.output_item.added", output_index=0, item={**message, "content": []})
        self._streamed[kind] = ""
        yield self._event("response.content_part.added", **self._place(kind), part=_EMPTY_PARTS[kind])

    def _delta(self, kind: str, piece: str, **more: Any) -> Iterator[bytes]:
        yield from self._open(kind)
        self._streamed[kind] += piece
        yield self._event(f"response.{kind}.delta", **self._place(kind), delta=piece, **more)

    def _rest_of(self, kind: str, whole: str) -> str:
        streamed = self._streamed[kind]
        if not whole.startswith(streamed):
            raise RuntimeError("the answer differs from what was streamed")
        return whole.removeprefix(streamed)

    def _place(self, kind: str) -> Json:
        return {"item_id": self._frame.message_id, "output_index": 0, "content_index": list(self._streamed).index(kind)}

    def _event(self, kind: str, /, **fields: Any) -> bytes:
        body = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return b"event: " + kind.encode() + b"\ndata: " + encode_json(body) + b"\n\n"
