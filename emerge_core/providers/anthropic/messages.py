"""OpenAI's messages as Anthropic's: one system text, then alternating turns of content blocks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from emerge_core.providers.errors import unsupported
from emerge_core.providers.parts import Document, Image, arguments_object, function_of, pieces
from emerge_core.providers.tool_ids import shortened
from emerge_core.types import JsonObject, text_of

Block = dict[str, Any]


def conversation(messages: Sequence[JsonObject]) -> tuple[str, list[dict[str, Any]]]:
    """The system text and the turns. Neighbours of one role become one turn, as the API wants it."""
    system: list[str] = []
    turns: list[dict[str, Any]] = []
    ids = _Ids()
    for message in messages:
        role = message.get("role")
        if role in ("system", "developer"):
            system.append(text_of(message.get("content")))
            continue
        speaker = "assistant" if role == "assistant" else "user"
        blocks = _blocks(role, message, ids)
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


def _blocks(role: Any, message: JsonObject, ids: _Ids) -> list[Block]:
    found = pieces(message.get("content"))
    said = [_block(piece) for piece in found if not isinstance(piece, str) or piece.strip()]
    if role == "user":
        return said
    if role == "tool":
        result: Block = {"type": "tool_result", "tool_use_id": ids.of(message.get("tool_call_id"))}
        return [{**result, "content": said} if said else result]
    if role == "assistant":
        return said + [_tool_use(call, ids) for call in message.get("tool_calls") or ()]
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
