"""Agent state: what a model attaches to a message and wants back, unchanged, on the next turn.

The client carries it. With the state rides the id of its maker (a digest of the provider's address and the model), so
that it goes back to the model that made it and to no other:

- in the id of every tool call, which every client keeps: `call_1` becomes `call_1_emg0a1b2c3d`. A thought signature
  that is short enough rides there too, for clients that keep nothing else of a call;
- in front of the signature of a thinking block, and beside a call's `extra_content`. Reasoning of models that sign
  nothing has an empty signature there.

A single model's replies are not marked: they are passed on as they are, and state without a mark is taken for that of
the model that is asked.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any, NamedTuple

from emerge_core.config.schema import ModelConfig, ProviderConfig
from emerge_core.provider_kinds import KINDS
from emerge_core.types import ChatRequest, Completion, Delta, JsonObject, NativeRequest, ToolCall, ToolCallDelta

MAKER = "emerge_maker"  # the key beside state that has no place for a mark of its own
LONGEST_IN_ID = 700  # characters of a signature that ride in a call's id
_MARK = re.compile(r"_emg(?P<maker>[0-9a-f]{8})(?:_(?P<signature>[A-Za-z0-9_-]+))?")
_LONGEST_MARK = 16 * LONGEST_IN_ID // 3 + 16  # four bytes a character, and four characters of base64 for three bytes
_MARKED = re.compile(r"(?s)emg\.(?P<maker>[0-9a-f]{8})\.(?P<value>.*)")
_SIGNED = {"thinking": "signature", "redacted_thinking": "data"}  # the field of a block that carries its mark


def maker_of(provider: ProviderConfig, model: ModelConfig) -> str:
    """Eight hexadecimal digits, the same wherever the same model is asked at the same place."""
    return sha256(f"{provider.kind} {provider.base_url or ''} {model.model}".encode()).hexdigest()[:8]


def has_state(completion: Completion) -> bool:
    calls = any(call.extra_content for call in completion.tool_calls)
    return bool(completion.reasoning_content or completion.thinking_blocks or calls)


def marked(completion: Completion, maker: str) -> Completion:
    """The reply with its maker's mark on its state; a reply without state stays as it is."""
    if not has_state(completion):
        return completion
    return replace(
        completion,
        maker=maker,
        thinking_blocks=tuple(_marked_block(block, maker) for block in completion.thinking_blocks),
        tool_calls=tuple(_marked_call(call, maker) for call in completion.tool_calls),
        native=None,  # its ids and signatures have no marks
    )


def marked_id(call_id: str, maker: str, signature: str | None = None) -> str:
    tail = ""
    if signature and len(signature) <= LONGEST_IN_ID:
        tail = "_" + urlsafe_b64encode(signature.encode()).decode().rstrip("=")
    return f"{call_id}_emg{maker}{tail}"


class DeltaMarks:
    """The same for a reply that is sent on as it arrives. Whether it will have state is not known yet, so the id of
    every call is marked; a signature rides in it if it came with the beginning of the call."""

    def __init__(self, maker: str) -> None:
        self._maker = maker
        self._signed: set[Any] = set()  # the blocks whose signature has begun
        self._ids: dict[int, str] = {}  # of the calls that were sent, by their index

    def of(self, delta: Delta) -> Delta:
        calls = tuple(map(self._call, delta.tool_calls))
        return replace(delta, tool_calls=calls, native=self._event(delta.native))

    def of_whole(self, completion: Completion) -> Completion:
        """The whole reply, with the ids that were sent."""
        made = marked(completion, self._maker)
        ids = (self._ids.get(index, call.id) for index, call in enumerate(made.tool_calls))
        calls = (replace(call, id=sent) for call, sent in zip(made.tool_calls, ids, strict=True))
        return replace(made, tool_calls=tuple(calls))

    def _call(self, part: ToolCallDelta) -> ToolCallDelta:
        if not part.id:
            return part
        self._ids[part.index] = marked_id(part.id, self._maker, signature_of(part.extra_content))
        return replace(part, id=self._ids[part.index])

    def _event(self, event: JsonObject | None) -> JsonObject | None:
        if event is None:
            return None
        block, part, index = event.get("content_block"), event.get("delta"), event.get("index")
        if isinstance(block, Mapping) and block.get("type") == "tool_use":
            return {**event, "content_block": {**block, "id": marked_id(str(block.get("id")), self._maker)}}
        field = _SIGNED.get(str(block.get("type"))) if isinstance(block, Mapping) else None
        if isinstance(block, Mapping) and field and block.get(field):
            self._signed.add(index)
            return {**event, "content_block": _marked_block(block, self._maker)}
        if isinstance(part, Mapping) and part.get("type") == "signature_delta" and index not in self._signed:
            self._signed.add(index)
            return {**event, "delta": {**part, "signature": _mark(part.get("signature"), self._maker)}}
        return event


def reasoning_block(text: str, maker: str | None) -> JsonObject:
    """The reasoning of a model that signs nothing, as a block of Anthropic's."""
    return {"type": "thinking", "thinking": text, "signature": _mark("", maker) if maker else ""}


def read_reasoning(block: JsonObject) -> tuple[str, str | None] | None:
    """The text of such a block, and its maker if it is marked; None for a block with a signature."""
    if block.get("type") != "thinking":
        return None
    signature = block.get("signature") or ""
    found = _MARKED.fullmatch(signature) if isinstance(signature, str) else None
    if found["value"] if found else signature:
        return None
    return str(block.get("thinking") or ""), found["maker"] if found else None


def for_maker(request: ChatRequest, provider: ProviderConfig, maker: str) -> ChatRequest:
    """The request with the state of this model alone, without marks. The messages stay the very same tuple if there
    is nothing to change."""
    makes = KINDS[provider.kind].state
    messages = tuple(_message(message, makes, maker) for message in request.messages)
    if all(new is old for new, old in zip(messages, request.messages, strict=True)):
        messages = request.messages
    native = request.native
    if native is not None:
        native = _native(native, maker, messages) if native.messages is request.messages else None
    if messages is request.messages and native is request.native:
        return request
    return replace(request, messages=messages, native=native)


class MarkedId(NamedTuple):
    """A call's id as its provider made it, and what rides in it."""

    id: str
    maker: str
    signature: str | None


def read_id(call_id: Any) -> MarkedId | None:
    """None for an id without a mark. Clients write these ids, so the time is linear in their length: only as much of
    the end is searched as a mark can be long."""
    if not isinstance(call_id, str):
        return None
    start, end = max(len(call_id) - _LONGEST_MARK, 0), len(call_id)
    while (at := call_id.rfind("_emg", start, end)) >= 0:
        if found := _MARK.fullmatch(call_id, at):
            return MarkedId(call_id[:at], found["maker"], found["signature"])
        end = at + 3
    return None


def _marked_call(call: ToolCall, maker: str) -> ToolCall:
    extra = {**call.extra_content, MAKER: maker} if call.extra_content else {}
    return replace(call, id=marked_id(call.id, maker, signature_of(call.extra_content)), extra_content=extra)


def signature_of(extra_content: Any) -> str | None:
    """Gemini's thought signature in a call's `extra_content`."""
    google = extra_content.get("google") if isinstance(extra_content, Mapping) else None
    signature = google.get("thought_signature") if isinstance(google, Mapping) else None
    return signature if isinstance(signature, str) else None


def _marked_block(block: JsonObject, maker: str) -> JsonObject:
    field = _SIGNED.get(str(block.get("type")))
    if field and isinstance(block.get(field), str):
        return {**block, field: _mark(block[field], maker)}
    return {**block, MAKER: maker}


def _mark(signature: Any, maker: str) -> str:
    return f"emg.{maker}.{signature}"


def _message(message: JsonObject, makes: frozenset[str], maker: str) -> JsonObject:
    if message.get("role") == "tool":
        found = read_id(message.get("tool_call_id"))
        return {**message, "tool_call_id": found.id} if found else message
    if message.get("role") != "assistant":
        return message
    changed = dict(message)
    made_by = changed.pop(MAKER, None)
    calls = changed.get("tool_calls")
    if isinstance(calls, (list, tuple)) and calls:
        read = [_call(call, makes, maker) for call in calls]
        made_by = made_by or next((by for _, by in read if by), None)
        changed["tool_calls"] = [call for call, _ in read]
    own = made_by == maker or (made_by is None and "reasoning_content" in makes)
    if "reasoning_content" in changed and not own:
        del changed["reasoning_content"]
    if "thinking_blocks" in changed:
        listed = changed.pop("thinking_blocks")
        kept = own_blocks(listed, maker, untagged="thinking_blocks" in makes and made_by in (None, maker))
        if kept:
            changed["thinking_blocks"] = kept
    return message if changed == message else changed


def _call(call: Any, makes: frozenset[str], maker: str) -> tuple[Any, str | None]:
    """A call as its provider made it, with its extra content if that is this maker's; and who made it."""
    if not isinstance(call, Mapping):
        return call, None
    found = read_id(call.get("id"))
    plain = {**call, "id": found.id} if found else dict(call)
    extra = plain.pop("extra_content", None)
    extra = dict(extra) if isinstance(extra, Mapping) else {}
    made_by = extra.pop(MAKER, None) or (found.maker if found else None)
    if made_by not in (None, maker) or (made_by is None and "extra_content" not in makes):
        extra = {}
    elif not extra and found and found.signature:
        extra = _from_id(found.signature)
    if extra:
        plain["extra_content"] = extra
    return plain, made_by


def _from_id(encoded: str) -> dict[str, Any]:
    try:
        signature = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    except (Base64Error, ValueError):
        return {}
    return {"google": {"thought_signature": signature}}


def own_blocks(blocks: Any, maker: str, *, untagged: bool) -> list[JsonObject]:
    """The thinking blocks that this maker made, without their marks; those without a mark if `untagged`."""
    found: list[JsonObject] = []
    for block in blocks if isinstance(blocks, Sequence) and not isinstance(blocks, str) else ():
        if not isinstance(block, Mapping):
            continue
        field = _SIGNED.get(str(block.get("type")), "")
        value, made_by = block.get(field), block.get(MAKER)
        mark = _MARKED.fullmatch(value) if isinstance(value, str) else None
        plain = {name: each for name, each in block.items() if name != MAKER}
        if mark:
            plain, made_by = {**plain, field: mark["value"]}, mark["maker"]
        if made_by == maker or (made_by is None and untagged):
            found.append(plain)
    return found


def _native(native: NativeRequest, maker: str, messages: tuple[JsonObject, ...]) -> NativeRequest:
    """The client's own body without other models' thinking blocks and without marks."""
    turns = native.body.get("messages")
    if not isinstance(turns, (list, tuple)):
        return replace(native, messages=messages)
    cleaned = [_native_turn(turn, maker) for turn in turns]
    if all(new is old for new, old in zip(cleaned, turns, strict=True)):
        return replace(native, messages=messages)
    return replace(native, messages=messages, body={**native.body, "messages": cleaned})


def _native_turn(turn: Any, maker: str) -> Any:
    content = turn.get("content") if isinstance(turn, Mapping) else None
    if not isinstance(content, (list, tuple)):
        return turn
    makers = {found.maker for block in content if (found := read_id(_id_of(block)))}
    kept: list[Any] = []
    for block in content:
        if isinstance(block, Mapping) and block.get("type") in _SIGNED:
            if read_reasoning(block) is None:  # else another provider's: one without a signature is refused
                kept += own_blocks([block], maker, untagged=not makers or makers == {maker})
        elif found := read_id(_id_of(block)):
            kept.append({**block, ("id" if "id" in block else "tool_use_id"): found.id})
        else:
            kept.append(block)
    return turn if kept == list(content) else {**turn, "content": kept}


def _id_of(block: Any) -> str:
    return str(block.get("id") or block.get("tool_use_id") or "") if isinstance(block, Mapping) else ""
