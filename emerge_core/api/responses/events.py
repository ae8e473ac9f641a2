"""The streamed form of a response: typed, numbered events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from emerge_core.api.errors import encode_json, error_body
from emerge_core.api.responses.encode import Frame, failed, finished, in_progress
from emerge_core.api.sse import EventStream, pieces
from emerge_core.errors import RequestError
from emerge_core.types import Decision, Trace

Json = dict[str, Any]


class ResponseStream(EventStream):
    """As chat completions are streamed, in the events of this API."""

    def __init__(self, frame: Frame, **options: Any) -> None:
        super().__init__(request=frame.asked.request, include_usage=False, **options)
        self._frame = frame
        self._number = 0

    def opening(self) -> Iterator[bytes]:
        yield self._event("response.created", response=in_progress(self._frame))
        yield self._event("response.in_progress", response=in_progress(self._frame))

    def answer(self, trace: Trace, decision: Decision) -> Iterator[bytes]:
        response = finished(self._frame, trace, decision, self.level)
        for index, item in enumerate(response["output"]):
            yield from self._item(index, item)
        yield self._event(f"response.{response['status']}", response=response)

    def failure(self, error: RequestError, emerge: Mapping[str, Any] | None) -> Iterator[bytes]:
        """Official clients raise on the `error` of the first; others wait for the response to end."""
        told = error_body(error, emerge)["error"]
        plain = {name: told[name] for name in ("code", "message", "param")}
        yield self._event("error", **plain, error=told)
        yield self._event("response.failed", response=failed(self._frame, error, emerge))

    def _item(self, index: int, item: Json) -> Iterator[bytes]:
        message = item["type"] == "message"
        empty: Json = {"content": []} if message else {"arguments": ""}
        begun = {**item, "status": "in_progress", **empty}
        yield self._event("response.output_item.added", output_index=index, item=begun)
        if message:
            for part_index, part in enumerate(item["content"]):
                yield from self._part(part, item_id=item["id"], output_index=index, content_index=part_index)
        else:
            place = {"item_id": item["id"], "output_index": index}
            for piece in pieces(item["arguments"]):
                yield self._event("response.function_call_arguments.delta", **place, delta=piece)
            whole = {"name": item["name"], "arguments": item["arguments"]}
            yield self._event("response.function_call_arguments.done", **place, **whole)
        yield self._event("response.output_item.done", output_index=index, item=item)

    def _part(self, part: Json, **place: Any) -> Iterator[bytes]:
        if part["type"] == "refusal":
            empty: Json = {"type": "refusal", "refusal": ""}
            yield self._event("response.content_part.added", **place, part=empty)
            yield self._event("response.refusal.delta", **place, delta=part["refusal"])
            yield self._event("response.refusal.done", **place, refusal=part["refusal"])
        else:
            yield self._event("response.content_part.added", **place, part={**part, "text": "", "logprobs": []})
            # Tokens need not add up to the text, so their probabilities go with the whole of it.
            logprobs = part["logprobs"]
            for piece in [part["text"]] if logprobs and part["text"] else pieces(part["text"]):
                yield self._event("response.output_text.delta", **place, delta=piece, logprobs=logprobs)
            yield self._event("response.output_text.done", **place, text=part["text"], logprobs=logprobs)
        yield self._event("response.content_part.done", **place, part=part)

    def _event(self, kind: str, /, **fields: Any) -> bytes:
        body = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return b"event: " + kind.encode() + b"\ndata: " + encode_json(body) + b"\n\n"
