"""The events of a streamed chat completion: OpenAI's chunks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from emerge_core.api.chat.encode import completion_id, encode
from emerge_core.api.chat.parse import ChatParams
from emerge_core.api.choices import Choice, content_of, finish_reason_of, logprobs_of
from emerge_core.api.errors import error_body
from emerge_core.api.sse import PIECES, EventStream, data, pieces
from emerge_core.errors import RequestError
from emerge_core.types import Decision, Delta, ToolCallDelta, Trace

DONE = b"data: [DONE]\n\n"


class ChunkStream(EventStream):
    """The role comes first, then the text (live or whole) and the tool calls, the finish reason, and the usage if
    the client asked for it. The last chunk carries the `emerge` object."""

    def __init__(self, params: ChatParams, **options: Any) -> None:
        super().__init__(**options)
        self._request = params.request
        self._include_usage = params.include_usage
        self._begun = False  # whether the role was sent
        self._text: list[str] = []  # streamed so far
        self._refusal: list[str] = []
        self._arguments: dict[int, str] = {}  # of the tool calls, streamed so far
        self._frame: dict[str, Any] = {
            "id": completion_id(),
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": params.model,
            "system_fingerprint": None,
        }
        if params.include_usage:
            self._frame["usage"] = None

    def delta_events(self, delta: Delta) -> Iterator[bytes]:
        if not self._begun and (delta.text or delta.refusal or delta.logprobs or delta.tool_calls):
            self._begun = True
            content = None if delta.tool_calls and not delta.text else ""
            yield self._chunk(_choice(0, {"role": "assistant", "content": content, "refusal": None}))
        self._text.append(delta.text)
        self._refusal.append(delta.refusal)
        if delta.text or delta.logprobs:
            yield self._chunk(_choice(0, {"content": delta.text}, logprobs_of(delta.logprobs, self._request)))
        if delta.refusal:
            yield self._chunk(_choice(0, {"refusal": delta.refusal}))
        for part in delta.tool_calls:
            begins = part.index not in self._arguments
            self._arguments[part.index] = self._arguments.get(part.index, "") + part.arguments
            yield self._chunk(_choice(0, {"tool_calls": [_call_part(part, begins=begins)]}))

    def final_events(self, trace: Trace, decision: Decision) -> Iterator[bytes]:
        encoded = encode(trace, decision, self._request, self.level)
        emerge = {} if encoded.emerge is None else {"emerge": encoded.emerge}
        last = len(encoded.choices) - 1
        for index, choice in enumerate(encoded.choices):
            deltas = self._rest(choice) if self._begun else self._whole(choice)
            for delta, logprobs in deltas:
                yield self._chunk(_choice(index, delta, logprobs))
            finish = _choice(index, {}, finish_reason=finish_reason_of(choice.completion))
            yield self._chunk(finish, **(emerge if index == last and not self._include_usage else {}))
        if self._include_usage:
            yield data({**self._frame, "choices": [], "usage": encoded.usage, **emerge})
        yield DONE

    def error_events(self, error: RequestError, emerge: Mapping[str, Any] | None) -> Iterator[bytes]:
        yield data(error_body(error, emerge))

    def _chunk(self, choice: dict[str, Any], **more: Any) -> bytes:
        return data({**self._frame, "choices": [choice], **more})

    def _whole(self, choice: Choice) -> Iterator[tuple[dict[str, Any], Mapping[str, Any] | None]]:
        completion = choice.completion
        content = content_of(completion)
        yield {"role": "assistant", "content": None if content is None else "", "refusal": None}, None
        logprobs = logprobs_of(completion.logprobs, self._request)
        if content:
            # Tokens need not add up to the text, so their probabilities go with the whole of it.
            for piece in pieces(content, 1 if logprobs else PIECES):
                yield {"content": piece}, logprobs
        if completion.refusal is not None:
            yield {"refusal": completion.refusal}, None
        for index, call in enumerate(completion.tool_calls):
            function = {"name": call.name, "arguments": ""}
            yield {"tool_calls": [{"index": index, "id": call.id, "type": "function", "function": function}]}, None
            for piece in pieces(call.arguments):
                yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}, None

    def _rest(self, choice: Choice) -> Iterator[tuple[dict[str, Any], None]]:
        """What the deltas did not carry: nothing, or a refusal that an upstream states only at the end."""
        text, refusal = content_of(choice.completion) or "", choice.completion.refusal or ""
        streamed, declined = "".join(self._text), "".join(self._refusal)
        if not text.startswith(streamed) or not refusal.startswith(declined):
            raise RuntimeError("the answer differs from what was streamed")
        if text := text.removeprefix(streamed):
            yield {"content": text}, None
        if refusal := refusal.removeprefix(declined):
            yield {"refusal": refusal}, None
        for index, call in enumerate(choice.completion.tool_calls):
            sent = self._arguments.get(index)
            if sent is None:
                part = ToolCallDelta(index=index, id=call.id, name=call.name, arguments=call.arguments)
                yield {"tool_calls": [_call_part(part, begins=True)]}, None
            elif not call.arguments.startswith(sent):
                raise RuntimeError("the tool call differs from what was streamed")
            elif rest := call.arguments.removeprefix(sent):
                yield {"tool_calls": [{"index": index, "function": {"arguments": rest}}]}, None


def _call_part(part: ToolCallDelta, *, begins: bool) -> dict[str, Any]:
    function = {"arguments": part.arguments}
    if not begins:
        return {"index": part.index, "function": function}
    return {"index": part.index, "id": part.id, "type": "function", "function": {"name": part.name, **function}}


def _choice(
    index: int, delta: dict[str, Any], logprobs: Mapping[str, Any] | None = None, finish_reason: str | None = None
) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
