"""OpenAI's messages as Converse's: system blocks, then alternating turns of content blocks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from emerge_core.providers.errors import unsupported
from emerge_core.providers.parts import Document, Image, arguments_object, function_of, pieces
from emerge_core.providers.tool_ids import shortened
from emerge_core.types import JsonObject

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


def conversation(messages: Sequence[JsonObject], *, thinking: bool = True) -> tuple[list[Block], list[dict[str, Any]]]:
    """The system blocks and the turns. Neighbours of one role become one turn, as Converse demands.

    Instructions in the middle of the conversation stay where they are, as the user's, so that a longer history begins
    with the same prompt. Reasoning comes first in its turn; without `thinking` it is left out.
    """
    system: list[Block] = []
    turns: list[dict[str, Any]] = []
    translation = _Translation(thinking=thinking)
    for message in messages:
        role = message.get("role")
        if role in ("system", "developer") and not turns:
            system += translation.content(message)
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

    def __init__(self, *, thinking: bool) -> None:
        self._thinking = thinking
        self._latest: dict[str, str] = {}
        self._ids: set[str] = set()
        self._names: set[str] = set()

    def content(self, message: JsonObject) -> list[Block]:
        """The content, with a cache point after each part that the client marked for the cache."""
        found = message.get("content")
        parts: Sequence[Any] = found if isinstance(found, (list, tuple)) else [found]
        blocks: list[Block] = []
        for part, piece in zip(parts, pieces(found), strict=False):
            if isinstance(piece, str) and not piece.strip():  # Converse refuses a blank text
                continue
            blocks.append(self._block(piece))
            blocks += _cache_point(part)
        return blocks + (_cache_point(message) if blocks else [])

    def blocks(self, role: Any, message: JsonObject) -> list[Block]:
        content = self.content(message)
        if role in ("user", "system", "developer"):
            return content
        if role == "tool":
            call_id = str(message.get("tool_call_id"))
            result_id = self._latest.get(call_id) or tool_use_id(call_id)
            points = [block for block in content if "cachePoint" in block]
            said = [block for block in content if "cachePoint" not in block] or [{"text": "(empty)"}]
            return [{"toolResult": {"toolUseId": result_id, "content": said}}, *points]
        if role == "assistant":
            thoughts = message.get("thinking_blocks") or () if self._thinking else ()
            calls = [self._tool_use(call) for call in message.get("tool_calls") or ()]
            return [*filter(None, map(_reasoning, thoughts)), *content, *calls]
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


def _cache_point(marked: Any) -> list[Block]:
    """Converse's form of Anthropic's `cache_control` mark."""
    mark = marked.get("cache_control") if isinstance(marked, Mapping) else None
    if not isinstance(mark, Mapping):
        return []
    ttl = {"ttl": mark["ttl"]} if mark.get("ttl") in ("5m", "1h") else {}
    return [{"cachePoint": {"type": "default", **ttl}}]


def _reasoning(block: Any) -> Block | None:
    """Converse's form of Anthropic's thinking block; None for a block of another kind."""
    match block:
        case {"type": "thinking", "thinking": str(text)}:
            signature = block.get("signature")
            signed = {"signature": signature} if signature else {}
            return {"reasoningContent": {"reasoningText": {"text": text, **signed}}}
        case {"type": "redacted_thinking", "data": str(data)}:
            return {"reasoningContent": {"redactedContent": data}}
    return None


def thinking_blocks(content: Sequence[Any]) -> tuple[Block, ...]:
    """The reasoning in a reply's content, as Anthropic's thinking blocks: the form in which the client keeps it."""
    found = []
    for block in content:
        match block:
            case {"reasoningContent": {"reasoningText": {"text": str(text)} as reasoning}}:
                found.append({"type": "thinking", "thinking": text, "signature": str(reasoning.get("signature") or "")})
            case {"reasoningContent": {"redactedContent": str(data)}}:
                found.append({"type": "redacted_thinking", "data": data})
    return tuple(found)


def step_without_thinking(messages: Sequence[JsonObject]) -> bool:
    """Whether the assistant has called tools since the user last spoke, without a thinking block before the call: a
    step of another model, which a model that must think first does not take."""
    for message in reversed(messages):
        if message.get("role") == "user":
            return False
        if message.get("tool_calls") and not message.get("thinking_blocks"):
            return True
    return False


def _image(image: Image) -> Block:
    if image.url is not None:
        form = image.url.rpartition(".")[2].lower().replace("jpg", "jpeg")
        if image.url.startswith("s3://") and form in _IMAGES.values():
            return {"image": {"format": form, "source": {"s3Location": {"uri": image.url}}}}
        raise unsupported("Bedrock takes images as data: or s3:// URLs, and fetches no other", param="messages")
    if image.media_type not in _IMAGES:
        raise unsupported(f"Bedrock takes no images of type {image.media_type!r}", param="messages")
    return {"image": {"format": _IMAGES[image.media_type], "source": {"bytes": image.data}}}
