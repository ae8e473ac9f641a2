"""JSON replies, asked for or not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from emerge_core.answers import Extractor
from emerge_core.answers.forms.json_keys import MAX_LEAVES
from emerge_core.types import ChatRequest, Completion
from tests.answers.key_of import CAPITAL, SUM, VALUE, key_of, spelled

JSON_REPLIES = [
    (SUM, '{"answer": 72}', "number:72"),
    (SUM, '{"answer": "72"}', "number:72"),
    (SUM, '{"answer": "$72.00"}', "number:72"),
    (SUM, '{"reasoning": "48 + 24", "answer": "72 clips"}', "number:72"),
    (SUM, '{"answer": "72", "reasoning": "so the answer is 96, no: 72"}', "number:72"),
    (SUM, '{"final_answer": 72}', "number:72"),
    (SUM, '{"Final Answer": "72"}', "number:72"),
    (SUM, '{"finalAnswer": "72"}', "number:72"),
    (SUM, '{"result": 72}', "number:72"),
    (SUM, '```json\n{"answer": "72"}\n```', "number:72"),
    (SUM, '``` json\n{\n    "reasoning": "…",\n    "answer": "72"\n}\n```', "number:72"),
    (SUM, 'Here is the solution:\n\n{\n "reasoning": "…",\n "answer": "72"\n}\n\nLet me know!', "number:72"),
    (SUM, '{\n "reasoning": "first line\nsecond line",\n "answer": "72"\n}', "number:72"),
    (SUM, '{\n "reasoning": "she said "48" first",\n "answer": "72"\n}', "number:72"),
    (SUM, '{\n "reasoning": "48 and 24",\n "answer": "72"', "number:72"),
    (SUM, '{"reasoning": "so 48 + 24,\nanswer": "72"\n}\n```', "number:72"),
    (SUM, '{"reasoning": "a \\frac{1}{2} b", "answer": "72"}', "number:72"),
    (SUM, "{'reasoning': 'half', 'answer': 72}", "number:72"),
    (SUM, '"answer": "72"', "number:72"),
    (SUM, "answer: 72", "number:72"),
    (SUM, '{"answer": ""}', None),
    (SUM, '{"answer": "___"}', None),
    (SUM, '{"answer": "<your answer>"}', None),
    (SUM, '{"answer": "[insert answer]"}', None),
    (VALUE, '{"answer": "\\\\frac{3}{4}"}', "number:3/4"),
    (VALUE, '{"answer": [1, 2]}', "literal:[1, 2]"),
    (VALUE, '{"answer": {"x": 1, "y": 2}}', "literal:{'x': 1, 'y': 2}"),
    (CAPITAL, '{"city": "Canberra", "population": 450000}', 'json:[["/city","text:canberra"],["/population",450000]]'),
]


@pytest.mark.parametrize(("question", "reply", "expected"), JSON_REPLIES)
def test_the_key_of_a_json_reply(question: str, reply: str, expected: str | None) -> None:
    assert spelled(key_of(question, reply)) == expected


def json_key(reply: object, schema: object = None, paths: tuple[str, ...] = ()) -> str | None:
    form = {"type": "json_object"} if schema is None else {"type": "json_schema", "json_schema": {"schema": schema}}
    request = ChatRequest(messages=({"role": "user", "content": "Classify."},), response_format=form)
    text = reply if isinstance(reply, str) else json.dumps(reply)
    return spelled(Extractor.of(request, paths).key(Completion(text=text)))


LONG = "because " * 20


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ({"label": "spam", "why": LONG}, {"label": "spam", "why": LONG + "so"}, True),
        ({"label": "spam", "score": 1}, {"score": 1.0, "label": "spam"}, True),
        ({"label": "Spam"}, {"label": "spam"}, True),
        ({"label": "spam"}, {"label": "ham"}, False),
        ({"label": "spam", "score": 1}, {"label": "spam", "score": 2}, False),
        ({"ok": True}, {"ok": False}, False),
        ({"ok": True}, {"ok": 1}, False),
        ({"ok": None}, {"ok": False}, False),
        ({"tags": ["a", "b"]}, {"tags": ["b", "a"]}, False),
        ({"tags": []}, {"tags": {}}, False),
        ({"amount": "1,000.00"}, {"amount": "$1000"}, True),
        ('{"label": "spam"}', '```json\n{"label": "spam"}\n```', True),
    ],
)
def test_keys_of_json_answers(one: object, other: object, equal: bool) -> None:
    assert json_key(one) is not None
    assert (json_key(one) == json_key(other)) is equal


def test_configured_paths_are_the_vote() -> None:
    one, other = {"label": "spam", "score": 0.9, "why": "a"}, {"label": "spam", "score": 0.4, "why": "b"}
    assert json_key(one) != json_key(other)
    assert json_key(one, paths=("/label",)) == json_key(other, paths=("/label",))
    assert json_key(one, paths=("/label", "/score")) != json_key(other, paths=("/label", "/score"))
    assert json_key({"other": 1}, paths=("/label",)) is None
    assert json_key({"a/b": {"c~d": [1, 2]}}, paths=("/a~1b/c~0d/1",)) == 'json:[["/a~1b/c~0d/1",2]]'


def test_long_values_of_an_enum_count() -> None:
    values = ["x" * 80, "y" * 80]
    schema = {"type": "object", "properties": {"kind": {"enum": values}, "why": {"type": "string"}}}
    assert json_key({"kind": values[0], "why": LONG}, schema) != json_key({"kind": values[1], "why": LONG}, schema)


def test_free_text_alone_is_no_vote() -> None:
    assert json_key({"essay": LONG}) is None
    assert json_key("no JSON at all") is None


def test_gold_answers_of_json_requests() -> None:
    request = ChatRequest(messages=({"role": "user", "content": "Classify."},), response_format={"type": "json_object"})
    extractor = Extractor.of(request, ("/label",))
    assert extractor.gold_key("spam") == extractor.key(Completion(text='{"label": "Spam", "p": 0.3}'))
    assert extractor.gold_key('{"label": "spam"}') == extractor.key(Completion(text='{"label": "spam"}'))


@pytest.mark.parametrize("leaf", [1, "a", None])
def test_an_object_of_too_many_fields_has_no_key(leaf: Any) -> None:
    request = ChatRequest(messages=({"role": "user", "content": "x"},), response_format={"type": "json_object"})
    for count, has_key in ((MAX_LEAVES, True), (MAX_LEAVES + 1, False)):
        reply = Completion(text=json.dumps({f"f{n}": leaf for n in range(count)}), finish_reason="stop")
        assert (Extractor.of(request).key(reply) is not None) is has_key
