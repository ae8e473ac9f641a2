"""OpenAI's messages as Converse's: system blocks, then alternating turns of content blocks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from emerge_core.providers.errors import unsupported
from emerge_core.providers.parts import Document, Image, arguments_object, function_of, pieces
from emerge_core.providers.tool_ids import shortened
from emerge_core.types import JsonObject, text_of

Block = dict[str, Any]

_IMAGES = {"image/png": "png", "image/jpeg": "jpeg", "image/jpg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
_DOCUMENTS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
_LONGEST_ID = 64
_WITH_DOCUMENT = "Use the attached document."  # Converse wants a text beside every document


def conversation(messages: Sequence[JsonObject]) -> tuple[list[Block], list[dict[str, Any]]]:
    """The system blocks and the turns. Neighbours of one role become one turn, as Converse demands."""
    system: list[Block] = []
    turns: list[dict[str, Any]] = []
    translation = _Translation()
    for message in messages:
        role = message.get("role")
        if role in ("system", "developer"):
            text = text_of(message.get("content"))
            system += [{"text": text}] if text.strip() else []
            continue
        speaker = "assistant" if role == "assistant" else "user"
        blocks = translation.blocks(role, message)
        if blocks and turns and turns[-1]["role"] == speaker:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": speaker, "content": blocks})
    for turn in turns:
        if any("document" in block for block in turn["content"]) and not any("text" in b for b in turn["content"]):
            turn["content"].append({"text": _WITH_DOCUMENT})
    if not turns and system:  # Converse wants a turn
        return [], [{"role": "user", "content": system}]
    if turns and turns[-1]["role"] == "assistant" and "text" in turns[-1]["content"][-1]:
        last = turns[-1]["content"][-1]  # the model continues it; Claude refuses white space at its end
        last["text"] = last["text"].rstrip()
    return system, turns


def called(messages: Sequence[JsonObject]) -> list[str]:
    """The names of the functions called in the conversation."""
    calls = [call for message in messages for call in message.get("tool_calls") or ()]
    return list(dict.fromkeys(str(function_of(call).get("name")) for call in calls))


def tool_use_id(call_id: Any) -> str:
    """The id of a call in the characters and the length that Converse and its models take."""
    made = re.sub(r"[^A-Za-z0-9_-]", "_", str(call_id)) or "call"
    return made if len(made) <= _LONGEST_ID else f"{made[:40]}_{shortened(str(call_id), 16)}"


class _Translation:
    """Keeps what must be unique in one request: the ids of calls, the names of documents."""

    def __init__(self) -> None:
        self._latest: dict[str, str] = {}
        self._ids: set[str] = set()
        self._names: set[str] = set()

    def blocks(self, role: Any, message: JsonObject) -> list[Block]:
        content = [
            self._block(piece)
            for piece in pieces(message.get("content"))
            if not isinstance(piece, str) or piece.strip()  # Converse refuses a blank text
        ]
        if role == "user":
            return content
        if role == "tool":
            call_id = str(message.get("tool_call_id"))
            result_id = self._latest.get(call_id) or tool_use_id(call_id)
            return [{"toolResult": {"toolUseId": result_id, "content": content or [{"text": "(empty)"}]}}]
        if role == "assistant":
            return content + [self._tool_use(call) for call in message.get("tool_calls") or ()]
        raise unsupported(f"Bedrock takes no message of role {role!r}", param="messages")

    def _block(self, piece: str | Image | Document) -> Block:
        if isinstance(piece, str):
            return {"text": piece}
        return self._document(piece) if isinstance(piece, Document) else _image(piece)

    def _document(self, file: Document) -> Block:
        form = _DOCUMENTS.get(file.media_type)
        if form is None:
            raise unsupported(f"Bedrock takes no files of type {file.media_type!r}", param="messages")
        stem = (file.name or "document").rpartition(".")[0] or file.name or "document"
        neutral = re.sub(r"\s+", " ", re.sub(r"[^A-Za-z0-9\s()\[\]-]", "-", stem)).strip()[:150] or "document"
        name, number = neutral, 2
        while name in self._names:
            name, number = f"{neutral} ({number})", number + 1
        self._names.add(name)
        return {"document": {"format": form, "name": name, "source": {"bytes": file.data}}}

    def _tool_use(self, call: JsonObject) -> Block:
        function = function_of(call)
        call_id = str(call.get("id"))
        made = tool_use_id(call_id)
        if made in self._ids:  # other APIs let ids repeat
            made = f"{made[:40]}_{shortened(f'{call_id} {len(self._ids)}', 8)}"
        self._ids.add(made)
        self._latest[call_id] = made
        return {
            "toolUse": {
                "toolUseId": made,
                "name": function.get("name"),
                "input": arguments_object(function.get("arguments")),
            }
        }


def _image(image: Image) -> Block:
    if image.url is not None:
        form = image.url.rpartition(".")[2].lower().replace("jpg", "jpeg")
        if image.url.startswith("s3://") and form in _IMAGES.values():
            return {"image": {"format": form, "source": {"s3Location": {"uri": image.url}}}}
        raise unsupported("Bedrock takes images as data: or s3:// URLs, and fetches no other", param="messages")
    if image.media_type not in _IMAGES:
        raise unsupported(f"Bedrock takes no images of type {image.media_type!r}", param="messages")
    return {"image": {"format": _IMAGES[image.media_type], "source": {"bytes": image.data}}}
