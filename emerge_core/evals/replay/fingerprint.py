"""Recognises a recorded request in the wire format of any provider.

Providers translate a conversation, each in its own way: they join system messages or set them apart, merge
neighbours of one role, send tool results as the user's, append JSON instructions to the system text. The
fingerprint covers what all of them keep: the turns by speaker, with white space normalised, with tool calls
and images. The system text (`system_of`) and what the request demands of the reply (`demands_of`: its tools
and the JSON schema) are compared apart.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emerge_core.evals.replay.extra_text import normalised
from emerge_core.types import text_of

Message = Mapping[str, Any]


def fingerprint(messages: Sequence[Message]) -> str:
    """The hash of a conversation, in OpenAI's, Anthropic's or Ollama's shape: the same for all three."""
    turns: list[tuple[str, list[str], list[str]]] = []
    for message in messages[len(_leading(messages)) :]:
        speaker = "assistant" if message.get("role") == "assistant" else "user"
        if not turns or turns[-1][0] != speaker:
            turns.append((speaker, [], []))
        turns[-1][1].extend(_texts(message.get("content")))
        turns[-1][2].extend(_attached(message))
    plain = [[speaker, normalised(" ".join(words)), sorted(more)] for speaker, words, more in turns]
    return hashlib.sha256(json.dumps(plain or [["user", system_of(messages), []]]).encode()).hexdigest()


def system_of(messages: Sequence[Message]) -> str:
    """The text of the system messages that the conversation begins with, white space normalised. Later ones are part
    of a turn: an API that has one system text alone is sent them as the user's, in their place."""
    return normalised(" ".join(text_of(message.get("content")) for message in _leading(messages)))


def _leading(messages: Sequence[Message]) -> Sequence[Message]:
    """The system messages before the first turn."""
    roles = [message.get("role") in ("system", "developer") for message in messages]
    return messages[: roles.index(False) if False in roles else len(roles)]


@dataclass(frozen=True, slots=True)
class Demands:
    """What a request offers and demands: tools as canonical JSON, the JSON schema or "json" for any object."""

    tools: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()  # of the tools
    schema: str | None = None
    rewritten: bool = False  # the schema is in a provider's own subset, so it equals no recorded one


def demands_of(body: Mapping[str, Any]) -> Demands:
    """Read from the body of a request in OpenAI's, Anthropic's or Ollama's shape."""
    functions = [] if body.get("tool_choice") == "none" else [_function(tool) for tool in _blocks(body.get("tools"))]
    output = body.get("output_config")
    native = output.get("format") if isinstance(output, Mapping) else None
    return Demands(
        tools=frozenset(json.dumps(function, sort_keys=True) for function in functions),
        names=frozenset(str(function[0]) for function in functions),
        schema="json" if native else _schema(body),
        rewritten=bool(native),
    )


def called_in(messages: Sequence[Message]) -> set[str]:
    """Names of the tools that a conversation has already called."""
    uses = [block for message in messages for block in _blocks(message.get("content"))]
    found = {str(block.get("name")) for block in uses if block.get("type") == "tool_use"}
    for message in messages:
        functions = [call.get("function") for call in _blocks(message.get("tool_calls"))]
        found |= {str(function.get("name")) for function in functions if isinstance(function, Mapping)}
    return found


def _function(tool: Message) -> list[Any]:
    function = tool.get("function") if isinstance(tool.get("function"), Mapping) else tool
    assert isinstance(function, Mapping)  # noqa: S101
    parameters = function.get("parameters") or function.get("input_schema")
    shape = {"type": "object", **parameters} if isinstance(parameters, Mapping) else {"type": "object"}
    return [function.get("name"), function.get("description"), shape]


def _schema(body: Mapping[str, Any]) -> str | None:
    asked = body.get("response_format")
    if isinstance(asked, Mapping):
        if asked.get("type") == "json_object":
            return "json"
        named = asked.get("json_schema")
        return json.dumps(named.get("schema") or {}, sort_keys=True) if isinstance(named, Mapping) else None
    asked = body.get("format")  # Ollama's
    if isinstance(asked, Mapping):
        return json.dumps(asked, sort_keys=True)
    return "json" if asked == "json" else None


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
