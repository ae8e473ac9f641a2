"""From Anthropic's system text and content blocks to messages in chat's shape.

Within a turn the tools' results come first; no turn is moved, so the translation of a conversation stays the same as
it grows. Blocks of types that chat has
no word for (results of tools that Anthropic ran, and types that are new) are left out of the translation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from emerge_core.api.errors import invalid
from emerge_core.api.fields import Body, items, mapping, one_of, shown, string, text
from emerge_core.api.limits import MAX_MESSAGES, MAX_PARTS
from emerge_core.providers.state import MAKER, read_reasoning

_ROLES = ("user", "assistant", "system")
_THINKING = ("thinking", "redacted_thinking")

Message = dict[str, Any]


def read_messages(value: Any, system: Any) -> tuple[Body, ...]:
    """Raises RequestError, a 400 that names the message or the block."""
    messages: list[Message] = []
    if system is not None:
        messages.append({"role": "system", "content": _system(system, "system")})
    if value is None:
        raise invalid("messages", "`messages` is missing: send at least one message.")
    called: set[str] = set()
    for place, message in items(value, "messages", at_least=1, at_most=MAX_MESSAGES):
        role = one_of(message.get("role"), _ROLES, f"{place}.role")
        content, place = message.get("content"), f"{place}.content"
        if isinstance(content, str):
            messages.append({"role": role, "content": content})
        elif not isinstance(content, list):
            raise invalid(place, f"`{place}` must be a string or a list of blocks, not {shown(content)}.")
        elif role == "system":
            messages.append({"role": role, "content": _system(content, place)})
        elif role == "assistant":
            messages += _assistant(content, place, called)
        else:
            messages += _user(content, place, called)
    return tuple(messages)


def _system(value: Any, place: str) -> str | list[Body]:
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise invalid(place, f"`{place}` must be a string or a list of text blocks, not {shown(value)}.")
    return [_text(block, spot) for spot, block in items(value, place, at_most=MAX_PARTS) if block.get("type") == "text"]


def _assistant(content: list[Any], place: str, called: set[str]) -> Iterator[Message]:
    """One message: its text, its calls, and what its model wants back."""
    parts: list[Body] = []
    calls: list[Body] = []
    thinking: list[Body] = []
    for spot, block in items(content, place, at_most=MAX_PARTS):
        kind = _kind(block, spot)
        if kind == "text":
            parts.append(_text(block, spot))
        elif kind == "tool_use":
            called.add(text(block, "id", f"{spot}.id"))
            arguments = json.dumps(mapping(block, "input", f"{spot}.input"), ensure_ascii=False)
            function = {"name": text(block, "name", f"{spot}.name"), "arguments": arguments}
            calls.append({"id": block["id"], "type": "function", "function": function, **_marks(block)})
        elif kind in _THINKING:
            thinking.append(block)
    message: Message = {"role": "assistant", "content": _joined(parts)}
    if calls:
        message["tool_calls"] = calls
    reasoning = [found for block in thinking if (found := read_reasoning(block))]
    if reasoning:  # another provider's, as `encode` writes it
        message["reasoning_content"] = "".join(said for said, _ in reasoning)
        if maker := reasoning[0][1]:
            message[MAKER] = maker
    if signed := [block for block in thinking if not read_reasoning(block)]:
        message["thinking_blocks"] = signed
    if parts or calls:
        yield message


def _user(content: list[Any], place: str, called: set[str]) -> Iterator[Message]:
    """A message per tool result, which chat wants right after the calls, then one for the rest."""
    parts: list[Body] = []
    for spot, block in items(content, place, at_most=MAX_PARTS):
        kind = _kind(block, spot)
        if kind == "tool_result":
            result, images = _result(block, spot, called)
            yield result
            parts += images
        elif part := _part(kind, block, spot):
            parts.append(part)
    if parts:
        yield {"role": "user", "content": parts}


def _result(block: Body, place: str, called: set[str]) -> tuple[Message, list[Body]]:
    """The tool's message, and the images in it, which chat takes from users only."""
    call_id = text(block, "tool_use_id", f"{place}.tool_use_id")
    if call_id not in called:
        raise invalid(
            f"{place}.tool_use_id",
            f"`{place}.tool_use_id` is {shown(call_id)}, but no tool_use block before it has that id: send the "
            "assistant message with its tool_use blocks, then the results.",
        )
    content, images, parts = block.get("content"), [], []
    if isinstance(content, list):
        for spot, inner in items(content, f"{place}.content", at_most=MAX_PARTS):
            part = _part(_kind(inner, spot), inner, spot)
            if part and part["type"] == "text":
                parts.append(part)
            elif part:
                images.append(part)
        result: str | list[Body] = _joined(parts) or ("(see the image)" if images else "")
    elif content is None or isinstance(content, str):
        result = content or ""
    else:
        raise invalid(f"{place}.content", f"`{place}.content` must be a string or a list of blocks.")
    if block.get("is_error") and isinstance(result, str):
        result = f"Error: {result}"
    return {"role": "tool", "tool_call_id": call_id, "content": result, **_marks(block)}, images


def _part(kind: str, block: Body, place: str) -> Body | None:
    """A part of a message in chat's shape; None for a block that chat has no word for."""
    if kind == "text":
        return _text(block, place)
    if kind == "image":
        return {"type": "image_url", "image_url": {"url": _image(block, place)}, **_marks(block)}
    if kind == "document":
        return _document(block, place)
    if kind == "search_result":
        found = [part.get("text") for _, part in items(block.get("content") or [], f"{place}.content")]
        said = "\n".join(piece for piece in (block.get("title"), block.get("source"), *found) if isinstance(piece, str))
        return {"type": "text", "text": said, **_marks(block)}
    return None


def _text(block: Body, place: str) -> Body:
    return {"type": "text", "text": string(block, "text", f"{place}.text"), **_marks(block)}


def _image(block: Body, place: str) -> str:
    place = f"{place}.source"
    source = mapping(block, "source", place)
    kind = source.get("type")
    if kind == "url":
        return text(source, "url", f"{place}.url")
    if kind == "file":
        raise invalid(place, f"`{place}` refers to a stored file, and nothing is stored here: send the data.")
    one_of(kind, ("base64", "url"), f"{place}.type")
    media_type = text(source, "media_type", f"{place}.media_type")
    return f"data:{media_type};base64,{text(source, 'data', f'{place}.data')}"


def _document(block: Body, place: str) -> Body:
    place, title = f"{place}.source", string(block, "title", f"{place}.title", required=False)
    source = mapping(block, "source", place)
    kind = one_of(source.get("type"), ("base64", "text", "content", "url", "file"), f"{place}.type")
    if kind == "base64":
        data = (
            f"data:{text(source, 'media_type', f'{place}.media_type')};base64,{text(source, 'data', f'{place}.data')}"
        )
        return {"type": "file", "file": {"file_data": data, "filename": title or "document.pdf"}, **_marks(block)}
    if kind == "text":
        said = string(source, "data", f"{place}.data") or ""
    elif kind == "content":
        inner = source.get("content")
        blocks = inner if isinstance(inner, list) else []
        said = (
            inner
            if isinstance(inner, str)
            else "\n".join(str(b.get("text", "")) for b in blocks if isinstance(b, dict))
        )
    else:
        raise invalid(f"{place}.type", f"`{place}.type` {shown(kind)} is not supported: send the document's data.")
    return {"type": "text", "text": f"{title}\n\n{said}" if title else said, **_marks(block)}


def _joined(parts: list[Body]) -> Any:
    """A string for a lone text without marks; None for nothing; else the parts."""
    if len(parts) == 1 and set(parts[0]) == {"type", "text"}:
        return parts[0]["text"]
    return parts or None


def _kind(block: Body, place: str) -> str:
    return text(block, "type", f"{place}.type")


def _marks(block: Body) -> dict[str, Any]:
    return {"cache_control": block["cache_control"]} if block.get("cache_control") is not None else {}
