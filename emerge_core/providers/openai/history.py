"""The conversation as an OpenAI-compatible server takes it.

Messages are sent as the client gave them, but for what servers refuse (ids that they cannot have made, the empty fields
of an earlier reply) and for the state that some models demand with every earlier tool call:

- Gemini 3 wants the thought signature of a step's first call. For a call that it did not make there is a documented
  stand-in (ai.google.dev, "Thought signatures").
- DeepSeek and Kimi in thinking mode want the `reasoning_content` of an earlier call and document no stand-in. They get
  a text that says so, different for each turn; the caller names it in `dropped_params`.

The same history is translated in the same way on every turn, so that prompt caches hit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from emerge_core.providers.state import signature_of
from emerge_core.providers.tool_ids import shortened
from emerge_core.types import JsonObject

SIGNATURE = "thought_signature"  # names, among refused parameters, of what a server turned out to demand
REASONING = "reasoning_content"
STAND_IN = "skip_thought_signature_validator"
_SIGNS = re.compile(r"gemini-([3-9]|\d\d)", re.IGNORECASE)
_THINKS = re.compile(r"deepseek-reasoner|kimi-k2-thinking|kimi-thinking", re.IGNORECASE)
_MAY_THINK = re.compile(r"deepseek|kimi|moonshot", re.IGNORECASE)
_CACHES = re.compile(r"claude|anthropic", re.IGNORECASE)  # behind a gateway: others do not know `cache_control`
_NINE = re.compile(r"(?i)(mi|mag|mini)stral|(code|dev|pix)stral|mixtral|voxtral")  # ids of nine letters and digits
_LONGEST_ID = 40


def history(
    messages: Sequence[JsonObject], model: str, extra: JsonObject, demanded: frozenset[str] = frozenset()
) -> tuple[list[JsonObject], tuple[str, ...]]:
    """The messages, and the names of state that a text stands in for. `demanded` are `SIGNATURE` and `REASONING` if
    the server has refused the messages without them."""
    nine, keeps_marks = bool(_NINE.search(model)), caches(model)
    signs = SIGNATURE in demanded or bool(_SIGNS.search(model))
    thinks = REASONING in demanded or _thinking(model, extra)
    sent: list[JsonObject] = []
    dropped: tuple[str, ...] = ()
    for position, message in enumerate(messages):
        message = _clean(message, nine)
        if not keeps_marks:
            message = without_cache_marks(message)
        if message.get("tool_calls"):
            if signs:
                message = _signed(message)
            if thinks and not message.get("reasoning_content"):
                text = f"The reasoning before this call, message {position + 1} of the conversation, was not kept."
                message, dropped = {**message, "reasoning_content": text}, (REASONING,)
        sent.append(message)
    return sent, dropped


def caches(model: str) -> bool:
    """Whether the model reads `cache_control` marks."""
    return bool(_CACHES.search(model))


def may_demand(messages: Sequence[JsonObject]) -> frozenset[str]:
    """The state that a server might demand of these messages, and that they lack."""
    calling = [message for message in messages if message.get("tool_calls")]
    unsigned = any(not _has_signature(message) for message in calling)
    silent = any(not message.get("reasoning_content") for message in calling)
    return frozenset(([SIGNATURE] if unsigned else []) + ([REASONING] if silent else []))


def without_cache_marks(value: JsonObject) -> JsonObject:
    """A message or a tool without `cache_control`, also in its content parts."""
    content = value.get("content")
    parts = content if isinstance(content, (list, tuple)) else ()
    marked = any(isinstance(part, Mapping) and "cache_control" in part for part in parts)
    if "cache_control" not in value and not marked:
        return value
    cleaned = {name: each for name, each in value.items() if name != "cache_control"}
    if marked:
        cleaned["content"] = [_without(part) for part in parts]
    return cleaned


def _without(part: Any) -> Any:
    if not isinstance(part, Mapping):
        return part
    return {name: each for name, each in part.items() if name != "cache_control"}


def _thinking(model: str, extra: JsonObject) -> bool:
    if _THINKS.search(model):
        return True
    thinking = extra.get("thinking")
    on = isinstance(thinking, Mapping) and thinking.get("type") != "disabled"
    return on and bool(_MAY_THINK.search(model))


def _clean(message: JsonObject, nine: bool) -> JsonObject:
    if message.get("role") == "tool":
        return {**message, "tool_call_id": _wire_id(str(message.get("tool_call_id")), nine)}
    if message.get("role") != "assistant":
        return message
    sent = {name: value for name, value in message.items() if value is not None or name == "content"}
    if calls := message.get("tool_calls"):
        sent["tool_calls"] = [{**call, "id": _wire_id(str(call.get("id")), nine)} for call in calls]
    return sent


def _wire_id(call_id: str, nine: bool) -> str:
    if nine:
        return call_id if re.fullmatch(r"[A-Za-z0-9]{9}", call_id) else shortened(call_id, 9)
    return call_id if len(call_id) <= _LONGEST_ID else shortened(call_id, _LONGEST_ID)


def _has_signature(message: JsonObject) -> bool:
    return any(signature_of(call.get("extra_content")) for call in message.get("tool_calls") or ())


def _signed(message: JsonObject) -> JsonObject:
    """With the stand-in on the first call, unless a real signature is there: parallel calls stay unsigned."""
    if _has_signature(message):
        return message
    first, *more = message["tool_calls"]
    extra = first.get("extra_content")
    google = extra.get("google") if isinstance(extra, Mapping) else None
    signed = {**(google if isinstance(google, Mapping) else {}), "thought_signature": STAND_IN}
    return {
        **message,
        "tool_calls": [{**first, "extra_content": {**(extra or {}), "google": signed}}, *more],
    }
