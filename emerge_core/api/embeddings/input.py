"""Checks the texts to embed."""

from __future__ import annotations

from typing import Any

from emerge_core.api.errors import invalid
from emerge_core.api.fields import shown

MAX_INPUTS = 2048


def read_inputs(value: Any) -> tuple[str | tuple[int, ...], ...]:
    """One text, one list of token ids, or a list of either. Raises RequestError, a 400 that names the input."""
    if value is None:
        raise invalid("input", "`input` is missing: send a string or a list of strings.")
    if isinstance(value, str) or _is_tokens(value):
        return (_input(value, "input"),)
    if not isinstance(value, list) or not value:
        raise invalid("input", f"`input` must be a string or a list of strings that is not empty, not {shown(value)}.")
    if len(value) > MAX_INPUTS:
        raise invalid("input", f"`input` must hold at most {MAX_INPUTS} texts, not {len(value)}: send it in parts.")
    return tuple(_input(item, f"input[{index}]") for index, item in enumerate(value))


def _input(value: Any, place: str) -> str | tuple[int, ...]:
    if isinstance(value, str) and value:
        return value
    if _is_tokens(value):
        return tuple(value)
    raise invalid(place, f"`{place}` must be a text that is not empty, or a list of token ids, not {shown(value)}.")


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(item) is int and item >= 0 for item in value)
