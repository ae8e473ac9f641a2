"""Keys of tool calls."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emerge_core.answers import Extractor, names_key
from emerge_core.answers.forms import json_keys
from emerge_core.answers.forms.tool_calls import MAX_CALLS
from emerge_core.types import AnswerKey, ChatRequest, Completion, ToolCall

TOOL = {
    "type": "function",
    "function": {
        "name": "book",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "nights": {"type": "integer", "default": 1},
                "room": {"type": "object", "properties": {"beds": {"type": "integer", "default": 2}}},
                "guests": {"type": "array", "items": {"type": "object", "properties": {"vip": {"default": False}}}},
            },
        },
    },
}
EXTRACTOR = Extractor.of(ChatRequest(messages=({"role": "user", "content": "Book."},), tools=(TOOL,)))


def key(*arguments: str, name: str = "book") -> AnswerKey | None:
    calls = tuple(ToolCall(id=str(index), name=name, arguments=text) for index, text in enumerate(arguments))
    return EXTRACTOR.key(Completion(tool_calls=calls, finish_reason="tool_calls"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"city": "Bern", "nights": 2}', '{ "nights": 2, "city": "Bern" }'),
        ('{"city": "Bern", "nights": 2}', '{"city": "Bern", "nights": 2.0}'),
        ('{"city": "Bern"}', '{"city": "Bern", "nights": 1}'),
        ('{"room": {}}', '{"room": {"beds": 2}, "nights": 1}'),
        ('{"guests": [{"name": "x"}]}', '{"guests": [{"name": "x", "vip": false}]}'),
        ("", "{}"),
    ],
)
def test_equal_calls(one: str, other: str) -> None:
    assert key(one) is not None
    assert key(one) == key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"city": "Bern"}', '{"city": "bern"}'),
        ('{"city": "Bern"}', '{"city": "Bern", "nights": 2}'),
        ('{"nights": 1}', '{"nights": true}'),
        ('{"city": null}', "{}"),
    ],
)
def test_different_calls(one: str, other: str) -> None:
    assert key(one) != key(other)


def test_parallel_calls_are_a_multiset() -> None:
    bern, rome = '{"city": "Bern"}', '{"city": "Rome"}'
    assert key(bern, rome) == key(rome, bern)
    assert key(bern) != key(bern, bern)
    assert key(bern, name="book") != key(bern, name="cancel")


def test_names_alone() -> None:
    calls = [ToolCall(id="1", name=name, arguments="{}") for name in ("b", "a", "b")]
    assert names_key(calls) == names_key(calls[::-1]) == AnswerKey("names", '["a","b","b"]')


def test_text_beside_tools_keeps_its_own_key() -> None:
    assert EXTRACTOR.key(Completion(text="The answer is 42.", finish_reason="stop")) == AnswerKey("number", "42")


json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-3, 3),
        st.floats(-2, 2),
        st.sampled_from(["", "1", "a", "A", "a b", "A b"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("ab"), inner, max_size=2)),
    max_leaves=4,
)


def found(schema: object, value: object, name: str = "x") -> AnswerKey:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"properties": {name: schema}}}}
    extractor = Extractor.of(ChatRequest(messages=({"role": "user", "content": "x"},), tools=(tool,)))
    made = extractor.key(Completion(tool_calls=(ToolCall(id="1", name="f", arguments=json.dumps({name: value})),)))
    assert made is not None
    return made


STRING: dict[str, Any] = {"type": "string"}
OPTIONAL = {"anyOf": [{"type": "string"}, {"type": "null"}]}
COLOURS = {"enum": ["Dark Red", "dark red"]}


@pytest.mark.parametrize("schema", [STRING, {"type": ["string", "null"]}, OPTIONAL, {"description": "x", **STRING}])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("New York", "new york"),
        ("New  York ", "New York."),
        ("What is the weather like?", "what is the weather like"),
        ("\u201cGood morning, Anna\u201d", "good morning, Anna!"),
        ("Zürich Altstadt", "zürich  altstadt"),
    ],
)
def test_free_texts_of_several_words_compare_by_their_words(schema: Any, one: str, other: str) -> None:
    assert found(schema, one) == found(schema, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Bern", "bern"),  # one word: perhaps a code
        ("AB 12", "ab 12"),
        ("ls -l", "ls -L"),
        ("rm -r Old Stuff", "rm -R Old Stuff"),
        ("/home/Anna Maria", "/home/anna maria"),
        ("C:\\My Files", "C:\\my files"),
        ("print('A b')", "print('a b')"),
        ("import os.path", "import OS.path"),
        ("`Foo Bar`", "`foo bar`"),
        ("a_b C", "a_b c"),
        ("x = Y", "x = y"),
        ("x != y", "x == y"),
        ("*.TXT files", "*.txt files"),
        ("$HOME dir", "$home dir"),
        ("New York", "New-York"),
        ("New York", "NewYork"),
        ("New York", "York New"),
        ("not today", "today"),
        ("Let's eat, Grandma", "Let's eat Grandma"),
        ("007", 7),
        ("007", "7"),
        ("1.0", "1"),
        ("1", 1),
        ("true", True),
        (1, True),
        (0, False),
        ("", None),
        ([], {}),
        ([1, 2], [2, 1]),
        ([1, 1], [1]),
        (12345678901234567890, 12345678901234567891),
    ],
)
def test_calls_that_a_program_would_tell_apart(one: object, other: object) -> None:
    for schema in (STRING, OPTIONAL, {}, {"type": "array"}):
        assert found(schema, one) != found(schema, other)


@pytest.mark.parametrize(
    "schema",
    [
        COLOURS,
        {**STRING, **COLOURS},
        {"anyOf": [STRING, COLOURS]},
        {"allOf": [STRING]},
        {"$ref": "#/$defs/missing"},
        {**STRING, "pattern": "^[A-Z]"},
        {**STRING, "format": "uuid"},
        {**STRING, "const": "Dark Red"},
        {"type": "array"},
        {},
    ],
)
def test_strings_that_the_schema_restricts_or_does_not_describe_compare_exactly(schema: object) -> None:
    assert found(schema, "Dark Red") != found(schema, "dark red")


@pytest.mark.parametrize(
    "name", ["id", "user_id", "userId", "code", "file_path", "command", "sql", "apiKey", "old_str"]
)
def test_strings_of_a_property_that_is_read_exactly(name: str) -> None:
    assert found(STRING, "Dark Red", name) != found(STRING, "dark red", name)
    assert found(STRING, "Dark Red", "label") == found(STRING, "dark red", "label")


def test_lists_are_sets_only_if_the_schema_says_so() -> None:
    items = {"type": "array", "items": STRING}
    assert found({**items, "uniqueItems": True}, ["b", "a", "b"]) == found({**items, "uniqueItems": True}, ["a", "b"])
    assert found(items, ["Dark Red", "b"]) == found(items, ["dark red", "b"]) != found(items, ["b", "dark red"])
    tuples = {"type": "array", "prefixItems": [STRING], "items": STRING}
    assert found(tuples, ["Dark Red"]) != found(tuples, ["dark red"])


def test_references_inside_the_schema_are_followed() -> None:
    parameters = {
        "properties": {"a": {"$ref": "#/$defs/place"}, "b": {"$ref": "#/$defs/loop"}},
        "$defs": {
            "place": {"properties": {"town": STRING, "kind": COLOURS, "n": {"default": 1}}},
            "loop": {"$ref": "#/$defs/loop"},
        },
    }
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    extractor = Extractor.of(ChatRequest(messages=({"role": "user", "content": "x"},), tools=(tool,)))

    def of(**arguments: object) -> AnswerKey | None:
        call = ToolCall(id="1", name="f", arguments=json.dumps(arguments))
        return extractor.key(Completion(tool_calls=(call,)))

    assert of(a={"town": "Old Town"}) == of(a={"town": "old town", "n": 1.0})
    assert of(a={"kind": "Dark Red"}) != of(a={"kind": "dark red"})
    assert of(b="Old Town") != of(b="old town")


def test_numbers_compare_by_value() -> None:
    number = {"type": "number"}
    assert found(number, 2) == found(number, 2.0)
    assert found(number, 1e20) == found(number, 10**20)
    assert found(number, 0.1) != found(number, 0.2)


@given(one=json_values, other=json_values)
def test_different_values_that_are_no_sentences_never_share_a_key(one: object, other: object) -> None:
    """GIVEN a schema that says nothing WHEN two values have one key THEN they are the same JSON value."""
    same = found({}, one) == found({}, other)
    assert same == (json_keys.canonical(one) == json_keys.canonical(other))


def test_nested_and_numerous_calls_are_that_members_fault_alone() -> None:
    deep = "[" * 500 + "]" * 500
    nested = Completion(tool_calls=(ToolCall(id="1", name="book", arguments=f'{{"city": {deep}}}'),))
    assert EXTRACTOR.key(nested) is None
    assert "levels deep" in str(EXTRACTOR.why_unusable(nested))
    many = tuple(ToolCall(id=str(n), name="book", arguments="{}") for n in range(MAX_CALLS + 1))
    assert EXTRACTOR.key(Completion(tool_calls=many)) is None
    assert "129 calls at once" in str(EXTRACTOR.why_unusable(Completion(tool_calls=many)))
    assert EXTRACTOR.why_unusable(Completion(tool_calls=many[1:])) is None


def test_fifty_thousand_calls_are_refused_without_reading_one(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(json_keys, "parse", lambda text: read.append(text))
    calls = tuple(ToolCall(id="1", name="book", arguments='{"city": "Bern"}') for _ in range(50_000))
    assert EXTRACTOR.why_unusable(Completion(tool_calls=calls)) is not None
    assert EXTRACTOR.key(Completion(tool_calls=calls)) is None
    assert read == []
