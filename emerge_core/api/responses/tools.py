"""From the tools of a response to chat's function tools, and from calls back to items.

Tools that the provider itself would run are left out and named. The tools of a namespace are offered under one flat
name each; a custom tool, which takes free text, becomes a function with one string. Coding agents also send tools as
items of the input (`additional_tools`): they are offered like the others.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from emerge_core.api.errors import invalid
from emerge_core.api.fields import Body, items, one_of, shown
from emerge_core.api.limits import MAX_TOOLS
from emerge_core.api.tools import LONGEST_NAME, chosen_tool, functions, read_name, read_tool_choice
from emerge_core.types import ToolCall

ADDITIONAL_TOOLS = "additional_tools"  # the type of an input item
_LONGEST_NAME = 2 * LONGEST_NAME + 2  # characters of a flat name: a namespace's and a tool's
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
    custom: frozenset[str] = frozenset()  # flat names of tools that take free text
    namespaces: dict[str, tuple[str, str]] = {}  # flat name → namespace and name in it  # noqa: RUF012
    dropped: tuple[str, ...] = ()  # as `dropped_params` names them

    def item_of(self, call: ToolCall, *, id_: str, status: str) -> dict[str, Any]:
        """The output item of a call."""
        namespace, name = self.namespaces.get(call.name, (None, call.name))
        item = {"id": id_, "type": "function_call", "status": status, "call_id": call.id, "name": name}
        item |= {"namespace": namespace} if namespace else {}
        if call.name in self.custom:
            return {**item, "type": "custom_tool_call", "input": free_text(call.arguments)}
        item["arguments"] = call.arguments
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


def read_tools(value: Any, input_: Any = None) -> Tools:
    """The tools of the body and of the items in its input; of an item's tool that was sent before, the later one
    counts. Raises RequestError, a 400 that names the tool; also if no tool is left."""
    custom: set[str] = set()
    namespaces: dict[str, tuple[str, str]] = {}
    dropped: list[str] = []
    flat = [] if value is None else list(_flattened(value, "tools", custom, namespaces, dropped))
    added: dict[Any, Body] = {}
    for place, tools in _added(input_):
        for tool in _flattened(tools, place, custom, namespaces, dropped):
            added[tool["function"].get("name")] = tool
    flat = [tool for tool in flat if tool["function"].get("name") not in added] + [*added.values()]
    named = functions(flat, lambda tool, _: (tool["function"], tool["place"]), longest_name=_LONGEST_NAME)
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


def _added(input_: Any) -> Iterable[tuple[str, Any]]:
    """The places and tools of the input's `additional_tools` items."""
    for index, item in enumerate(input_ if isinstance(input_, list) else ()):
        if isinstance(item, dict) and item.get("type") == ADDITIONAL_TOOLS and item.get("tools") is not None:
            yield f"input[{index}].tools", item["tools"]


def _flattened(
    value: Any, listed: str, custom: set[str], namespaces: dict[str, tuple[str, str]], dropped: list[str]
) -> Iterator[Body]:
    """Function tools with their places. The sets and lists take what must be known of them."""
    for place, tool in items(value, listed, at_most=MAX_TOOLS):
        kind = tool.get("type")
        if not isinstance(kind, str):
            one_of(kind, ("function",), f"{place}.type")
        if kind == "function":
            read_name(tool, place)
            yield {"function": tool, "place": place}
        elif kind == "custom":
            custom.add(read_name(tool, place))
            yield {"function": _taking_text(tool), "place": place}
        elif kind == "namespace":
            namespace = read_name(tool, place)
            for spot, inner in items(tool.get("tools"), f"{place}.tools", at_most=MAX_TOOLS):
                if inner.get("type") not in ("function", "custom"):
                    dropped.append(f"{namespace}.{str(inner.get('type'))[:60]}")
                    continue
                name = read_name(inner, spot)
                flat = flat_name(namespace, name)
                namespaces[flat] = namespace, name
                if inner["type"] == "custom":
                    custom.add(flat)
                    inner = _taking_text(inner)
                yield {"function": {**inner, "name": flat}, "place": spot}
        else:
            dropped.append(str(kind)[:60])


def _taking_text(tool: Body) -> Body:
    """A custom tool as a function of one string."""
    return {"name": tool["name"], "description": _custom_description(tool), "parameters": _FREE_TEXT}


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
