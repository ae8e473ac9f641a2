"""Ids of tool calls, which a conversation carries from one provider to the next.

An id that a provider made stays the call's id for the client and for every later turn. It is changed
in two places only: here, where it would not be the only one of its name in the conversation, and by an
adapter whose API takes other characters, for that one request.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from emerge_core.types import ChatRequest, JsonObject, ToolCall


def unique(calls: Sequence[ToolCall], request: ChatRequest) -> tuple[ToolCall, ...]:
    """The calls of a reply, each with an id that nothing else in the conversation has. Some servers
    number the calls of each reply from 0, or derive an id from what is called."""
    taken = {call.get("id") for message in request.messages for call in _calls(message)}
    made = []
    for index, call in enumerate(calls):
        if not call.id or call.id in taken:
            call = replace(call, id=made_id(len(request.messages), index, call.name, call.arguments))
        taken.add(call.id)
        made.append(call)
    return tuple(made)


def made_id(*what: object) -> str:
    """The same for the same place and call, so that a replayed conversation is the same conversation."""
    return f"call_{hashlib.sha256(repr(what).encode()).hexdigest()[:24]}"


def shortened(call_id: str, length: int) -> str:
    """An id of exactly so many letters and digits, equal for equal ids."""
    return hashlib.sha256(call_id.encode()).hexdigest()[:length]


def _calls(message: JsonObject) -> Sequence[JsonObject]:
    calls = message.get("tool_calls")
    return calls if isinstance(calls, (list, tuple)) else ()
