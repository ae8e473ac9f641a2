"""Recognising a recorded request in whatever wire format it comes back.

Providers translate a conversation, each in its own way: system messages are joined or set apart,
neighbours of one role merged, tool results told as the user's, JSON instructions appended to the
system text. The fingerprint is made of what all of them leave alone: the turns, by speaker, with
white space evened out, with tool calls and images. The system text is compared apart (`system_of`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from emerge_core.evals.replay.extra_text import normalised
from emerge_core.types import text_of

Message = Mapping[str, Any]


def fingerprint(messages: Sequence[Message]) -> str:
    """The hash of a conversation, in OpenAI's, Anthropic's or Ollama's shape: the same for all three."""
    turns: list[tuple[str, list[str], list[str]]] = []
    for message in messages:
        if message.get("role") in ("system", "developer"):
            continue
        speaker = "assistant" if message.get("role") == "assistant" else "user"
        if not turns or turns[-1][0] != speaker:
            turns.append((speaker, [], []))
        turns[-1][1].extend(_texts(message.get("content")))
        turns[-1][2].extend(_attached(message))
    plain = [[speaker, normalised(" ".join(words)), sorted(more)] for speaker, words, more in turns]
    return hashlib.sha256(json.dumps(plain or [["user", system_of(messages), []]]).encode()).hexdigest()


def system_of(messages: Sequence[Message]) -> str:
    """The text of the system messages, evened out."""
    return normalised(" ".join(text_of(m.get("content")) for m in messages if m.get("role") in ("system", "developer")))


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    for block in _blocks(content):
        if block.get("type") == "tool_result":
            yield from _texts(block.get("content"))
        elif block.get("type") in ("text", "refusal"):
            yield str(block.get(block["type"]))


def _attached(message: Message) -> Iterator[str]:
    """Tool calls and images, which stand in different places."""
    for block in _blocks(message.get("content")):
        if block.get("type") == "tool_use":
            yield _call(block.get("name"), block.get("input"))
        elif block.get("type") in ("image_url", "image"):
            yield _image(block.get("image_url") or block.get("source"))
    yield from map(_image, message.get("images") or ())
    for call in _blocks(message.get("tool_calls")):
        function = call.get("function")
        if isinstance(function, Mapping):
            yield _call(function.get("name"), function.get("arguments"))


def _blocks(content: Any) -> Iterator[Message]:
    if isinstance(content, (list, tuple)):
        yield from (block for block in content if isinstance(block, Mapping))


def _call(name: Any, arguments: Any) -> str:
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            arguments = {"arguments": arguments}  # as the providers that need an object are sent it
    return f"{name} {json.dumps(arguments or {}, sort_keys=True)}"


def _image(image: Any) -> str:
    """A picture's address, or its bytes in base64, of whatever media type."""
    if isinstance(image, Mapping):
        image = image.get("url") or image.get("data")
    return hashlib.sha256(str(image).rpartition("base64,")[2].encode()).hexdigest()
