"""OpenAI's messages as Anthropic's: one system text, then alternating turns of content blocks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from emerge_core.providers.errors import unsupported
from emerge_core.providers.parts import Document, Image, arguments_object, function_of, pieces
from emerge_core.providers.tool_ids import shortened
from emerge_core.types import JsonObject

Block = dict[str, Any]


def conversation(
    messages: Sequence[JsonObject], *, thinking: bool = True
) -> tuple[str | list[Block], list[dict[str, Any]]]:
    """The system prompt and the turns. Neighbours of one role become one turn, as the API wants it.

    The system prompt is a text, or blocks if the client marked one for the cache. Instructions in the middle of the
    conversation stay where they are, as the user's, so that a longer history begins with the same prompt. Thinking
    blocks come first in their turn; without `thinking` they are left out.
    """
    system: list[Block] = []
    turns: list[dict[str, Any]] = []
    ids = _Ids()
    for message in messages:
        role = message.get("role")
        if role in ("system", "developer") and not turns:
            system += _said(message)
            continue
        speaker = "assistant" if role == "assistant" else "user"
        blocks = _blocks(role, message, ids, thinking)
        if blocks and turns and turns[-1]["role"] == speaker:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": speaker, "content": blocks})

    if not turns and system:  # the API wants a turn
        return "", [{"role": "user", "content": system}]
    if turns and turns[-1]["role"] == "assistant":
        _strip_end(turns[-1]["content"])
    if any("cache_control" in block for block in system):
        return system, turns
    return "\n\n".join(block["text"] for block in system), turns


def tool_id(call_id: Any) -> str:
    """A call's id in the alphabet that the API takes."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", str(call_id)) or "call"


class _Ids:
    """The API's ids of the calls in one conversation. They must differ, where other APIs let them repeat."""

    def __init__(self) -> None:
        self._latest: dict[str, str] = {}
        self._taken: set[str] = set()

    def begin(self, call_id: Any) -> str:
        made = tool_id(call_id)
        if made in self._taken:
            made = f"{made[:40]}_{shortened(f'{call_id} {len(self._taken)}', 8)}"
        self._taken.add(made)
        self._latest[str(call_id)] = made
        return made

    def of(self, call_id: Any) -> str:
        """Of the last call of this id."""
        return self._latest.get(str(call_id)) or tool_id(call_id)


def called(messages: Sequence[JsonObject]) -> list[str]:
    """The names of the functions that were called so far."""
    calls = [call for message in messages for call in message.get("tool_calls") or ()]
    return list(dict.fromkeys(str(function_of(call).get("name")) for call in calls))


def unthinking_step(messages: Sequence[JsonObject]) -> bool:
    """Whether an assistant's step since the user last spoke calls tools without a thinking block before it, as a step
    of another model does: manual thinking demands one."""
    for message in reversed(messages):
        if message.get("role") == "user":
            return False
        if message.get("tool_calls") and not message.get("thinking_blocks"):
            return True
    return False


def _said(message: JsonObject) -> list[Block]:
    """The content, with the client's marks for the cache where it put them."""
    content = message.get("content")
    parts: Sequence[Any] = content if isinstance(content, (list, tuple)) else [content]
    found = []
    for part, piece in zip(parts, pieces(content), strict=False):
        if isinstance(piece, str) and not piece.strip():
            continue
        mark = part.get("cache_control") if isinstance(part, Mapping) else None
        found.append(_block(piece) | ({"cache_control": mark} if mark else {}))
    if found and (mark := message.get("cache_control")):
        found[-1] = {**found[-1], "cache_control": mark}
    return found


def _blocks(role: Any, message: JsonObject, ids: _Ids, thinking: bool) -> list[Block]:
    said = _said(message)
    if role in ("user", "system", "developer"):
        return said
    if role == "tool":
        result: Block = {"type": "tool_result", "tool_use_id": ids.of(message.get("tool_call_id"))}
        return [{**result, "content": said} if said else result]
    if role == "assistant":
        thoughts = [dict(block) for block in message.get("thinking_blocks") or ()] if thinking else []
        return thoughts + said + [_tool_use(call, ids) for call in message.get("tool_calls") or ()]
    raise unsupported(f"this provider takes no message of role {role!r}", param="messages")


def _block(piece: str | Image | Document) -> Block:
    if isinstance(piece, str):
        return {"type": "text", "text": piece}
    if isinstance(piece, Document):
        return _document(piece)
    if piece.url is not None:
        return {"type": "image", "source": {"type": "url", "url": piece.url}}
    return {"type": "image", "source": {"type": "base64", "media_type": piece.media_type, "data": piece.data}}


def _document(file: Document) -> Block:
    if file.media_type != "application/pdf":
        raise unsupported(f"Anthropic takes PDF files only, not {file.media_type!r}", param="messages")
    source = {"type": "base64", "media_type": file.media_type, "data": file.data}
    return {"type": "document", "source": source} | ({"title": file.name} if file.name else {})


def _tool_use(call: JsonObject, ids: _Ids) -> Block:
    function = function_of(call)
    return {
        "type": "tool_use",
        "id": ids.begin(call.get("id")),
        "name": function.get("name"),
        "input": arguments_object(function.get("arguments")),
    }


def _strip_end(blocks: list[Block]) -> None:
    """A last assistant turn is continued by the model, and must not end in white space."""
    if blocks[-1]["type"] == "text":
        blocks[-1]["text"] = blocks[-1]["text"].rstrip()
