"""Keys of tool calls: the multiset of names and canonical arguments, with the schema's defaults filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emerge_core.answers.forms import json_keys
from emerge_core.answers.json_schema import schema_fault
from emerge_core.types import AnswerKey, ChatRequest, ToolCall


class Tools:
    """The tools that a request offers, and what it demands of the reply."""

    def __init__(self, request: ChatRequest) -> None:
        self.schemas: dict[str, Mapping[str, Any]] = {}
        for tool in request.tools if request.offers_tools else ():
            function = tool.get("function")
            if isinstance(function, Mapping) and isinstance(function.get("name"), str):
                parameters = function.get("parameters")
                self.schemas[function["name"]] = parameters if isinstance(parameters, Mapping) else {}
        choice = request.tool_choice
        self.named: str | None = None
        if isinstance(choice, Mapping):
            function = choice.get("function")
            name = function.get("name") if isinstance(function, Mapping) else choice.get("name")
            self.named = name if isinstance(name, str) else None
        self.demanded = request.offers_tools and (choice == "required" or self.named is not None)
        self.parallel = request.parallel_tool_calls is not False

    def fault(self, calls: Sequence[ToolCall]) -> str | None:
        """What is wrong with the calls, or None."""
        if not self.schemas:
            return "no tools were offered"
        if len(calls) > 1 and not self.parallel:
            return "several calls at once, which the request forbids"
        for call in calls:
            if call.name not in self.schemas:
                return f"{call.name[:64]!r} is not one of the offered tools"
            if self.named is not None and call.name != self.named:
                return f"{call.name[:64]!r} was called, {self.named!r} was demanded"
            arguments = json_keys.parse(call.arguments or "{}")
            if arguments is None or not isinstance(arguments[0], dict):
                return f"the arguments of {call.name!r} are not a JSON object"
            if wrong := schema_fault(arguments[0], self.schemas[call.name]):
                return f"{call.name}: {wrong}"
        return None

    def key(self, calls: Sequence[ToolCall]) -> AnswerKey | None:
        found = []
        for call in calls:
            arguments = json_keys.parse(call.arguments or "{}")
            if arguments is None:
                return None
            filled = _filled(arguments[0], self.schemas.get(call.name, {}))
            found.append(json_keys.canonical([call.name, filled]))
        return AnswerKey("tools", "[" + ",".join(sorted(found)) + "]")


def names_key(calls: Sequence[ToolCall]) -> AnswerKey:
    """The names alone: what is voted on when no majority agrees on the arguments."""
    return AnswerKey("names", json_keys.canonical(sorted(call.name for call in calls)))


def _filled(value: Any, schema: Any, depth: int = 0) -> Any:
    """The value with the defaults of its schema where it leaves a property out."""
    if depth > 20 or not isinstance(schema, Mapping):
        return value
    if isinstance(value, dict):
        properties = schema.get("properties")
        if not isinstance(properties, Mapping):
            return value
        filled = {name: _filled(item, properties.get(name), depth + 1) for name, item in value.items()}
        for name, part in properties.items():
            if name not in filled and isinstance(part, Mapping) and "default" in part:
                filled[name] = part["default"]
        return filled
    if isinstance(value, list):
        return [_filled(item, schema.get("items"), depth + 1) for item in value]
    return value
