"""Whether tool calls are among the accepted ones.

An accepted answer is JSON: a list of calls, `[]` for "makes no call". A call is `{"name": …, "arguments": {…}}`, or
`{"name": {…}}` as in the Berkeley Function-Calling Leaderboard. Every argument has a list of accepted values, `""`
among them if it may be left out. Values are equal if calls with them have the same answer key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from emerge_core.answers import Extractor
from emerge_core.types import Completion, ToolCall

LEFT_OUT = ""


class _Accepted(NamedTuple):
    name: str
    arguments: Mapping[str, Any]


def accepts(extractor: Extractor, calls: Sequence[ToolCall], answer: str) -> bool:
    """Whether the calls are those of one accepted answer, in any order."""
    wanted = _read(answer)
    if wanted is None or len(wanted) != len(calls):
        return False
    return _matches(extractor, list(calls), wanted)


def _matches(extractor: Extractor, calls: list[ToolCall], wanted: list[_Accepted]) -> bool:
    if not calls:
        return True
    first, others = calls[0], calls[1:]
    return any(
        _fits(extractor, first, each) and _matches(extractor, others, wanted[:place] + wanted[place + 1 :])
        for place, each in enumerate(wanted)
    )


def _fits(extractor: Extractor, call: ToolCall, wanted: _Accepted) -> bool:
    arguments = _object(call.arguments or "{}")
    if arguments is None or call.name != wanted.name:
        return False
    if any(name not in wanted.arguments for name in arguments):
        return False
    return all(
        _accepted(extractor, call.name, name, arguments[name], values)
        if name in arguments
        else LEFT_OUT in _listed(values)
        for name, values in wanted.arguments.items()
    )


def _accepted(extractor: Extractor, tool: str, name: str, said: Any, values: Any) -> bool:
    return any(_same(extractor, tool, name, said, value) for value in _listed(values))


def _same(extractor: Extractor, tool: str, name: str, said: Any, value: Any) -> bool:
    if _key(extractor, tool, {name: said}) == _key(extractor, tool, {name: value}):
        return True
    if isinstance(said, dict) and isinstance(value, dict):  # the fields of an object, each with its accepted values
        return said.keys() <= value.keys() and all(
            _accepted(extractor, tool, name, said[field], accepted) if field in said else LEFT_OUT in _listed(accepted)
            for field, accepted in value.items()
        )
    if isinstance(said, list) and isinstance(value, list) and len(said) == len(value):
        return bool(said) and all(
            isinstance(b, dict) and _same(extractor, tool, name, a, b) for a, b in zip(said, value, strict=True)
        )
    return False


def _key(extractor: Extractor, tool: str, arguments: Mapping[str, Any]) -> object:
    call = ToolCall(id="", name=tool, arguments=json.dumps(arguments))
    return extractor.key(Completion(tool_calls=(call,), finish_reason="tool_calls"))


def _listed(values: Any) -> list[Any]:
    return values if isinstance(values, list) else [values]


def _object(text: str) -> Mapping[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _read(answer: str) -> list[_Accepted] | None:
    try:
        listed = json.loads(answer)
    except (ValueError, RecursionError):
        return None
    if not isinstance(listed, list):
        return None
    found = []
    for each in listed:
        if not isinstance(each, dict):
            return None
        if isinstance(each.get("name"), str) and isinstance(each.get("arguments", {}), dict):
            found.append(_Accepted(each["name"], each.get("arguments", {})))
        elif len(each) == 1 and isinstance(next(iter(each.values())), dict):
            found.append(_Accepted(*next(iter(each.items()))))
        else:
            return None
    return found
