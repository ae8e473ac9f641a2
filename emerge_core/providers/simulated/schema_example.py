"""A small instance of a JSON schema, for the simulated panel: the least that the schema asks for."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

_ANSWERS = frozenset({"answer", "final_answer", "result", "value", "choice", "label", "letter", "option"})
_FORMATS = {
    "date": "2000-01-01",
    "date-time": "2000-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "email": "someone@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
}
_MAX_DEPTH = 24
_MAX_PARTS = 5_000  # of an instance: a schema that refers to itself may ask for any number


def example(schema: Mapping[str, Any], *, answer: str | None = None) -> Any:
    """An instance of the schema; `answer` goes where a property named like an answer can hold it."""
    return _Maker(schema, answer).make(schema, "", 0)


class _Maker:
    def __init__(self, root: Mapping[str, Any], answer: str | None) -> None:
        self._root = root
        self._answer = answer
        self._left = _MAX_PARTS

    def make(self, schema: Any, name: str, depth: int) -> Any:
        schema = self._resolved(schema)
        self._left -= 1
        if depth > _MAX_DEPTH or self._left < 0:
            return None
        fitting = self._fitting(schema, name)
        if fitting is not None:
            return fitting
        for literal in ("const", "default"):
            if literal in schema:
                return schema[literal]
        if schema.get("enum"):
            return schema["enum"][0]
        if schema.get("allOf"):
            merged: dict[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
            for part in schema["allOf"]:
                _merge(merged, self._resolved(part))
            return self.make(merged, name, depth + 1)
        for choice in ("anyOf", "oneOf"):
            if schema.get(choice):
                return self.make(schema[choice][0], name, depth + 1)
        return self._typed(schema, name, depth)

    def _resolved(self, schema: Any) -> Mapping[str, Any]:
        for _ in range(_MAX_DEPTH):
            reference = schema.get("$ref") if isinstance(schema, Mapping) else None
            if not isinstance(reference, str) or not reference.startswith("#"):
                break
            schema = self._root
            for step in reference.removeprefix("#").removeprefix("/").split("/"):
                if step:
                    schema = _child(schema, step.replace("~1", "/").replace("~0", "~"))
        return schema if isinstance(schema, Mapping) else {}

    def _fitting(self, schema: Mapping[str, Any], name: str) -> Any:
        if self._answer is None or name.lower() not in _ANSWERS:
            return None
        if "enum" in schema:
            return next((value for value in schema["enum"] if str(value) == self._answer), None)
        kind = _type(schema)
        if kind == "string" and "const" not in schema:
            return self._answer
        if kind in ("number", "integer"):
            try:
                number = json.loads(self._answer)
            except ValueError:
                return None
            fits = isinstance(number, int) or (isinstance(number, float) and kind == "number")
            return number if fits and not isinstance(number, bool) else None
        return None

    def _typed(self, schema: Mapping[str, Any], name: str, depth: int) -> Any:
        kind = _type(schema)
        if kind == "object":
            properties = schema.get("properties") or {}
            wanted = schema.get("required") or (list(properties) if depth == 0 else [])
            return {key: self.make(properties.get(key, {}), key, depth + 1) for key in wanted}
        if kind == "array":
            first = list(schema.get("prefixItems") or ())
            rest = max(0, int(schema.get("minItems", 0)) - len(first))
            items = [*first, *([schema.get("items", {})] * min(rest, 100))]
            return [self.make(item, name, depth + 1) for item in items]
        if kind in ("integer", "number"):
            return _number(schema, whole=kind == "integer")
        if kind == "boolean":
            return False
        if kind == "null":
            return None
        return _string(schema)


def _child(node: Any, step: str) -> Any:
    if isinstance(node, list):
        return node[int(step)] if step.isdecimal() and len(step) < 9 and int(step) < len(node) else {}
    return node.get(step, {}) if isinstance(node, Mapping) else {}


def _type(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if isinstance(kind, str):
        return kind
    if "properties" in schema or "required" in schema:
        return "object"
    return "array" if "items" in schema else "string"


def _number(schema: Mapping[str, Any], *, whole: bool) -> int | float:
    try:
        value = _nearest_to_zero(schema, whole=whole)
        return value if math.isfinite(value) else 0
    except (ArithmeticError, ValueError):  # bounds at the edge of what a float can hold
        return 0


def _nearest_to_zero(schema: Mapping[str, Any], *, whole: bool) -> int | float:
    low, high = schema.get("minimum"), schema.get("maximum")
    if "exclusiveMinimum" in schema:
        low = schema["exclusiveMinimum"] + (1 if whole else 0.5)
    if "exclusiveMaximum" in schema:
        high = schema["exclusiveMaximum"] - (1 if whole else 0.5)
    step = schema.get("multipleOf")
    value = 0 if low is None or low <= 0 else low
    if high is not None and value > high:
        value = high
    if step:
        value = -(-value // step) * step
    return int(-(-value // 1)) if whole else value


def _string(schema: Mapping[str, Any]) -> str:
    text = _FORMATS.get(str(schema.get("format")), "simulated")
    text += "x" * max(0, min(int(schema.get("minLength", 0)), 10_000) - len(text))
    most = schema.get("maxLength")
    return text if most is None else text[: int(most)]


def _merge(into: dict[str, Any], schema: Mapping[str, Any]) -> None:
    for key, value in schema.items():
        if key == "properties":
            into[key] = {**into.get(key, {}), **value}
        elif key == "required":
            into[key] = [*into.get(key, []), *(name for name in value if name not in into.get(key, []))]
        else:
            into[key] = value
