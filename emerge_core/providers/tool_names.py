"""Names of tools that are longer than a provider allows.

Anthropic takes 128 characters, and coding agents that prefix a tool's name with its server's use them; OpenAI, Bedrock
and most compatible servers take 64. For these a name is cut and ends in a digest of the whole name, the same on every
turn, and what comes back has the whole name again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from emerge_core.types import ChatRequest, Completion, Delta, JsonObject

_DIGEST = 8  # hexadecimal digits


class ToolNames:
    """The long names in one request, for a provider that takes names of `longest` characters (None: any)."""

    def __init__(self, request: ChatRequest, longest: int | None) -> None:
        long = {name for name in _names(request) if longest is not None and len(name) > longest}
        self._short = {name: _cut(name, longest or 0) for name in long}
        self._whole = {short: name for name, short in self._short.items()}

    def shorten(self, request: ChatRequest) -> ChatRequest:
        """The very same request if none of its names is too long."""
        if not self._short:
            return request
        choice = request.tool_choice
        return replace(
            request,
            tools=tuple(self._in_function(tool) for tool in request.tools),
            tool_choice=self._in_function(choice) if isinstance(choice, Mapping) else choice,
            messages=tuple(self._in_message(message) for message in request.messages),
        )

    def restore(self, completion: Completion) -> Completion:
        if not self._whole or not completion.tool_calls:
            return completion
        calls = (replace(call, name=self._whole.get(call.name, call.name)) for call in completion.tool_calls)
        return replace(completion, tool_calls=tuple(calls))

    def restore_delta(self, delta: Delta) -> Delta:
        if not self._whole or not delta.tool_calls:
            return delta
        parts = (replace(part, name=self._whole.get(part.name, part.name)) for part in delta.tool_calls)
        return replace(delta, tool_calls=tuple(parts))

    def _in_message(self, message: JsonObject) -> JsonObject:
        calls = message.get("tool_calls")
        return {**message, "tool_calls": [self._in_function(call) for call in calls]} if calls else message

    def _in_function(self, holder: JsonObject) -> JsonObject:
        """A tool, a call or a choice, whose `function` has the name."""
        name = _name_in(holder)
        return (
            {**holder, "function": {**holder["function"], "name": self._short[name]}} if name in self._short else holder
        )


def _cut(name: str, longest: int) -> str:
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST]
    return f"{name[: longest - _DIGEST - 1]}_{digest}"


def _names(request: ChatRequest) -> Iterator[str]:
    for tool in request.tools:
        yield _name_in(tool)
    for message in request.messages:
        for call in message.get("tool_calls") or ():
            yield _name_in(call)


def _name_in(holder: Any) -> str:
    function = holder.get("function") if isinstance(holder, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    return name if isinstance(name, str) else ""
