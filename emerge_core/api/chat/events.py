"""The events of a streamed chat completion: OpenAI's chunks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from emerge_core.api.chat.encode import completion_id, encode
from emerge_core.api.chat.parse import ChatParams
from emerge_core.api.choices import (
    Choice,
    content_of,
    finish_reason_of,
    logprobs_of,
    state_of,
    tool_calls_json,
)
from emerge_core.api.errors import error_body
from emerge_core.api.sse import PIECES, EventStream, data, pieces
from emerge_core.errors import RequestError
from emerge_core.types import Decision, Delta, Trace

DONE = b"data: [DONE]\n\n"


class ChunkStream(EventStream):
    """The role comes first, then the text (live or whole) and the tool calls, the finish reason, and the usage if
    the client asked for it. The last chunk carries the `emerge` object."""

    def __init__(self, params: ChatParams, **options: Any) -> None:
        super().__init__(**options)
        self._request = params.request
        self._include_usage = params.include_usage
        self._begun = False  # whether the role was sent
        self._streamed = {"content": "", "refusal": "", "reasoning_content": ""}
        self._arguments: dict[int, str] = {}  # of the tool calls that were streamed, by their index
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
        if not self._begun:
            self._begun = True
            yield self._chunk(_choice(0, {"role": "assistant", "content": "", "refusal": None}))
        if delta.reasoning:
            yield self._part("reasoning_content", delta.reasoning)
        logprobs = logprobs_of(delta.logprobs, self._request)
        if delta.text or logprobs:
            yield self._part("content", delta.text, logprobs)
        if delta.refusal:
            yield self._part("refusal", delta.refusal)
        for part in delta.tool_calls:
            call: dict[str, Any] = {"index": part.index, "function": {"arguments": part.arguments}}
            if part.index not in self._arguments:
                function = {"name": part.name, "arguments": part.arguments}
                call = {"index": part.index, "id": part.id, "type": "function", "function": function}
            self._arguments[part.index] = self._arguments.get(part.index, "") + part.arguments
            yield self._chunk(_choice(0, {"tool_calls": [call]}))

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

    def _part(self, name: str, piece: str, logprobs: Mapping[str, Any] | None = None) -> bytes:
        self._streamed[name] += piece
        return self._chunk(_choice(0, {name: piece}, logprobs))

    def _whole(self, choice: Choice) -> Iterator[tuple[dict[str, Any], Mapping[str, Any] | None]]:
        completion = choice.completion
        content = content_of(completion)
        yield {"role": "assistant", "content": None if content is None else "", "refusal": None}, None
        if state := state_of(completion):
            yield state, None
        logprobs = logprobs_of(completion.logprobs, self._request)
        if content:
            # Tokens need not add up to the text, so their probabilities go with the whole of it.
            for piece in pieces(content, 1 if logprobs else PIECES):
                yield {"content": piece}, logprobs
        if completion.refusal is not None:
            yield {"refusal": completion.refusal}, None
        for index, call in enumerate(tool_calls_json(completion)):
            yield from _whole_call(index, call)

    def _rest(self, choice: Choice) -> Iterator[tuple[dict[str, Any], None]]:
        """What the deltas did not carry: state, a refusal or calls that an upstream states only at the end."""
        completion = choice.completion
        state = state_of(completion)
        whole = {
            "content": content_of(completion) or "",
            "refusal": completion.refusal or "",
            "reasoning_content": state.pop("reasoning_content", ""),
        }
        for name, streamed in self._streamed.items():
            if rest := _remainder(whole[name], streamed):
                yield {name: rest}, None
        if state:
            yield state, None
        for index, call in enumerate(tool_calls_json(completion)):
            if index not in self._arguments:
                yield from _whole_call(index, call)
                continue
            rest = _remainder(call["function"]["arguments"], self._arguments[index])
            extra = {"extra_content": call["extra_content"]} if "extra_content" in call else {}
            if rest or extra:  # with a function in any case: the official client asserts that there is one
                yield {"tool_calls": [{"index": index, "function": {"arguments": rest}, **extra}]}, None


def _whole_call(index: int, call: dict[str, Any]) -> Iterator[tuple[dict[str, Any], None]]:
    function = {"name": call["function"]["name"], "arguments": ""}
    yield {"tool_calls": [{"index": index, **call, "function": function}]}, None
    for piece in pieces(call["function"]["arguments"]):
        yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}, None


def _remainder(whole: str, streamed: str) -> str:
    if not whole.startswith(streamed):
        raise RuntimeError("the answer differs from what was streamed")
    return whole.removeprefix(streamed)


def _choice(
    index: int, delta: dict[str, Any], logprobs: Mapping[str, Any] | None = None, finish_reason: str | None = None
) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
