"""Schemas that strangers wrote: what they may say, and what they cannot do to us."""

from __future__ import annotations

import json
import re
import socket
import sys
from typing import Any

import pytest

from emerge_core.answers import json_schema as schemas
from emerge_core.answers.bounded_cache import BoundedCache
from emerge_core.answers.json_schema import pattern, schema_error, schema_fault, unchecked_patterns
from emerge_core.api import json_schemas
from emerge_core.api.json_schemas import PatternCheck, why_invalid
from emerge_core.errors import EmergeError
from emerge_core.types import ChatRequest

DRAFTS = {
    "2020-12": "https://json-schema.org/draft/2020-12/schema",
    "2019-09": "https://json-schema.org/draft/2019-09/schema",
    **{f"draft-0{n}": f"http://json-schema.org/draft-0{n}/schema#" for n in (3, 4, 6, 7)},
}
HOSTILE = r"^(a+)+$"
VICTIM = "a" * 60 + "!"


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps that each check took."""
    taken: list[int] = []
    inner = schemas._first_fault

    class Counted(schemas._Steps):
        def __init__(self, value: Any, steps: int) -> None:
            super().__init__(value, steps)
            self.at_first = steps
            made.append(self)

    made: list[Counted] = []

    def first_fault(*args: Any) -> str | None:
        try:
            return inner(*args)
        finally:
            taken.append(made[-1].at_first - made[-1].left)

    monkeypatch.setattr(schemas, "_Steps", Counted)
    monkeypatch.setattr(schemas, "_first_fault", first_fault)
    return taken


@pytest.mark.parametrize("draft", [None, *DRAFTS.values()], ids=["none", *DRAFTS])
@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"pattern": HOSTILE}, VICTIM),
        ({"properties": {"x": {"pattern": HOSTILE}}}, {"x": VICTIM}),
        ({"items": {"pattern": HOSTILE}}, [VICTIM]),
        ({"patternProperties": {HOSTILE: {}}, "additionalProperties": False}, {VICTIM: 1}),
    ],
)
def test_a_pattern_that_would_backtrack_for_ever(draft: str | None, schema: Any, value: Any) -> None:
    """With Python's own engine none of these would return within the age of the universe."""
    assert schema_fault(value, {**schema, **({"$schema": draft} if draft else {})}) is not None


@pytest.mark.parametrize("place", ["items", "properties", "allOf", "$ref", "propertyNames", "unevaluatedProperties"])
def test_no_way_around_through_a_dialect_inside(place: str) -> None:
    """The library takes up its own dialect, with Python's engine, wherever a `$schema` stands."""
    inner = {"$schema": DRAFTS["2020-12"], "pattern": HOSTILE}
    cases: dict[str, tuple[dict[str, Any], Any]] = {
        "items": ({"items": inner}, [VICTIM]),
        "properties": ({"properties": {"x": inner}}, {"x": VICTIM}),
        "allOf": ({"allOf": [inner]}, VICTIM),
        "$ref": ({"$ref": "#/$defs/a", "$defs": {"a": inner}}, VICTIM),
        "propertyNames": ({"propertyNames": inner}, {VICTIM: 1}),
        "unevaluatedProperties": (
            {"allOf": [{"patternProperties": {HOSTILE: {}}}], "unevaluatedProperties": False, "required": ["x"]},
            {VICTIM: 1},
        ),
    }
    schema, value = cases[place]
    assert schema_fault(value, schema) is not None


@pytest.mark.parametrize(
    ("text", "subject", "found"),
    [
        (r"^\d{3}-\d{4}$", "555-1234", True),
        (r"^\d{3}-\d{4}$", "555-1234x", False),
        (r"b", "abc", True),
        (r"^[a-z0-9]+(-[a-z0-9]+)*$", "a-fine-slug", True),
        (r"^\p{L}+$", "Zürich", True),
        (r"^\S+@\S+\.\S+$", "someone@example.com", True),
        (r"^.$", "\ud800", True),
    ],
)
def test_patterns_as_people_write_them(text: str, subject: str, found: bool) -> None:
    search = pattern(text).search
    assert search is not None
    assert search(subject) is found


LACKING = [r"^(?!x)", r"(a)\1", "a{1,100000}", "(a{1000}){1000}", "a" * 1_001, r"\pL" * 9]


@pytest.mark.parametrize("text", [*LACKING, "(", "[^]"])
def test_what_the_linear_engine_lacks_faults_nothing(text: str) -> None:
    assert pattern(text).search is None
    assert (pattern(text).error is None) is (text in LACKING)
    assert schema_fault("x", {"pattern": text}) is None
    assert schema_fault({"x": 1}, {"patternProperties": {text: False}, "additionalProperties": False}) is None


def test_references_that_branch_at_every_step(steps: list[int]) -> None:
    doubling = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(60)}
    bomb = {"$defs": {**doubling, "a60": {"type": "string"}}, "$ref": "#/$defs/a0"}
    assert schema_fault("x", bomb) is None
    assert schemas.MAX_STEPS < steps[-1] <= schemas.MAX_STEPS + 2


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"anyOf": [{"type": "string"}] * 1_000}, list(range(50_000))),
        ({"items": {"allOf": [{"minimum": 0}] * 1_000}}, list(range(50_000))),
        ({"contains": {"const": -1}}, list(range(90_000))),
        ({"items": {"enum": [list(range(1_000))] * 50}}, [list(range(1_000))] * 90),
        (
            {"$ref": "#/$defs/a", "$defs": {"a": {"items": {"allOf": [{"$ref": "#/$defs/a"}] * 3}}}},
            [[[[[[[[]]]]]]]] * 9,
        ),
    ],
    ids=["large value spelt out", "many rules for many items", "contains", "enum", "nested alternatives"],
)
def test_work_is_bounded_whatever_schema_and_value_are(schema: Any, value: Any, steps: list[int]) -> None:
    assert schema_fault(value, schema) is None
    assert steps[-1] > schemas.MAX_STEPS


def test_a_reply_of_very_many_values_is_not_checked() -> None:
    assert schema_fault([0] * schemas.MAX_VALUES, {"maxItems": 1}) is not None
    assert schema_fault([0] * (schemas.MAX_VALUES + 1), {"maxItems": 1}) is None


def test_an_ordinary_answer_is_far_from_the_bound(steps: list[int]) -> None:
    fields = {f"field_{n}": {"type": "string"} for n in range(10)}
    schema = {"items": {"type": "object", "properties": fields, "required": [*fields], "additionalProperties": False}}
    rows: list[Any] = [dict.fromkeys(fields, "a few words of text") for _ in range(500)]
    assert schema_fault(rows, schema) is None
    assert steps[-1] < schemas.MAX_STEPS / 2
    assert schema_fault([*rows, {}], schema) == "/500: 'field_0' is a required property"


def test_unique_items_are_not_compared_in_pairs() -> None:
    """A mixture that cannot be sorted: in pairs these were 200 million comparisons."""
    mixed: list[Any] = [*range(10_000), *({"a": n} for n in range(10_000))]
    unique = {"uniqueItems": True}
    assert schema_fault(mixed, unique) is None
    assert schema_fault([*mixed[:50], {"a": 1}, {"a": 1.0}], unique) == "/: the items are not unique"
    assert schema_fault([1, True, "1"], unique) is None
    assert schema_error(json.dumps({"$schema": DRAFTS["draft-04"], "enum": [1, "1", 1]})) is not None


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"$ref": "https://metadata.test/latest"},
        {"$ref": "file:///etc/passwd"},
        {"$schema": "http://127.0.0.1:9/dialect", "type": "object"},
        {"$id": "http://127.0.0.1:9/base/", "$ref": "other.json"},
        {"$dynamicRef": "http://127.0.0.1:9/x#meta"},
        {"$schema": DRAFTS["draft-07"], "$ref": "http://127.0.0.1:9/x"},
        {"$schema": DRAFTS["draft-04"], "id": "http://127.0.0.1:9/", "$ref": "x"},
        {"$ref": "#"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}},
    ],
    ids=str,
)
def test_nothing_is_fetched_and_nothing_raises(schema: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: Any, **__: Any) -> Any:
        raise AssertionError("something was looked up")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
    monkeypatch.setattr("urllib.request.urlopen", connect)
    monkeypatch.setattr("pathlib.Path.read_text", connect)
    values: list[Any] = [{}, [], "x", 1, None]
    for value in values:
        schema_fault(value, schema)


def test_an_installation_without_re2_does_not_pass_for_a_valid_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    with pytest.raises(ImportError, match="re2"):
        schema_fault("x", {"type": "string", "pattern": "^never seen before$"})


def test_an_engine_without_re2_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    with pytest.raises(EmergeError, match="pip install google-re2"):
        schemas.check_installation()


@pytest.fixture
def python_patterns(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The patterns that Python's own engine compiled."""
    compiled: list[Any] = []
    inner = re._compiler.compile  # type: ignore[attr-defined]

    def count(text: Any, flags: int = 0) -> Any:
        compiled.append(text)
        return inner(text, flags)

    schema_fault("warm", {"pattern": "up"})  # the library compiles patterns of its own when it is first used
    monkeypatch.setattr(re._compiler, "compile", count)  # type: ignore[attr-defined]
    return compiled


SLOW_TO_COMPILE = "(?i)(?=x)" + r"[\x00-\U0010ffff]" * 60  # 0.2 s in Python's engine


@pytest.mark.parametrize(
    "text", [SLOW_TO_COMPILE, r"^(?!x)(a+)+$", r"(a)\1", "(", r"\pL" * 300, "(?:[a-z]{1,30}.){1,30}"]
)
def test_no_pattern_of_a_client_reaches_pythons_engine(text: str, python_patterns: list[Any]) -> None:
    for schema in ({"pattern": text}, {"patternProperties": {text: {"pattern": text}}, "additionalProperties": False}):
        why_invalid(schema)
        PatternCheck().fault(schema)
        schema_fault({"a": VICTIM}, schema)
        schema_fault(VICTIM, schema)
    assert python_patterns == []


def test_the_patterns_of_a_request_are_compiled_up_to_a_total_length(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    inner = schemas._compile

    def compile_counted(text: str) -> schemas.Pattern:
        compiled.append(text)
        return inner(text)

    monkeypatch.setattr(schemas, "_compile", compile_counted)
    check = PatternCheck()
    for tool in range(128):
        names = {f"p{n}": {"pattern": f"{tool}-{n}-" + "x" * 900} for n in range(30)}
        assert check.fault({"properties": names}) is None
    assert sum(map(schemas.compile_cost, compiled)) <= schemas.MAX_COMPILING


def test_compiling_patterns_while_a_reply_is_checked_is_bounded(steps: list[int]) -> None:
    schema = {"anyOf": [{"pattern": f"^{n}" + "x" * 990} for n in range(1_000)]}
    assert schema_fault("none of them", schema) is None
    assert steps[-1] > schemas.MAX_STEPS


def test_a_pattern_that_is_not_checked_is_named() -> None:
    lookahead = {"type": "object", "properties": {"x": {"pattern": "^(?!a)"}, "y": {"pattern": "^b"}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": lookahead}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"pattern": r"(a)\1"}}}
    asked = ({"role": "user", "content": "x"},)
    assert unchecked_patterns(ChatRequest(messages=asked, tools=(tool, tool))) == ["^(?!a)"]
    assert unchecked_patterns(ChatRequest(messages=asked, tools=(tool,), response_format=form)) == [r"(a)\1", "^(?!a)"]
    assert unchecked_patterns(ChatRequest(messages=asked, tools=(tool,), tool_choice="none")) == []


@pytest.mark.parametrize("cache", [schemas._schemas, schemas._errors, schemas._patterns, json_schemas._verdicts])
def test_caches_are_bounded_in_bytes(cache: BoundedCache[Any]) -> None:
    """Forty valid requests with schemas of 4.3 MB held 577 MB."""
    cache.clear()
    for n in range(40):
        schema = {"description": f"{n}" + "x" * 400_000, "pattern": f"^{n}"}
        assert why_invalid(schema) is None
        assert PatternCheck().fault(schema) is None
        assert schema_fault("x", schema) is not None
    assert 0 < cache.bytes <= cache.max_bytes <= 32 << 20
    assert {len(key) for key in cache._entries} == {20}  # digests: the texts themselves are not kept


def test_a_schema_that_is_too_large_to_keep_is_checked_all_the_same() -> None:
    huge = {"description": "x" * 2_000_000, "type": "object", "required": ["x"]}
    kept = len(schemas._schemas)
    assert schema_fault({}, huge) == "/: 'x' is a required property"
    assert len(schemas._schemas) == kept


WRONG: list[Any] = [1, -1, 1.5, "x", "#a b", "^(", None, True, [], [1], ["a", "a"], {}, {"a": 1}, {"a": ["b"]}]


@pytest.mark.parametrize("draft", ["2020-12", "2019-09"])
def test_a_metaschema_in_one_piece_finds_the_same_faults(draft: str, steps: list[int]) -> None:
    dialect = schemas._dialect({"$schema": DRAFTS[draft]})
    whole = schemas._metaschema(dialect)
    assert "allOf" not in whole
    one = schemas._bounded(dialect)(whole, registry=schemas._registry())
    pieces = schemas._bounded(dialect)(dialect.META_SCHEMA, registry=schemas._registry())
    names = {*whole["properties"], "unknown"} - {"$schema"}
    nested = [{"properties": {"a": {"items": {name: value}}}} for name in names for value in WRONG[3:12:5]]
    found = 0
    for schema in [*({name: value} for name in names for value in WRONG), *nested, *WRONG]:
        fault = schemas._first_fault(one, schema, schemas.MAX_SCHEMA_STEPS)
        assert bool(fault) == bool(schemas._first_fault(pieces, schema, schemas.MAX_SCHEMA_STEPS)), schema
        found += bool(fault)
    assert found > 200
    assert sum(steps[::2]) * 2 < sum(steps[1::2])
