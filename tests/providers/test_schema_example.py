from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from emerge_core.providers.simulated.schema_example import example

TREE = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
    "required": ["name", "children"],
}
SCHEMAS: list[dict[str, Any]] = [
    {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}, "required": ["a", "b"]},
    {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False},
    {"type": "object", "properties": {"a": {"enum": ["x", "y"]}, "b": {"const": 3}}, "required": ["a", "b"]},
    {"type": "array", "items": {"type": "number", "exclusiveMinimum": 3}, "minItems": 2},
    {"type": "array", "prefixItems": [{"type": "string"}, {"type": "boolean"}], "minItems": 2},
    {"type": "integer", "minimum": 7, "multipleOf": 5},
    {"type": "integer", "maximum": -4},
    {"type": "integer", "minimum": 2.5},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    {"type": "string", "minLength": 20},
    {"type": "string", "maxLength": 3},
    {"type": "string", "format": "date"},
    {"type": ["null", "integer"], "minimum": 1},
    {"type": "null"},
    {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
    {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
            {"properties": {"b": {"type": "boolean"}}, "required": ["b"]},
        ]
    },
    {"$defs": {"node": TREE}, "$ref": "#/$defs/node"},
    {
        "$defs": {"n": {"type": "integer"}},
        "type": "object",
        "properties": {"n": {"$ref": "#/$defs/n"}},
        "required": ["n"],
    },
    {"properties": {"a": {"items": {}}}, "required": ["a"]},
]


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("answer", [None, "B", "42"])
def test_an_example_satisfies_its_schema(schema: dict[str, Any], answer: str | None) -> None:
    jsonschema.validate(example(schema, answer=answer), schema)


@pytest.mark.parametrize(
    ("name", "schema", "answer", "expected"),
    [
        ("answer", {"type": "string"}, "B", "B"),
        ("Result", {"type": "integer"}, "42", 42),
        ("value", {"type": "number"}, "2.5", 2.5),
        ("value", {"type": "integer"}, "2.5", 0),
        ("choice", {"enum": ["A", "B"]}, "B", "B"),
        ("choice", {"enum": ["A", "B"]}, "C", "A"),
        ("reason", {"type": "string"}, "B", "simulated"),
    ],
)
def test_the_answer_goes_where_it_fits(name: str, schema: dict[str, Any], answer: str, expected: Any) -> None:
    whole = {"type": "object", "properties": {name: schema}, "required": [name]}
    assert example(whole, answer=answer) == {name: expected}


@pytest.mark.parametrize(
    "schema",
    [{}, {"$ref": "#/nowhere"}, {"$ref": "#"}, {"$ref": "https://example.com/a"}, {"type": "object", "properties": {}}],
)
def test_odd_schemas_end(schema: dict[str, Any]) -> None:
    example(schema)


def test_an_endless_schema_ends() -> None:
    schema = {"type": "object", "properties": {"again": {"$ref": "#"}}, "required": ["again"]}
    assert isinstance(example(schema), dict)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "required": [*"xyz"], "properties": {name: {"$ref": "#"} for name in "xyz"}},
        {"type": "array", "minItems": 100, "items": {"$ref": "#"}},
        {"allOf": [{"$ref": "#"}] * 50},
        {"type": "integer", "minimum": 1e308, "multipleOf": 1e-300},
        {"type": "number", "minimum": 5, "multipleOf": 5e-324},
        {"type": "integer", "exclusiveMinimum": 1.7e308},
        {"type": "string", "minLength": 10**30},
        {"$ref": "#/allOf/0", "allOf": [{"type": "string"}]},
        {"$ref": "#/allOf/9/x", "allOf": [{"type": "string"}]},
    ],
    ids=str,
)
def test_a_schema_that_asks_for_too_much_gets_a_little(schema: dict[str, Any]) -> None:
    text = json.dumps(example(schema, answer="5"), allow_nan=False)
    assert len(text) < 100_000
