"""From the tools of a response to chat's function tools, and from calls back to items.

Tools that the provider itself would run are left out and named. The tools of a namespace are offered under one flat
name each; a custom tool, which takes free text, becomes a function with one string.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from emerge_core.api.errors import invalid
from emerge_core.api.fields import Body, items, one_of, shown, text
from emerge_core.api.limits import MAX_TOOLS
from emerge_core.api.tools import chosen_tool, functions, read_tool_choice
from emerge_core.types import ToolCall

_OF_FUNCTION = ("name", "description", "parameters", "strict")
_FREE_TEXT = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}


class Tools(NamedTuple):
    """Function tools in chat's shape, and how they were called by the client."""

    functions: tuple[Body, ...] = ()
    custom: frozenset[str] = frozenset()  # names of tools that take free text
    namespaces: dict[str, tuple[str, str]] = {}  # flat name → namespace and name in it  # noqa: RUF012
    dropped: tuple[str, ...] = ()  # as `dropped_params` names them

    def item_of(self, call: ToolCall, *, id_: str, status: str) -> dict[str, Any]:
        """The output item of a call."""
        item = {"id": id_, "type": "function_call", "status": status, "call_id": call.id}
        if call.name in self.custom:
            return {**item, "type": "custom_tool_call", "name": call.name, "input": free_text(call.arguments)}
        namespace, name = self.namespaces.get(call.name, (None, call.name))
        item |= {"name": name, "arguments": call.arguments}
        item |= {"namespace": namespace} if namespace else {}
        return item | ({"extra_content": dict(call.extra_content)} if call.extra_content else {})


def flat_name(namespace: str, name: str) -> str:
    return f"{namespace}__{name}"


def free_text(arguments: str) -> str:
    """The text of a custom tool's call, whose arguments are `{"input": text}`; anything else as it is."""
    try:
        value = json.loads(arguments)["input"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return arguments
    return value if isinstance(value, str) else arguments


def read_tools(value: Any) -> Tools:
    """Raises RequestError, a 400 that names the tool; also if no tool is left."""
    if value is None:
        return Tools()
    custom: set[str] = set()
    namespaces: dict[str, tuple[str, str]] = {}
    dropped: list[str] = []
    flat = list(_flattened(value, custom, namespaces, dropped))
    named = functions(flat, lambda tool, _: (tool["function"], tool["place"]))
    offered = tuple({"type": "function", "function": _given(function)} for _, function in named)
    if dropped and not offered:
        place = "tools[0].type"
        raise invalid(
            place,
            f"`{place}`: no tool is left. {', '.join(dropped)} would run at the provider, and none run here. Send "
            'tools of the type "function", which your side runs.',
            code="unsupported_value",
        )
    return Tools(offered, frozenset(custom), namespaces, tuple(f"tools.{name}" for name in dropped))


def _given(function: Body) -> Body:
    return {name: function[name] for name in _OF_FUNCTION if function.get(name) is not None}


def _flattened(
    value: Any, custom: set[str], namespaces: dict[str, tuple[str, str]], dropped: list[str]
) -> Iterator[Body]:
    for place, tool in items(value, "tools", at_most=MAX_TOOLS):
        kind = tool.get("type")
        if not isinstance(kind, str):
            one_of(kind, ("function",), f"{place}.type")
        if kind == "function":
            yield {"function": tool, "place": place}
        elif kind == "custom":
            name = text(tool, "name", f"{place}.name")
            custom.add(name)
            function = {"name": name, "description": _custom_description(tool), "parameters": _FREE_TEXT}
            yield {"function": function, "place": place}
        elif kind == "namespace":
            namespace = text(tool, "name", f"{place}.name")
            for spot, inner in items(tool.get("tools"), f"{place}.tools", at_most=MAX_TOOLS):
                if inner.get("type") != "function":
                    dropped.append(f"{namespace}.{str(inner.get('type'))[:60]}")
                    continue
                name = text(inner, "name", f"{spot}.name")
                namespaces[flat_name(namespace, name)] = namespace, name
                yield {"function": {**inner, "name": flat_name(namespace, name)}, "place": spot}
        else:
            dropped.append(str(kind)[:60])


def _custom_description(tool: Body) -> str:
    described = tool.get("description")
    parts = [described if isinstance(described, str) else "", "Put the whole text into `input`."]
    syntax = tool.get("format")
    if isinstance(syntax, dict) and syntax.get("type") == "grammar" and isinstance(syntax.get("definition"), str):
        parts.append(f"It must follow this grammar ({syntax.get('syntax')}):\n{syntax['definition']}")
    return "\n\n".join(filter(None, parts))


def read_choice(value: Any, tools: Tools) -> tuple[tuple[Body, ...], str | Body | None]:
    """The tools that may be called, and the choice among them, in chat's shape."""
    offered = tools.functions
    if not offered or not isinstance(value, dict):
        return offered, read_tool_choice(value, offered)
    place, kind = "tool_choice", value.get("type")
    if isinstance(kind, str) and f"tools.{kind}" in tools.dropped:
        raise invalid(
            f"{place}.type", f"`{place}` forces {shown(kind)}, which would run at the provider: none run here."
        )
    if one_of(kind, ("function", "custom", "allowed_tools"), f"{place}.type") != "allowed_tools":
        return offered, {"type": "function", "function": {"name": chosen_tool(_flat_choice(value), place, offered)}}
    mode = one_of(value.get("mode"), ("auto", "required"), f"{place}.mode")
    listed = items(value.get("tools"), f"{place}.tools", at_least=1)
    allowed = {
        chosen_tool(_flat_choice(tool), spot, offered)
        for spot, tool in listed
        if f"tools.{tool.get('type')}" not in tools.dropped
    }
    if not allowed:
        raise invalid(f"{place}.tools", f"`{place}.tools` allows only tools that would run at the provider.")
    return tuple(tool for tool in offered if tool["function"]["name"] in allowed), mode


def _flat_choice(chosen: Body) -> Body:
    namespace, name = chosen.get("namespace"), chosen.get("name")
    if isinstance(namespace, str) and isinstance(name, str):
        return {**chosen, "name": flat_name(namespace, name)}
    return chosen
