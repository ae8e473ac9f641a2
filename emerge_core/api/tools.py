"""Checks the fields that shape the answer: tools, the choice among them, and the response format."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from emerge_core.api.errors import invalid
from emerge_core.api.fields import Body, boolean, items, mapping, one_of, shown, string, text
from emerge_core.api.json_schemas import PatternCheck, why_invalid
from emerge_core.api.limits import MAX_TOOLS, bound_schema

_NAME = re.compile(r"[A-Za-z0-9_-]+")
LONGEST_NAME = 64  # characters of a name, as OpenAI documents it


def read_tools(value: Any) -> tuple[Body, ...]:
    return tuple(tool for tool, _ in functions(value, _nested))


def functions(
    value: Any, find: Callable[[Body, str], tuple[Body, str] | None], *, longest_name: int = LONGEST_NAME
) -> Iterator[tuple[Body, Body]]:
    """Each of the tools with its function. `find` returns the function's part of a tool and its place, which differ
    between the surfaces, or None for a tool that is no function."""
    if value is None:
        return
    names: set[str] = set()
    patterns = PatternCheck()
    for place, tool in items(value, "tools", at_most=MAX_TOOLS):
        found = find(tool, place)
        if found is None:
            continue
        function, place = found
        _check_function(function, place, names, patterns, longest_name)
        yield tool, function


def _nested(tool: Body, place: str) -> tuple[Body, str]:
    one_of(tool.get("type"), ("function",), f"{place}.type")
    place = f"{place}.function"
    return mapping(tool, "function", place), place


def _check_function(function: Body, place: str, names: set[str], patterns: PatternCheck, longest_name: int) -> None:
    """`names` holds the names of the functions before this one, whose name is added."""
    name = read_name(function, place, longest_name)
    if name in names:
        raise invalid(f"{place}.name", f"`{place}.name` {shown(name)} is taken by an earlier tool: rename one.")
    names.add(name)
    string(function, "description", f"{place}.description", required=False)
    boolean(function, "strict", f"{place}.strict")
    if function.get("parameters") is not None:
        _check_schema(function, "parameters", f"{place}.parameters", patterns)


def read_tool_choice(value: Any, tools: tuple[Body, ...]) -> str | Body | None:
    """Without tools, "none" and "auto" count as absent, and anything else is refused."""
    if value is None or (not tools and value in ("none", "auto")):
        return None
    place = "tool_choice"
    if not tools:
        raise invalid(place, "`tool_choice` needs `tools`: send them, or leave it out.")
    if isinstance(value, str):
        return one_of(value, ("none", "auto", "required"), place)
    if not isinstance(value, dict):
        raise invalid(place, f'`{place}` must be "none", "auto", "required" or an object, not {shown(value)}.')
    one_of(value.get("type"), ("function",), f"{place}.type")
    chosen_tool(mapping(value, "function", f"{place}.function"), f"{place}.function", tools)
    return value


def chosen_tool(chosen: Body, place: str, tools: tuple[Body, ...]) -> str:
    """The name of one of the request's tools."""
    name = text(chosen, "name", f"{place}.name")
    known = [tool["function"]["name"] for tool in tools]
    if name not in known:
        raise invalid(
            f"{place}.name",
            f"`{place}.name` {shown(name)} names no tool of this request. Its tools: {', '.join(known)}.",
        )
    return name


def read_response_format(value: Any) -> Body | None:
    if value is None:
        return None
    place = "response_format"
    if not isinstance(value, dict):
        raise invalid(place, f'`{place}` must be an object such as {{"type": "json_object"}}, not {shown(value)}.')
    kind = one_of(value.get("type"), ("text", "json_object", "json_schema"), f"{place}.type")
    if kind == "text":
        return None  # the default: nothing is sent to a provider
    if kind == "json_schema":
        check_json_schema(mapping(value, "json_schema", f"{place}.json_schema"), f"{place}.json_schema")
    return value


def check_json_schema(wanted: Body, place: str) -> None:
    read_name(wanted, place)
    boolean(wanted, "strict", f"{place}.strict")
    _check_schema(wanted, "schema", f"{place}.schema", PatternCheck())


def read_name(body: Body, place: str, longest: int = LONGEST_NAME) -> str:
    name = text(body, "name", f"{place}.name")
    if len(name) > longest or not _NAME.fullmatch(name):
        raise invalid(
            f"{place}.name",
            f"`{place}.name` must be 1 to {longest} letters, digits, underscores or dashes, not {shown(name)}.",
        )
    return name


def _check_schema(body: Body, name: str, place: str, patterns: PatternCheck) -> None:
    schema = mapping(body, name, place)
    bound_schema(schema, place)
    fault = why_invalid(schema) or patterns.fault(schema)
    if fault:
        raise invalid(place, f"`{place}` is not a valid JSON schema: {fault}.")
