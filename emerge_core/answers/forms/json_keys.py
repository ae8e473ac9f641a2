"""Keys of JSON answers: the decisions in them, without the explanations.

The key is made of the enum, number, boolean, null and short-string leaves with their paths; free text (a reasoning
field) is left out. Configured `answer_key` paths replace this rule.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from math import inf
from typing import Any

from emerge_core.answers.forms import numbers
from emerge_core.types import AnswerKey

SHORT = 64  # characters of a string leaf that still counts
MAX_LEAVES = 2_000
MAX_COLLECTED = 20_000  # leaves that are looked at, free text included
MAX_DEPTH = 60
MAX_VALUES = 50_000  # objects, lists and commas of a text that is parsed: about a megabyte of ordinary JSON

_MISSING = object()


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _finite(number: str) -> float:
    value = float(number)
    if value in (inf, -inf):
        raise ValueError(f"{number} is too large")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a name occurs twice in one object")
    return value


_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.S)  # one without an end goes to the end of the text
_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_unique)


def parse(text: str) -> tuple[Any] | None:
    """The parsed JSON value in a tuple of one, or None if the text is not valid JSON, or of more than `MAX_VALUES`.

    NaN, numbers that are too large for a float, and names that occur twice in one object are not valid: readers
    disagree about them, so a vote on them would not be on what the client reads.
    """
    if exceeds_values(text):
        return None
    try:
        return (_DECODER.decode(text),)
    except (ValueError, RecursionError):
        return None


def exceeds_values(text: str) -> bool:
    """Whether a JSON text has more than `MAX_VALUES` parts. What stands in its strings does not count, up to a bound
    that no model's output reaches."""
    parts = _parts(text)
    if parts <= MAX_VALUES:
        return False
    return parts > 4 * MAX_VALUES or _parts(_STRING.sub("", text)) > MAX_VALUES


def _parts(text: str) -> int:
    return text.count("{") + text.count("[") + text.count(",")


def parse_fenced(text: str) -> tuple[Any] | None:
    """Like `parse`, but a code fence may enclose the JSON."""
    found = parse(text)
    if found is None and (inner := _in_fence(text)) is not None:
        found = parse(inner)
    return found


def _in_fence(text: str) -> str | None:
    """The content of a code fence that encloses the whole text, or None.

    Not a regular expression: one takes quadratic time on long runs of spaces or ticks.
    """
    opening, line_end, rest = text.strip().partition("\n")
    language = opening.lstrip("`")
    inner = rest.rstrip("`")
    if not line_end or len(opening) - len(language) < 3 or len(rest) - len(inner) < 3:
        return None
    name = language.strip().replace("-", "").replace("_", "")
    return inner if not name or name.isalnum() else None


def canonical(value: Any) -> str:
    """The canonical spelling of a JSON value: sorted names, `1.0` as `1`."""
    return spelled(_plain(value))


def spelled(value: Any) -> str:
    """JSON text with sorted names and without white space."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return int(value)
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def at_path(value: Any, pointer: str) -> Any:
    """The value at a JSON pointer, or `_MISSING`."""
    if pointer in ("", "/"):
        return value
    for part in pointer.removeprefix("/").split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isdigit() and len(name) < 9 and int(name) < len(value):
            value = value[int(name)]
        else:
            return _MISSING
    return value


def _enum_paths(schema: Any, path: str = "", depth: int = 0) -> Iterator[str]:
    """Yield the paths (array items as `*`) whose schema lists the allowed values: these count at any length."""
    if not isinstance(schema, Mapping) or depth > 20:
        return
    if "enum" in schema or "const" in schema:
        yield path
    properties = schema.get("properties")
    for name, part in properties.items() if isinstance(properties, Mapping) else ():
        yield from _enum_paths(part, f"{path}/{name}", depth + 1)
    yield from _enum_paths(schema.get("items"), f"{path}/*", depth + 1)


def enum_paths(schema: Mapping[str, Any] | None) -> frozenset[str]:
    return frozenset(_enum_paths(schema)) if schema else frozenset()


Leaf = tuple[str, str, Any]  # its path, the path with array items as `*`, its value


def _leaves(value: Any, *, patterns: bool = True) -> list[Leaf] | None:
    """The leaves of a parsed JSON value in order, down to `MAX_DEPTH`; None if there are more than `MAX_LEAVES` that a
    key could contain."""
    found: list[Leaf] = []

    def collect(value: Any, path: str, pattern: str, depth: int) -> None:
        if depth > MAX_DEPTH or len(found) > MAX_COLLECTED:
            return
        if type(value) is dict and value:
            for name, item in value.items():
                collect(item, f"{path}/{name}", f"{pattern}/{name}" if patterns else "", depth + 1)
        elif type(value) is list and value:
            for index, item in enumerate(value):
                collect(item, f"{path}/{index}", f"{pattern}/*" if patterns else "", depth + 1)
        else:
            found.append((path, pattern, value))

    collect(value, "", "", 0)
    return found if len(found) <= MAX_COLLECTED else None


def json_key(
    value: Any,
    *,
    paths: Sequence[str],
    enums: frozenset[str],
    normal: Callable[[str], str],
) -> AnswerKey | None:
    """The key of a parsed JSON answer, or None if nothing in it can be voted on.

    `normal` returns the normal form of a short string.
    """
    if paths:
        chosen = {path: at_path(value, path) for path in paths}
        if all(item is _MISSING for item in chosen.values()):
            return None
        voted = [(path, _leaf(item, normal)) for path, item in sorted(chosen.items()) if item is not _MISSING]
        return AnswerKey("json", canonical(voted))
    voted = []
    leaves = _leaves(value, patterns=bool(enums))
    if leaves is None:
        return None
    for path, pattern, leaf in leaves:
        if len(voted) == MAX_LEAVES:
            return None
        if not isinstance(leaf, str):
            voted.append((path, _leaf(leaf, normal)))
        elif enums and pattern in enums:
            voted.append((path, leaf))
        elif len(leaf.strip()) <= SHORT:
            voted.append((path, normal(leaf)))
    voted.sort(key=lambda item: item[0])
    return AnswerKey("json", spelled(voted)) if voted else None  # the leaves are in their normal form already


def voted_spans(text: str, value: Any, paths: Sequence[str], enums: frozenset[str]) -> list[tuple[int, int]]:
    """The positions of the voted leaves in the text of a JSON answer; empty if one cannot be found."""
    spans: list[tuple[int, int]] = []
    at = 0
    for path, pattern, leaf in _leaves(value) or ():
        spellings = (json.dumps(leaf, ensure_ascii=False), json.dumps(leaf))
        found = [(text.find(spelling, at), len(spelling)) for spelling in spellings]
        start, length = next(((where, size) for where, size in found if where >= 0), (-1, 0))
        chosen = (
            any(path == one or path.startswith(f"{one}/") for one in paths)
            if paths
            else pattern in enums or not isinstance(leaf, str) or len(leaf.strip()) <= SHORT
        )
        if start < 0:
            if chosen:
                return []
            continue
        at = start + length
        if chosen:
            quote = 1 if isinstance(leaf, str) else 0
            spans.append((start + quote, at - quote))
    return spans


def _leaf(value: Any, normal: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return normal(value)
    if isinstance(value, float):
        return _number(value)
    return value


@lru_cache(maxsize=4096)
def _number(value: float) -> Any:
    """A number by value, spelled like a number in a text answer."""
    exact = Fraction(repr(value)) if abs(value) < 1e300 else None
    return int(exact) if exact is not None and exact.denominator == 1 else numbers.canonical(exact) if exact else value
