"""JSON schemas that callers send: is this one valid, and can it be checked without the network?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

_MAPS_OF_SCHEMAS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_DATA = frozenset({"enum", "const", "default", "examples"})


def why_invalid(schema: Mapping[str, Any]) -> str | None:
    """The fault of a JSON schema in one line, or None for a valid one. Agents send the same schemas
    at every turn, so verdicts are kept by content."""
    return _verdict(json.dumps(schema, sort_keys=True, separators=(",", ":")))


@lru_cache(maxsize=512)
def _verdict(text: str) -> str | None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for

    schema = json.loads(text)
    if not isinstance(schema.get("$schema", ""), str):
        return "$schema is not a string"
    try:
        validator_for(schema, default=Draft202012Validator).check_schema(schema)
    except SchemaError as error:
        place = "/".join(str(step) for step in error.absolute_path)
        return f"{error.message[:300]}{f' (at {place})' if place else ''}"
    except RecursionError:
        return "it is nested too deeply"
    return next((fault for ref in _references(schema) if (fault := _fault_of(ref, schema))), None)


def _fault_of(reference: str, schema: Any) -> str | None:
    """References must resolve within the schema: a server must not fetch what a request points to."""
    seen = set()
    while True:
        if reference in seen:
            return f"$ref {reference!r} only refers to itself"
        seen.add(reference)
        target = _resolve(reference, schema)
        if target is None:
            return f"$ref {reference!r} does not resolve within the schema; use #/$defs/…"
        if not isinstance(target, dict) or not isinstance(target.get("$ref"), str):
            return None
        reference = target["$ref"]


def _resolve(reference: str, schema: Any) -> Any:
    if reference == "#":
        return schema
    if not reference.startswith("#/"):
        anchors = ("$anchor", "$dynamicAnchor", "$id")
        return next((s for s in _subschemas(schema) if any(s.get(a) == reference.lstrip("#") for a in anchors)), None)
    node = schema
    for step in reference[2:].split("/"):
        step = step.replace("~1", "/").replace("~0", "~").replace("%25", "%")
        if isinstance(node, dict) and step in node:
            node = node[step]
        elif isinstance(node, list) and step.isdigit() and int(step) < len(node):
            node = node[int(step)]
        else:
            return None
    return node


def _references(schema: Any) -> Iterator[str]:
    return (s[key] for s in _subschemas(schema) for key in ("$ref", "$dynamicRef") if isinstance(s.get(key), str))


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
