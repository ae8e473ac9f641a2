"""Every field that we interpret: what is refused, under which name, and what comes through."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emerge_core.api.body import parse_json
from emerge_core.api.chat.parse import read_chat
from emerge_core.api.request_headers import read_limits
from emerge_core.errors import RequestError
from emerge_core.types import ChatRequest

USER = {"role": "user", "content": "6 x 7?"}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "3"}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
IMAGE = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}


def body(**changes: Any) -> dict[str, Any]:
    whole = {"model": "emerge", "messages": [USER], **changes}
    return {name: value for name, value in whole.items() if value is not ...}


def parsed(**changes: Any) -> ChatRequest:
    return read_chat(body(**changes)).request


def schema_format(schema: Any, **more: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, **more}}


def tool(**function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "add", **function}}


def user(*parts: Any) -> list[Any]:
    return [{"role": "user", "content": list(parts)}]


WRONG_NUMBERS: dict[str, list[Any]] = {
    "temperature": ["1", True, [], -0.1, 2.1],
    "top_p": ["1", True, {}, -0.1, 1.1],
    "presence_penalty": ["1", True, -2.1, 2.1],
    "frequency_penalty": ["1", False, -2.1, 2.1],
    "max_tokens": [0, -1, 1.5, "9", True, 2**31],
    "max_completion_tokens": [0, -1, 1.5, "9", True, 2**31],
    "seed": [1.5, "1", False, 2**63],
    "n": [0, 129, 1.5, "2", True],
}
WRONG_TOPS: list[Any] = [-1, 21, "5", True]
REFUSED: list[tuple[dict[str, Any], str]] = [
    # model, stream
    ({"model": ...}, "model"),
    ({"model": None}, "model"),
    ({"model": 7}, "model"),
    ({"model": ""}, "model"),
    ({"stream": "yes"}, "stream"),
    ({"stream": 1}, "stream"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"stream": True, "stream_options": "usage"}, "stream_options"),
    ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
    # messages
    ({"messages": ...}, "messages"),
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({"messages": USER}, "messages"),
    ({"messages": ["hi"]}, "messages[0]"),
    ({"messages": [{"content": "hi"}]}, "messages[0].role"),
    ({"messages": [USER, {"role": "robot", "content": "hi"}]}, "messages[1].role"),
    ({"messages": [{"role": ["user"], "content": "hi"}]}, "messages[0].role"),
    ({"messages": [{"role": "function", "name": "f", "content": "hi"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [USER, {"role": "user", "content": None}]}, "messages[1].content"),
    ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": {"text": "hi"}}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": "hi", "name": 7}]}, "messages[0].name"),
    ({"messages": user()}, "messages[0].content"),
    ({"messages": user("hi")}, "messages[0].content[0]"),
    ({"messages": user({"text": "hi"})}, "messages[0].content[0].type"),
    ({"messages": user({"type": "text"})}, "messages[0].content[0].text"),
    ({"messages": user({"type": "text", "text": 7})}, "messages[0].content[0].text"),
    ({"messages": user({"type": "video", "text": ""})}, "messages[0].content[0].type"),
    ({"messages": user({"type": "input_audio", "input_audio": {}})}, "messages[0].content[0].input_audio.data"),
    ({"messages": user({"type": "file", "file": {}})}, "messages[0].content[0].file"),
    ({"messages": user({"type": "image_url"})}, "messages[0].content[0].image_url"),
    ({"messages": user({"type": "image_url", "image_url": "https://x"})}, "messages[0].content[0].image_url"),
    ({"messages": user({"type": "image_url", "image_url": {}})}, "messages[0].content[0].image_url.url"),
    (
        {"messages": user({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}})},
        "messages[0].content[0].image_url.url",
    ),
    ({"messages": [{"role": "system", "content": [IMAGE]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "assistant"}]}, "messages[0].content"),
    ({"messages": [{"role": "assistant", "content": None, "tool_calls": []}]}, "messages[0].content"),
    ({"messages": [{"role": "assistant", "content": 7, "tool_calls": [CALL]}]}, "messages[0].content"),
    ({"messages": [{"role": "assistant", "tool_calls": {}, "content": "x"}]}, "messages[0].tool_calls"),
    ({"messages": [{"role": "assistant", "tool_calls": "x"}]}, "messages[0].tool_calls"),
    ({"messages": [{"role": "assistant", "tool_calls": [{**CALL, "id": None}]}]}, "messages[0].tool_calls[0].id"),
    ({"messages": [{"role": "assistant", "tool_calls": [{**CALL, "type": "x"}]}]}, "messages[0].tool_calls[0].type"),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "c", "type": "function"}]}]},
        "messages[0].tool_calls[0].function",
    ),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{**CALL, "function": {"arguments": "{}"}}]}]},
        "messages[0].tool_calls[0].function.name",
    ),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "a", "arguments": {}}}]}]},
        "messages[0].tool_calls[0].function.arguments",
    ),
    ({"messages": [{"role": "assistant", "content": "x", "function_call": {}}]}, "messages[0].function_call"),
    ({"messages": [{"role": "assistant", "refusal": 1}]}, "messages[0].refusal"),
    ({"messages": [USER, CALLING, {"role": "tool", "content": "3"}]}, "messages[2].tool_call_id"),
    ({"messages": [USER, CALLING, {**RESULT, "tool_call_id": 1}]}, "messages[2].tool_call_id"),
    ({"messages": [USER, CALLING, {**RESULT, "tool_call_id": "c2"}]}, "messages[2].tool_call_id"),
    ({"messages": [USER, RESULT]}, "messages[1].tool_call_id"),
    ({"messages": [USER, CALLING, {**RESULT, "content": None}]}, "messages[2].content"),
    ({"messages": [USER, CALLING, {**RESULT, "content": [IMAGE]}]}, "messages[2].content[0].type"),
    # tools
    ({"tools": {}}, "tools"),
    ({"tools": ["add"]}, "tools[0]"),
    ({"tools": [TOOL] * 129}, "tools"),
    ({"tools": [{"function": {"name": "add"}}]}, "tools[0].type"),
    ({"tools": [{"type": "custom", "custom": {"name": "add"}}]}, "tools[0].type"),
    ({"tools": [{"type": "function"}]}, "tools[0].function"),
    ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
    ({"tools": [tool(name="has space")]}, "tools[0].function.name"),
    ({"tools": [tool(name="a" * 65)]}, "tools[0].function.name"),
    ({"tools": [TOOL, TOOL]}, "tools[1].function.name"),
    ({"tools": [tool(description=1)]}, "tools[0].function.description"),
    ({"tools": [tool(strict="yes")]}, "tools[0].function.strict"),
    ({"tools": [tool(parameters="none")]}, "tools[0].function.parameters"),
    ({"tools": [tool(parameters={"type": "objekt"})]}, "tools[0].function.parameters"),
    ({"tools": [tool(parameters={"$ref": "https://x.test/schema"})]}, "tools[0].function.parameters"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": "sometimes"}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": 1}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "x"}}, "tool_choice.type"),
    ({"tools": [TOOL], "tool_choice": {"type": "function"}}, "tool_choice.function"),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {}}}, "tool_choice.function.name"),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "sub"}}}, "tool_choice.function.name"),
    ({"tools": [TOOL], "parallel_tool_calls": "no"}, "parallel_tool_calls"),
    ({"functions": [{"name": "add"}]}, "functions"),
    ({"function_call": "auto"}, "function_call"),
    # response format
    ({"response_format": "json"}, "response_format"),
    ({"response_format": {}}, "response_format.type"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ({"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}}, "response_format.json_schema.name"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}},
        "response_format.json_schema.schema",
    ),
    ({"response_format": schema_format({}, name="a b")}, "response_format.json_schema.name"),
    ({"response_format": schema_format({}, strict=1)}, "response_format.json_schema.strict"),
    ({"response_format": schema_format([])}, "response_format.json_schema.schema"),
    ({"response_format": schema_format({"type": "strin"})}, "response_format.json_schema.schema"),
    ({"response_format": schema_format({"properties": []})}, "response_format.json_schema.schema"),
    ({"response_format": schema_format({"pattern": "("})}, "response_format.json_schema.schema"),
    ({"response_format": schema_format({"$ref": "#/$defs/no"})}, "response_format.json_schema.schema"),
    ({"response_format": schema_format({"$schema": 7})}, "response_format.json_schema.schema"),
    (
        {"response_format": schema_format({"items": {"$dynamicRef": "https://x.test"}})},
        "response_format.json_schema.schema",
    ),
    ({"response_format": schema_format({"$ref": "#"})}, "response_format.json_schema.schema"),
    # numbers
    *[({name: value}, name) for name, values in WRONG_NUMBERS.items() for value in values],
    ({"logprobs": 1}, "logprobs"),
    *[({"logprobs": True, "top_logprobs": value}, "top_logprobs") for value in WRONG_TOPS],
    ({"top_logprobs": 2}, "top_logprobs"),
    # stop
    ({"stop": 7}, "stop"),
    ({"stop": ""}, "stop"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
    ({"stop": ["a", 7]}, "stop[1]"),
    ({"stop": [""]}, "stop[0]"),
]


@pytest.mark.parametrize(("changes", "param"), REFUSED, ids=lambda v: str(v)[:60])
def test_a_fault_is_a_400_that_names_the_field_as_the_caller_knows_it(changes: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_chat(body(**changes))
    error = caught.value
    assert (error.status, error.type, error.param) == (400, "invalid_request_error", param)
    assert f"`{param}`" in error.message


def test_a_plain_request_has_only_what_was_said() -> None:
    assert parsed() == ChatRequest(messages=(USER,))


def test_every_parameter_arrives() -> None:
    request = parsed(
        tools=[TOOL],
        tool_choice={"type": "function", "function": {"name": "add"}},
        parallel_tool_calls=False,
        response_format=schema_format({"type": "object"}),
        max_tokens=9,
        temperature=0,
        top_p=1,
        presence_penalty=-2,
        frequency_penalty=0.5,
        stop="END",
        seed=-1,
        n=3,
        logprobs=True,
        top_logprobs=0,
    )
    assert request == ChatRequest(
        messages=(USER,),
        tools=(TOOL,),
        tool_choice={"type": "function", "function": {"name": "add"}},
        parallel_tool_calls=False,
        response_format=schema_format({"type": "object"}),
        max_tokens=9,
        temperature=0.0,
        top_p=1.0,
        presence_penalty=-2.0,
        frequency_penalty=0.5,
        stop=("END",),
        seed=-1,
        n=3,
        logprobs=True,
        top_logprobs=0,
    )


def test_what_we_do_not_interpret_passes_through_and_null_is_absent() -> None:
    request = parsed(user="u1", metadata={"a": "b"}, future=[1], store=None, temperature=None, tools=None, stop=None)
    assert request == ChatRequest(messages=(USER,), extra={"user": "u1", "metadata": {"a": "b"}, "future": [1]})


def test_the_stream_options_are_ours_and_not_the_upstreams() -> None:
    asked = read_chat(body(stream=True, stream_options={"include_usage": True}))
    assert (asked.model, asked.stream, asked.include_usage) == ("emerge", True, True)
    assert asked.request.extra == {}


def test_the_newer_name_of_max_tokens_wins_and_is_remembered() -> None:
    request = parsed(max_tokens=9, max_completion_tokens=5)
    assert (request.max_tokens, request.max_tokens_param) == (5, "max_completion_tokens")


@pytest.mark.parametrize(("given", "normal"), [("a", ("a",)), (["a", "b"], ("a", "b")), ([], ())])
def test_stop_is_a_tuple(given: Any, normal: tuple[str, ...]) -> None:
    assert parsed(stop=given).stop == normal


@pytest.mark.parametrize("choice", ["none", "auto"])
def test_a_tool_choice_that_says_nothing_is_allowed_without_tools(choice: str) -> None:
    assert parsed(tool_choice=choice, parallel_tool_calls=True, tools=[]) == ChatRequest(messages=(USER,))


def test_the_text_format_is_the_default() -> None:
    assert parsed(response_format={"type": "text"}).response_format is None


def test_a_whole_conversation_keeps_its_shape() -> None:
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "system", "content": [{"type": "text", "text": "Be kind."}]},
        *user({"type": "text", "text": "What is it?"}, IMAGE),
        *user({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}),
        CALLING,
        RESULT,
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        {"role": "assistant", "content": "", "name": "bot"},
        {"role": "user", "content": ""},
    ]
    assert list(parsed(messages=messages).messages) == messages


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"type": "string"}}},
        {"$ref": "#/$defs/x~1y", "$defs": {"x/y": {"type": "object", "properties": {"next": {"$ref": "#"}}}}},
        {"properties": {"$ref": {"type": "string"}, "default": {"type": "string"}}},
        {"const": {"$ref": "https://x.test"}},
        {"properties": {"a": {"$ref": "#here"}, "b": {"$anchor": "here"}}},
        {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"a": {}}, "$ref": "#/definitions/a"},
    ],
)
def test_schemas_that_can_be_checked_here_are_taken(schema: dict[str, Any]) -> None:
    assert parsed(response_format=schema_format(schema)).json_schema == schema


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"{'a': 1}", "not valid JSON"),
        (b'{"a": 1} x', "not valid JSON"),
        (b'{"temperature": NaN}', "NaN is not a JSON number"),
        (b'{"temperature": -Infinity}', "-Infinity is not a JSON number"),
        (b'{"temperature": 1e999}', "too large"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b'"hi"', "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'{"a": "\xff"}', "not valid Unicode"),
        (b'{"a": "\\ud800"}', "not valid Unicode"),
        (b'{"a": "\xed\xa0\x80"}', "not valid Unicode"),
        (json.dumps({"a": "hi"}).encode("utf-16"), "not valid"),
        (b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}", "nested too deeply"),
        (b'{"a": ' * 50_000 + b"1" + b"}" * 50_000, "nested too deeply"),
    ],
    ids=lambda v: str(v)[:30],
)
def test_a_body_that_is_no_json_object_is_refused(raw: bytes, says: str) -> None:
    with pytest.raises(RequestError, match=says) as caught:
        parse_json(raw)
    assert (caught.value.status, caught.value.param) == (400, "body")


def test_braces_in_text_are_not_nesting_and_whole_surrogate_pairs_are_text() -> None:
    assert parse_json(b'{"a": "' + b"{[" * 500 + b'", "b": "\\ud83d\\ude00"}') == {"a": "{[" * 500, "b": "😀"}


def test_limits_come_from_headers() -> None:
    limits = read_limits({"x-emerge-deadline": "2.5", "x-emerge-max-cost": "1e-3"})
    assert (limits.deadline_s, limits.max_cost_usd) == (2.5, 0.001)
    assert read_limits({}).deadline_s is None


@pytest.mark.parametrize("name", ["x-emerge-deadline", "x-emerge-max-cost"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon", "", "1_0", "٣", "0x1", "1e999", "1 0"])
def test_a_malformed_limit_is_refused(name: str, value: str) -> None:
    with pytest.raises(RequestError, match=name) as caught:
        read_limits({name: value})
    assert caught.value.param == name


WORDS = [
    "type",
    "role",
    "content",
    "text",
    "function",
    "name",
    "parameters",
    "schema",
    "json_schema",
    "tool_calls",
    "id",
]
WORDS += ["url", "image_url", "$ref", "$schema", "$defs", "$id", "properties", "items", "enum", "pattern", "allOf", "a"]
VALUES = ["function", "json_schema", "text", "user", "tool", "assistant", "#/$defs/a", "#", "object", "string", "("]
FIELDS = ["model", "messages", "stream", "stream_options", "tools", "tool_choice", "response_format", "max_tokens"]
FIELDS += ["temperature", "top_p", "stop", "seed", "n", "logprobs", "top_logprobs", "functions", "anything"]
SCALARS = st.sampled_from([None, True, False, 0, -1, 2**70, 0.5, 1e300, "", "x", "\x00", "😀", *VALUES])
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_whatever_is_sent_is_taken_or_refused_but_never_a_crash(changes: dict[str, Any]) -> None:
    with suppress(RequestError):
        read_chat(parse_json(json.dumps(body(**changes)).encode()))


@given(JSON)
def test_whatever_a_schema_is_it_is_taken_or_refused(schema: Any) -> None:
    with suppress(RequestError):
        parsed(response_format=schema_format(schema), tools=[tool(parameters=schema)])
