"""Checks JSON schemas that clients send: valid, bounded, and complete without the network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from emerge_core.answers.bounded_cache import BoundedCache
from emerge_core.answers.json_schema import (
    MAX_COMPILING,
    MAX_PATTERN,
    compile_cost,
    pattern,
    patterns_in,
    schema_error,
    schema_text,
)

_MAPS_OF_SCHEMAS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_DATA = frozenset({"enum", "const", "default", "examples"})
_ANCHORS = ("$anchor", "$dynamicAnchor", "$id")


_verdicts: BoundedCache[str | None] = BoundedCache(1 << 20)


def why_invalid(schema: Mapping[str, Any]) -> str | None:
    """The fault of a JSON schema in one line, or None for a valid one. Agents send the same schemas at every turn,
    so verdicts are cached by content. Patterns are checked by `PatternCheck`."""
    text = schema_text(schema)
    if kept := _verdicts.get(text):
        return kept[0]
    verdict = _verdict(text)
    _verdicts.put(text, verdict, len(verdict or ""))
    return verdict


def _verdict(text: str) -> str | None:
    schema = json.loads(text)
    if not isinstance(schema.get("$schema", ""), str):
        return "$schema is not a string"
    if fault := schema_error(text):
        return fault
    return _unresolved_reference(list(_subschemas(schema)), schema)


class PatternCheck:
    """Checks the patterns of a request's schemas. Compiling them is bounded in total: patterns beyond
    `MAX_COMPILING` reach the providers unchecked."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._left = MAX_COMPILING

    def fault(self, schema: Mapping[str, Any]) -> str | None:
        """The first pattern that is too long or not a regular expression, as a message, or None."""
        for text in patterns_in(schema):
            if len(text) > MAX_PATTERN:
                return f"a pattern has {len(text)} characters, and at most {MAX_PATTERN} are taken"
            if text in self._seen or compile_cost(text) > self._left:
                continue
            self._seen.add(text)
            self._left -= compile_cost(text)
            if error := pattern(text).error:
                return f"{text[:60]!r} is not a regular expression ({error})"
        return None


def _unresolved_reference(subschemas: list[dict[str, Any]], schema: Any) -> str | None:
    """References must resolve within the schema: a server must not fetch what a request points to."""
    anchors: dict[str, Any] = {}
    for part in subschemas:
        for name in (part.get(kind) for kind in _ANCHORS):
            if isinstance(name, str):
                anchors.setdefault(name, part)
    resolved: set[str] = set()  # references known to lead to a schema
    for part in subschemas:
        for reference in (part.get("$ref"), part.get("$dynamicRef")):
            if isinstance(reference, str) and (fault := _fault_of(reference, schema, anchors, resolved)):
                return fault
    return None


def _fault_of(reference: str, schema: Any, anchors: Mapping[str, Any], resolved: set[str]) -> str | None:
    seen: set[str] = set()
    while reference not in resolved:
        if reference in seen:
            return f"$ref {reference!r} only refers to itself"
        seen.add(reference)
        target = _resolve(reference, schema, anchors)
        if target is None:
            return f"$ref {reference!r} does not resolve within the schema; use #/$defs/…"
        if not isinstance(target, dict) or not isinstance(target.get("$ref"), str):
            break
        reference = target["$ref"]
    resolved |= seen
    return None


def _resolve(reference: str, schema: Any, anchors: Mapping[str, Any]) -> Any:
    if reference == "#":
        return schema
    if not reference.startswith("#/"):
        return anchors.get(reference.lstrip("#"))
    node = schema
    for step in reference[2:].split("/"):
        step = step.replace("~1", "/").replace("~0", "~").replace("%25", "%")
        if isinstance(node, dict) and step in node:
            node = node[step]
        elif isinstance(node, list) and step.isdecimal() and len(step) < 9 and int(step) < len(node):
            node = node[int(step)]
        else:
            return None
    return node


def _subschemas(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, list):
        for item in node:
            yield from _subschemas(item)
    elif isinstance(node, dict):
        yield node
        for key, value in node.items():
            if key in _MAPS_OF_SCHEMAS and isinstance(value, dict):
                for item in value.values():
                    yield from _subschemas(item)
            elif key not in _DATA:
                yield from _subschemas(value)
