"""Ids of tool calls, which a conversation carries from one provider to the next.

An id that a provider made stays the call's id for the client and for every later turn. It is changed
in two places only: here, where it would not be the only one of its name in the conversation, and by an
adapter whose API takes other characters, for that one request.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from emerge_core.types import ChatRequest, JsonObject, ToolCall, ToolCallDelta


def unique(calls: Sequence[ToolCall], request: ChatRequest) -> tuple[ToolCall, ...]:
    """The calls of a reply, each with an id that nothing else in the conversation has. Some servers
    number the calls of each reply from 0, or derive an id from what is called."""
    taken = _ids_in(request)
    made = []
    for index, call in enumerate(calls):
        if not call.id or call.id in taken:
            call = replace(call, id=made_id(len(request.messages), index, call.name, call.arguments))
        taken.add(call.id)
        made.append(call)
    return tuple(made)


class CallIds:
    """The same for a reply whose calls are sent on as they arrive: an id is settled by the first part of a call."""

    def __init__(self, request: ChatRequest) -> None:
        self._place = len(request.messages)
        self._request = request
        self._taken: set[object] | None = None
        self._settled: dict[int, str] = {}

    def of_delta(self, part: ToolCallDelta) -> ToolCallDelta:
        if part.index in self._settled:
            return part
        if self._taken is None:
            self._taken = _ids_in(self._request)
        call_id = part.id
        if not call_id or call_id in self._taken:
            call_id = made_id(self._place, part.index, part.name)
        self._taken.add(call_id)
        self._settled[part.index] = call_id
        return replace(part, id=call_id)

    def of_calls(self, calls: Sequence[ToolCall]) -> tuple[ToolCall, ...]:
        """The calls of the whole reply, with the ids that their parts had."""
        named = (replace(call, id=self._settled.get(index, call.id)) for index, call in enumerate(calls))
        return tuple(named) if len(self._settled) == len(calls) else unique(tuple(named), self._request)


def made_id(*what: object) -> str:
    """The same for the same place and call, so that a replayed conversation is the same conversation."""
    return f"call_{hashlib.sha256(repr(what).encode()).hexdigest()[:24]}"


def shortened(call_id: str, length: int) -> str:
    """An id of exactly so many letters and digits, equal for equal ids."""
    return hashlib.sha256(call_id.encode()).hexdigest()[:length]


def _calls(message: JsonObject) -> Sequence[JsonObject]:
    calls = message.get("tool_calls")
    return calls if isinstance(calls, (list, tuple)) else ()


def _ids_in(request: ChatRequest) -> set[object]:
    return {call.get("id") for message in request.messages for call in _calls(message)}
