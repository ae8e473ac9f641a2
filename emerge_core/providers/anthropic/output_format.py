"""A JSON schema in the subset that Anthropic's structured outputs enforce.

Constraints outside of the subset (ranges, lengths, patterns, …) are not lost: they are written into the
description, where the model reads them. Source: Anthropic's documentation of structured outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emerge_core.types import JsonObject

_TYPES = frozenset(("object", "array", "string", "integer", "number", "boolean", "null"))
_FORMATS = frozenset(
    ("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid")
)  # fmt: skip
_VARIANTS = (("anyOf", "anyOf"), ("oneOf", "anyOf"), ("allOf", "allOf"))  # the first that is there, and its new name


def native_format(schema: JsonObject) -> dict[str, Any] | None:
    """The schema as `output_config.format`; None if the subset would change what the schema allows."""
    if _has_open_object(schema):
        return None
    try:
        return {"type": "json_schema", "schema": _subset(schema)}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None


def _has_open_object(schema: Any) -> bool:
    """The subset closes every object."""
    if isinstance(schema, (list, tuple)):
        return any(_has_open_object(item) for item in schema)
    if not isinstance(schema, Mapping):
        return False
    opened = schema.get("type") == "object" and (not schema.get("properties") or schema.get("additionalProperties"))
    return bool(opened) or any(_has_open_object(value) for value in schema.values())


def _subset(schema: JsonObject) -> dict[str, Any]:
    """Raises ValueError for a schema that says nothing of its type, or an unknown type."""
    rest = dict(schema)
    kept: dict[str, Any] = {}
    if (definitions := rest.pop("$defs", None)) is not None:
        kept["$defs"] = {name: _subset(each) for name, each in definitions.items()}
    if (reference := rest.pop("$ref", None)) is not None:
        return {**kept, "$ref": reference}
    kind = rest.pop("type", None)
    variants = [(new, rest.pop(name, None)) for name, new in _VARIANTS]
    values = _values(rest)
    named = next(((new, listed) for new, listed in variants if isinstance(listed, list)), None)
    kept |= values
    if named:
        kept[named[0]] = [_subset(each) for each in named[1]]
    elif not values:
        if kind not in _TYPES:
            raise ValueError(f"a schema of the type {kind}")
        kept["type"] = kind
    kept |= {name: rest.pop(name) for name in ("description", "title") if name in rest}
    if not values:
        kept |= _by_type(kind, rest)
    if rest:
        constraints = "{" + ", ".join(f"{name}: {value}" for name, value in rest.items()) + "}"
        kept["description"] = "\n\n".join(filter(None, [kept.get("description"), constraints]))
    return kept


def _values(rest: dict[str, Any]) -> dict[str, Any]:
    """The enum or const, if its values are plain ones; they say more than the type."""
    found: dict[str, Any] = {}
    listed = rest.get("enum")
    if isinstance(listed, list) and listed and all(_is_plain(value) for value in listed):
        found["enum"] = rest.pop("enum")
    if "const" in rest and _is_plain(rest["const"]):
        found["const"] = rest.pop("const")
    return found


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float, bool))


def _by_type(kind: Any, rest: dict[str, Any]) -> dict[str, Any]:
    """The keywords that the subset has for a type. They are taken out of `rest`."""
    if kind == "object":
        rest.pop("additionalProperties", None)
        properties = {name: _subset(each) for name, each in rest.pop("properties", {}).items()}
        found: dict[str, Any] = {"properties": properties, "additionalProperties": False}
        required = rest.pop("required", None)
        return found if required is None else {**found, "required": required}
    if kind == "string" and rest.get("format") in _FORMATS:
        return {"format": rest.pop("format")}
    if kind == "array":
        items = {"items": _subset(rest.pop("items"))} if rest.get("items") is not None else {}
        return items | ({"minItems": rest.pop("minItems")} if rest.get("minItems") in (0, 1) else {})
    return {}
