"""OpenAI's messages as Anthropic's: one system text, then alternating turns of content blocks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from emerge_core.providers.failures import unsupported
from emerge_core.providers.parts import Image, arguments_object, function_of, pieces
from emerge_core.types import JsonObject, text_of

Block = dict[str, Any]


def conversation(messages: Sequence[JsonObject]) -> tuple[str, list[dict[str, Any]]]:
    """The system text and the turns. Neighbours of one role become one turn, as the API wants it."""
    system: list[str] = []
    turns: list[dict[str, Any]] = []
    for message in messages:
        role = message.get("role")
        if role in ("system", "developer"):
            system.append(text_of(message.get("content")))
            continue
        speaker = "assistant" if role == "assistant" else "user"
        blocks = _blocks(role, message)
        if blocks and turns and turns[-1]["role"] == speaker:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": speaker, "content": blocks})

    joined = "\n\n".join(text for text in system if text.strip())
    if not turns and joined:  # the API wants a turn
        return "", [{"role": "user", "content": [{"type": "text", "text": joined}]}]
    if turns and turns[-1]["role"] == "assistant":
        _strip_end(turns[-1]["content"])
    return joined, turns


def tool_id(call_id: Any) -> str:
    """A call's id in the alphabet that the API takes."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", str(call_id)) or "call"


def _blocks(role: Any, message: JsonObject) -> list[Block]:
    said = [_block(piece) for piece in pieces(message.get("content")) if isinstance(piece, Image) or piece.strip()]
    if role == "user":
        return said
    if role == "tool":
        result: Block = {"type": "tool_result", "tool_use_id": tool_id(message.get("tool_call_id"))}
        return [{**result, "content": said} if said else result]
    if role == "assistant":
        return said + [_tool_use(call) for call in message.get("tool_calls") or ()]
    raise unsupported(f"this provider takes no message of role {role!r}", param="messages")


def _block(piece: str | Image) -> Block:
    if isinstance(piece, str):
        return {"type": "text", "text": piece}
    if piece.url is not None:
        return {"type": "image", "source": {"type": "url", "url": piece.url}}
    return {"type": "image", "source": {"type": "base64", "media_type": piece.media_type, "data": piece.data}}


def _tool_use(call: JsonObject) -> Block:
    function = function_of(call)
    return {
        "type": "tool_use",
        "id": tool_id(call.get("id")),
        "name": function.get("name"),
        "input": arguments_object(function.get("arguments")),
    }


def _strip_end(blocks: list[Block]) -> None:
    """A last assistant turn is continued by the model, and must not end in white space."""
    if blocks[-1]["type"] == "text":
        blocks[-1]["text"] = blocks[-1]["text"].rstrip()
