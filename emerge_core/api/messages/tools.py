"""From Anthropic's tools and tool choice to chat's."""

from __future__ import annotations

from typing import Any, NamedTuple

from emerge_core.api.errors import invalid
from emerge_core.api.fields import Body, boolean, mapping, one_of, shown
from emerge_core.api.tools import functions

_LONGEST_NAME = 128  # characters of a tool's name, as Anthropic has it
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


class OfferedTools(NamedTuple):
    tools: tuple[Body, ...]
    choice: str | Body | None
    parallel: bool | None


def read_tools(value: Any, choice: Any) -> OfferedTools:
    """Tools that Anthropic itself runs or defines (they have a `type` of their own) are offered to its members only.
    An empty list is none. Raises RequestError."""
    tools: list[Body] = []
    for tool, function in functions(value, _function, longest_name=_LONGEST_NAME):
        marks = {"cache_control": tool["cache_control"]} if tool.get("cache_control") is not None else {}
        tools.append({"type": "function", "function": function, **marks})
    wanted = _choice(choice, {tool["function"]["name"] for tool in tools}, some=bool(value))
    parallel = None
    if tools and isinstance(choice, dict) and boolean(choice, "disable_parallel_tool_use"):
        parallel = False
    return OfferedTools(tuple(tools), wanted if tools else None, parallel)


def _function(tool: Body, place: str) -> tuple[Body, str] | None:
    if tool.get("type") not in (None, "custom"):
        return None
    known = ("name", "description", "strict")
    function = {name: tool[name] for name in known if tool.get(name) is not None}
    return {**function, "parameters": mapping(tool, "input_schema", f"{place}.input_schema")}, place


def _choice(choice: Any, names: set[str], *, some: bool) -> str | Body | None:
    if choice is None:
        return None
    if not isinstance(choice, dict):
        raise invalid("tool_choice", f"`tool_choice` must be an object, not {shown(choice)}.")
    kind = one_of(choice.get("type"), (*_CHOICES, "tool"), "tool_choice.type")
    if not some and kind in ("any", "tool"):
        raise invalid("tool_choice", "`tool_choice` needs `tools`: send them, or leave it out.")
    if kind != "tool":
        return _CHOICES[kind]
    name = choice.get("name")
    if not isinstance(name, str) or not name:
        raise invalid("tool_choice.name", "`tool_choice.name` is missing.")
    if name not in names:
        message = f"`tool_choice.name` {shown(name)} names no tool of this request that the client runs."
        raise invalid("tool_choice.name", message)
    return {"type": "function", "function": {"name": name}}
