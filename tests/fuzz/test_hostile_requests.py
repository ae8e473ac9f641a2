"""Requests that pass validation and are made to cost as much as they can: deep, wide, repeated, slow to match."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from emerge_core.answers import json_schema
from emerge_core.answers.question import Question
from emerge_core.api import json_schemas
from tests.fuzz.test_requests import Client, check

SLOW_IN_PYTHON = "(?i)(?=x)" + r"[\x00-\U0010ffff]" * 60
BACKTRACKING = r"^(?=a)((a+)+|(a|aa)+|[a-z]*a[a-z]*)+$"


def nested(levels: int, leaf: Any, wrap: str = "properties") -> Any:
    for _ in range(levels):
        leaf = {"type": "object", "properties": {"a": leaf}} if wrap == "properties" else {wrap: [leaf]}
    return leaf


def chat(text: str = "x", **fields: Any) -> dict[str, Any]:
    return {"model": "emerge", "messages": [{"role": "user", "content": text}], **fields}


def demands(schema: Any) -> dict[str, Any]:
    form = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
    return chat("Reply in JSON.", response_format=form)


def offers(*schemas: Any) -> dict[str, Any]:
    tools = [
        {"type": "function", "function": {"name": f"f{n}", "parameters": schema}} for n, schema in enumerate(schemas)
    ]
    return chat("Call one.", tools=tools, tool_choice="required")


def fields(count: int, leaf: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {f"p{n}": leaf for n in range(count)}}


BOMB = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(40)}
REQUESTS: dict[str, dict[str, Any]] = {
    "deep properties": demands(nested(20, {"type": "string"})),
    "deep allOf": demands(nested(25, {"type": "object"}, "allOf")),
    "deep tools": offers(*[nested(20, {"type": "string"})] * 60),
    "wide properties": demands(fields(2_000, {"type": "string"})),
    "wide enum": demands(fields(3, {"enum": [f"{n}" for n in range(50_000)]})),
    "wide tools": offers(*[{**fields(20, {"type": "string"}), "description": str(n)} for n in range(128)]),
    "wide required": demands({**fields(100, {"type": "integer"}), "required": [f"p{n}" for n in range(20_000)]}),
    "many messages": {
        "model": "emerge",
        "messages": [{"role": role, "content": "A. x\nB. y"} for role in ["user", "assistant"] * 1_000]
        + chat()["messages"],
    },
    "long system prompts": {
        "model": "emerge",
        "messages": [{"role": "system", "content": "json only one word " * 20_000}] * 5 + chat()["messages"],
    },
    "branching references": demands({"$defs": {**BOMB, "a40": {"type": "string"}}, "$ref": "#/$defs/a0"}),
    "circular references": demands({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}] * 9}}}),
    "unique items": demands({"type": "array", "uniqueItems": True, "items": {"type": "object"}}),
    "alternatives": demands({"anyOf": [{"type": "array", "items": {"minimum": n}} for n in range(2_000)]}),
    "slow to compile": demands(fields(200, {"type": "string", "pattern": SLOW_IN_PYTHON})),
    "slow to match": demands(fields(200, {"type": "string", "pattern": BACKTRACKING})),
    "many patterns": offers(*[fields(30, {"pattern": f"^{n}" + r"(?:[a-z]{1,30}.){1,30}"}) for n in range(100)]),
    "names by pattern": demands({"patternProperties": {BACKTRACKING: {}, r"(a)\1": {}}, "additionalProperties": False}),
    "large classes": demands(fields(300, {"pattern": r"(?i)\pL" * 100})),
    "long description": demands({"type": "object", "description": "x" * 3_000_000}),
    **{
        f"question of {name}": chat(unit * (300_000 // len(unit)))
        for name, unit in {
            "options": "A. x\nB. y\n",
            "inline options": "(A) b ",
            "labels": "classify as a, b or ",
            "numbers": "1,",
            "openings": "please can you ",
            "commas": "who, ",
            "dollars": "$1",
        }.items()
    },
}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with asyncio.Runner() as runner:
        made = Client(runner)
        yield made
        made.close()


@pytest.mark.parametrize("name", REQUESTS)
def test_what_a_valid_request_can_cost_is_bounded(name: str, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """GIVEN a request within the limits THEN it is answered, no pattern of it reaches Python's engine, and every
    check of a reply ends within its steps."""
    check(client.post("/v1/chat/completions", json.dumps(chat()).encode()))  # what is imported late compiles patterns
    compiled: list[Any] = []
    inner = re._compiler.compile  # type: ignore[attr-defined]

    def compile_counted(text: Any, flags: int = 0) -> Any:
        compiled.append(text)
        return inner(text, flags)

    monkeypatch.setattr(re._compiler, "compile", compile_counted)  # type: ignore[attr-defined]
    left: list[int] = []
    spend = json_schema._Steps.spend_steps

    def counted(self: Any, steps: int) -> None:
        try:
            spend(self, steps)
        finally:
            left.append(self.left + json_schema.MAX_SCHEMA_STEPS)

    monkeypatch.setattr(json_schema._Steps, "spend_steps", counted)
    body = json.dumps(REQUESTS[name]).encode()
    assert len(body) < 4_500_000
    answer = client.post("/v1/chat/completions", body)
    check(answer)
    assert not {SLOW_IN_PYTHON, BACKTRACKING, r"(a)\1"}.intersection(map(str, compiled))
    assert len(left) <= 300_000
    for cache in (json_schema._schemas, json_schema._errors, json_schema._patterns, json_schemas._verdicts):
        assert cache.bytes <= cache.max_bytes


def test_the_words_of_a_question_are_read_up_to_a_bound() -> None:
    assert len(Question.of("x" * 1_000_000).text) == 60_000
