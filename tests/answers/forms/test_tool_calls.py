"""Keys of tool calls."""

from __future__ import annotations

import pytest

from emerge_core.answers import Extractor, names_key
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
