"""Reads single fields of a request body: the value, or a 400 that names the field and says the fix.

JSON's null means absent, as with OpenAI. A boolean is not a number.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from emerge_core.api.errors import invalid

Body = Mapping[str, Any]
_ENCODER = json.JSONEncoder(ensure_ascii=False, default=repr)


def shown(value: Any) -> str:
    """A value as an error message shows it: its JSON, cut short."""
    text = ""
    for piece in _ENCODER.iterencode(value[:60] if isinstance(value, str) else value):
        text += piece[:60]
        if len(text) > 60:
            return f"{text[:57]}..."
    return text if not isinstance(value, str) or len(value) <= 60 else f"{text[:57]}..."


def boolean(body: Body, name: str, place: str | None = None) -> bool | None:
    value = body.get(name)
    if value is None or value is True or value is False:
        return value
    raise invalid(place or name, f"`{place or name}` must be true or false, not {shown(value)}.")


def integer(body: Body, name: str, low: int, high: int) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise invalid(name, f"`{name}` must be an integer, not {shown(value)}.")
    if not low <= value <= high:
        raise invalid(name, f"`{name}` must be between {low} and {high}, not {shown(value)}.")
    return value


def number(body: Body, name: str, low: float, high: float) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise invalid(name, f"`{name}` must be a number, not {shown(value)}.")
    if not low <= value <= high:
        raise invalid(name, f"`{name}` must be between {low:g} and {high:g}, not {shown(value)}.")
    return float(value)


def string(body: Body, name: str, place: str, *, required: bool = True) -> str | None:
    value = body.get(name)
    if value is None and not required:
        return None
    if not isinstance(value, str):
        raise invalid(place, f"`{place}` must be a string, not {shown(value)}." if name in body else _missing(place))
    return value


def text(body: Body, name: str, place: str) -> str:
    """A string that must be there and must not be empty."""
    value = string(body, name, place)
    if not value:
        raise invalid(place, f"`{place}` must not be empty.")
    return value


def mapping(body: Body, name: str, place: str) -> Body:
    value = body.get(name)
    if not isinstance(value, dict):
        raise invalid(place, f"`{place}` must be an object, not {shown(value)}." if name in body else _missing(place))
    return value


def items(value: Any, place: str, *, at_least: int = 0, at_most: int | None = None) -> Iterable[tuple[str, Body]]:
    """The objects of a list, each with its place: `tools[0]`, `tools[1]`."""
    if not isinstance(value, list):
        raise invalid(place, f"`{place}` must be a list of objects, not {shown(value)}.")
    if len(value) < at_least:
        raise invalid(place, f"`{place}` must hold at least {at_least} item(s); it is empty.")
    if at_most is not None and len(value) > at_most:
        raise invalid(place, f"`{place}` must hold at most {at_most} items, not {len(value)}.")
    for index, item in enumerate(value):
        if not isinstance(item, dict):
            raise invalid(f"{place}[{index}]", f"`{place}[{index}]` must be an object, not {shown(item)}.")
        yield f"{place}[{index}]", item


def one_of(value: Any, allowed: Iterable[str], place: str) -> str:
    allowed = tuple(allowed)
    if isinstance(value, str) and value in allowed:
        return value
    names = ", ".join(f'"{name}"' for name in allowed)
    what = _missing(place) if value is None else f"`{place}` is {shown(value)}."
    raise invalid(place, f"{what} It must be one of {names}.")


def _missing(place: str) -> str:
    return f"`{place}` is missing."
