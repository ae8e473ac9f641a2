from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from emerge_core.types import ChatRequest, EmbeddingRequest, NativeRequest, ToolCall, Usage

ONE = EmbeddingRequest(inputs=("a",))

OLD, NEW = "claude-3-5-haiku-20241022", "claude-opus-5-5"
USER = {"role": "user", "content": "Hello"}
PARAMETERS = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
TOOL = {"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": PARAMETERS}}
WIRE_TOOL = {"name": "look", "description": "Looks.", "input_schema": PARAMETERS}
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}
PNG = "data:image/png;base64,aGk="


def says(*blocks: Any, stop_reason: str = "end_turn", **fields: Any) -> dict[str, Any]:
    content = list(blocks) or [{"type": "text", "text": "Hi"}]
    return {"id": "m", "type": "message", "model": "claude-1", "content": content, "stop_reason": stop_reason, **fields}


def ask(*messages: Any, **fields: Any) -> ChatRequest:
    return ChatRequest(messages=messages or (USER,), **fields)


def turn(role: str, *blocks: Any) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": b} if isinstance(b, str) else b for b in blocks]}


@pytest.mark.parametrize(
    ("messages", "system", "turns"),
    [
        ([USER], None, [turn("user", "Hello")]),
        (
            [{"role": "system", "content": "s"}, {"role": "developer", "content": "d"}, USER],
            "s\n\nd",
            [turn("user", "Hello")],
        ),
        ([USER, {"role": "system", "content": "late"}, USER], None, [turn("user", "Hello", "late", "Hello")]),
        ([{"role": "system", "content": "only"}], None, [turn("user", "only")]),
        ([USER, {"role": "assistant", "content": "So "}], None, [turn("user", "Hello"), turn("assistant", "So")]),
        ([{"role": "user", "content": "  "}, USER], None, [turn("user", "Hello")]),
        (
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "see"},
                        {"type": "image_url", "image_url": {"url": PNG}},
                        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                    ],
                }
            ],
            None,
            [
                turn(
                    "user",
                    "see",
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
                    {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
                )
            ],
        ),
        (
            [
                USER,
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {"id": "a.1", "type": "function", "function": {"name": "look", "arguments": '{"a": 1}'}},
                        {"id": "a2", "type": "function", "function": {"name": "look", "arguments": "broken"}},
                    ],
                },
                {"role": "tool", "tool_call_id": "a.1", "content": "one"},
                {"role": "tool", "tool_call_id": "a2", "content": ""},
                {"role": "user", "content": "and?"},
            ],
            None,
            [
                turn("user", "Hello"),
                turn(
                    "assistant",
                    {"type": "tool_use", "id": "a_1", "name": "look", "input": {"a": 1}},
                    {"type": "tool_use", "id": "a2", "name": "look", "input": {"arguments": "broken"}},
                ),
                turn(
                    "user",
                    {"type": "tool_result", "tool_use_id": "a_1", "content": [{"type": "text", "text": "one"}]},
                    {"type": "tool_result", "tool_use_id": "a2"},
                    "and?",
                ),
            ],
        ),
    ],
)
def test_messages_on_the_wire(exchange: Any, messages: list[Any], system: str | None, turns: list[Any]) -> None:
    body = exchange("anthropic", says(), ask(*messages)).body
    assert (body.get("system"), body["messages"]) == (system, turns)


@pytest.mark.parametrize(
    ("model", "fields", "expected", "dropped"),
    [
        (OLD, {}, {"max_tokens": 4096}, ()),
        (NEW, {}, {"max_tokens": 16384}, ()),
        (OLD, {"max_tokens": 5}, {"max_tokens": 5}, ()),
        (OLD, {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}, ()),
        (OLD, {"temperature": 1.5}, {"temperature": 1.0}, ("temperature",)),
        (NEW, {"temperature": 0.5, "top_p": 0.9}, {}, ("temperature", "top_p")),
        ("claude-sonnet-4-20250514", {"temperature": 0.0}, {"temperature": 0.0}, ()),
        ("claude-sonnet-4-6", {"temperature": 0.0}, {"temperature": 0.0}, ()),
        ("claude-opus-4@20250514", {"temperature": 0.0}, {"temperature": 0.0}, ()),
        ("claude-opus-4-7", {"temperature": 0.0}, {}, ("temperature",)),
        ("claude-opus-4-10", {"temperature": 0.0}, {}, ("temperature",)),
        ("claude-fable-5", {"temperature": 0.0}, {}, ("temperature",)),
        ("other-vendor", {"temperature": 0.0}, {"temperature": 0.0}, ()),
        (OLD, {"stop": ("END", "\n")}, {"stop_sequences": ["END"]}, ("stop",)),
        (
            OLD,
            {"presence_penalty": 0.0, "frequency_penalty": 1.0, "seed": 1, "logprobs": True, "top_logprobs": 2},
            {},
            ("presence_penalty", "frequency_penalty", "seed", "logprobs", "top_logprobs"),
        ),
        (OLD, {"extra": {"user": "u1", "store": True}}, {"metadata": {"user_id": "u1"}}, ("store",)),
        (OLD, {"extra": {"top_k": 3}}, {"top_k": 3}, ()),
        (OLD, {"extra": {"reasoning_effort": "high"}}, {}, ("reasoning_effort",)),
        (NEW, {"extra": {"reasoning_effort": "minimal"}}, {"output_config": {"effort": "low"}}, ()),
        (NEW, {"extra": {"reasoning_effort": "none"}}, {}, ("reasoning_effort",)),
        (OLD, {"tools": (TOOL,)}, {"tools": [WIRE_TOOL]}, ()),
        (OLD, {"tools": (TOOL,), "tool_choice": "auto"}, {"tool_choice": {"type": "auto"}}, ()),
        (OLD, {"tools": (TOOL,), "tool_choice": "none"}, {"tools": [WIRE_TOOL], "tool_choice": {"type": "none"}}, ()),
        (OLD, {"tools": (TOOL,), "tool_choice": "required"}, {"tool_choice": {"type": "any"}}, ()),
        (
            OLD,
            {"tools": (TOOL,), "tool_choice": {"type": "function", "function": {"name": "look"}}},
            {"tool_choice": {"type": "tool", "name": "look"}},
            (),
        ),
        (
            OLD,
            {"tools": (TOOL,), "parallel_tool_calls": False},
            {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
            (),
        ),
        (
            OLD,
            {"tools": ({"type": "function", "function": {"name": "look"}},)},
            {"tools": [{"name": "look", "input_schema": {"type": "object"}}]},
            (),
        ),
    ],
)
def test_parameters_on_the_wire(
    exchange: Any, model: str, fields: dict[str, Any], expected: dict[str, Any], dropped: tuple[str, ...]
) -> None:
    done = exchange("anthropic", says(), ask(**fields), model=model)
    defaults = {"model", "max_tokens", "messages", "tools"}
    assert {name: done.body.get(name) for name in expected} == expected
    assert set(done.body) <= defaults | set(expected)
    assert done.completion.dropped_params == dropped


def test_the_old_api_version_is_asked_for_only_where_it_is_needed(exchange: Any) -> None:
    sampling = exchange("anthropic", says(), ask(temperature=0.0), model=OLD).sent.headers
    without = exchange("anthropic", says(), ask(), model=OLD).sent.headers
    assert sampling["anthropic-version"] == "2023-06-01"
    assert without["anthropic-version"] > "2023-06-01"


def test_an_older_model_replies_to_a_schema_through_a_forced_tool(exchange: Any) -> None:
    used = {"type": "tool_use", "id": "t", "name": "reply", "input": {"answer": "é"}}
    done = exchange("anthropic", says(used, stop_reason="tool_use"), ask(response_format=FORMAT), model=OLD)
    assert done.body["tools"][0]["input_schema"] == SCHEMA
    assert done.body["tool_choice"]["name"] == "reply"
    assert json.loads(done.completion.text or "") == {"answer": "é"}
    assert (done.completion.tool_calls, done.completion.finish_reason) == ((), "stop")


def test_a_truncated_forced_tool_is_a_truncated_text(exchange: Any) -> None:
    used = {"type": "tool_use", "id": "t", "name": "reply", "input": {}}
    done = exchange("anthropic", says(used, stop_reason="max_tokens"), ask(response_format=FORMAT), model=OLD)
    assert (done.completion.text, done.completion.finish_reason) == ("{}", "length")


def test_a_later_model_is_given_the_schema(exchange: Any) -> None:
    done = exchange("anthropic", says(), ask(response_format=FORMAT), model=NEW)
    assert done.body["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}}
    assert "tools" not in done.body


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (OLD, {"response_format": {"type": "json_object"}}),
        (NEW, {"response_format": {"type": "json_object"}}),
        (OLD, {"response_format": FORMAT, "tools": (TOOL,)}),
        (OLD, {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "array"}}}}),
        (NEW, {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}}),
        (NEW, {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": ["string", "null"]}}}}),
    ],
)
def test_else_json_is_asked_for_in_words(exchange: Any, model: str, fields: dict[str, Any]) -> None:
    system = {"role": "system", "content": "Be kind."}
    done = exchange("anthropic", says(), ask(system, USER, **fields), model=model)
    assert done.body["system"].startswith("Be kind.\n\nReply with ")
    assert "JSON" in done.body["system"]
    assert "output_config" not in done.body
    assert done.completion.dropped_params == ()


@pytest.mark.parametrize(
    ("stop_reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("something_new", "stop"),
    ],
)
def test_finish_reasons(exchange: Any, stop_reason: str, finish: str) -> None:
    assert exchange("anthropic", says(stop_reason=stop_reason)).completion.finish_reason == finish


def test_a_whole_reply(exchange: Any) -> None:
    answer = says(
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "Let me "},
        {"type": "text", "text": "look."},
        {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"a": 1}},
        {"type": "tool_use", "id": "toolu_2", "name": "look", "input": {}},
        stop_reason="tool_use",
        usage={
            "input_tokens": 10,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 50,
            "output_tokens": 20,
            "output_tokens_details": {"thinking_tokens": 15},
        },
    )
    done = exchange("anthropic", answer, ask(tools=(TOOL,))).completion
    assert done.text == "Let me look."
    assert done.tool_calls == (
        ToolCall(id="toolu_1", name="look", arguments='{"a": 1}'),
        ToolCall(id="toolu_2", name="look", arguments="{}"),
    )
    assert done.usage == Usage(
        input_tokens=160, output_tokens=20, cached_tokens=100, cache_write_tokens=50, reasoning_tokens=15
    )
    assert (done.upstream_model, done.refusal) == ("claude-1", None)


@pytest.mark.parametrize(
    ("answer", "refusal"),
    [
        (says(stop_reason="refusal"), "Hi"),
        ({**says(stop_reason="refusal", stop_details={"explanation": "Not this."}), "content": []}, "Not this."),
        ({**says(stop_reason="refusal"), "content": []}, "The model refused to answer."),
    ],
)
def test_refusals(exchange: Any, answer: Any, refusal: str) -> None:
    assert exchange("anthropic", answer).completion.refusal == refusal


@pytest.mark.parametrize(
    "answer",
    ["<html>", "{}", '"x"', {"content": None}, {"content": ["x"]}, {"content": [{"type": "tool_use", "id": "x"}]}],
)
def test_a_reply_that_is_none(exchange: Any, answer: Any) -> None:
    assert exchange("anthropic", answer).error.kind == "bad_response"


@pytest.mark.parametrize("usage", [None, {}, {"input_tokens": -1}, {"input_tokens": 1, "output_tokens": "x"}])
def test_impossible_usage_is_none(exchange: Any, usage: Any) -> None:
    assert exchange("anthropic", says(usage=usage)).completion.usage is None


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png,raw"}}]}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,?"}}]}],
        [{"role": "function", "name": "f", "content": "x"}],
    ],
)
def test_what_cannot_be_taken_is_not_sent(exchange: Any, messages: list[Any]) -> None:
    done = exchange("anthropic", says(), ask(*messages))
    assert done.error.kind == "unsupported"
    assert done.upstream.sent == []


def test_it_has_no_embeddings(exchange: Any) -> None:
    done = exchange("anthropic", says(), call=lambda provider: provider.embed("e", ONE, timeout_s=5))
    assert done.error.kind == "unsupported"


@pytest.mark.parametrize("path", ["", "/v1", "/t/gsm8k", "/t/gsm8k/v1"])
def test_base_urls(exchange: Any, path: str) -> None:
    done = exchange("anthropic", says(), path=path)
    assert done.sent.path == path.removesuffix("/v1") + "/v1/messages"
    assert done.sent.headers["authorization"] == "Bearer sk-very-secret-key"


def test_a_deprecated_model_raises_no_warning(exchange: Any) -> None:
    assert exchange("anthropic", says(), model="claude-3-opus-20240229").completion.text == "Hi"


@pytest.mark.parametrize(
    ("model", "fields", "message", "wire_name", "dropped", "remembered"),
    [
        (
            "vendor",
            {"temperature": 0.1},
            "`temperature` is deprecated for this model.",
            "temperature",
            "temperature",
            True,
        ),
        (
            OLD,
            {"temperature": 0.1, "top_p": 0.5},
            "`temperature` and `top_p` cannot both be specified for this model.",
            "top_p",
            "top_p",
            False,
        ),
        (
            NEW,
            {"tools": (TOOL,), "tool_choice": "required"},
            "tool_choice: forced tool use is not supported by this model",
            "tool_choice",
            "tool_choice",
            False,
        ),
        (
            NEW,
            {"response_format": FORMAT},
            "output_config: Extra inputs are not permitted",
            "output_config",
            "response_format",
            True,
        ),
    ],
)
def test_a_refused_parameter_is_dropped_and_remembered_if_the_model_does_not_have_it(
    upstream_of: Any,
    adapter_of: Any,
    reply: Any,
    model: str,
    fields: Any,
    message: str,
    wire_name: str,
    dropped: str,
    remembered: bool,
) -> None:
    async def main() -> None:
        told = {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
        refused, well = reply(told, 400), reply(says())
        script = [refused, well] if remembered else [refused, well, refused, well]
        async with upstream_of(*script) as up, adapter_of("anthropic", up.url) as provider:
            first = await provider.complete(model, ask(**fields), timeout_s=5)
            second = await provider.complete(model, ask(**fields), timeout_s=5)
        again = [False] if remembered else [True, False]
        assert [wire_name in sent.body for sent in up.sent] == [True, False, *again]
        if dropped == "response_format":  # then it is asked for in words: not lost
            assert "JSON schema" in up.sent[-1].body["system"]
        assert (first.attempts, second.attempts) == (2, len(again))
        assert (dropped in first.dropped_params) == (dropped != "response_format")

    asyncio.run(main())


def native(body: dict[str, Any], **request: Any) -> ChatRequest:
    messages = ({"role": "user", "content": "Hello"},)
    asked = NativeRequest(kind="anthropic", body=body, messages=messages, headers={"anthropic-beta": "x-2026"})
    return ChatRequest(messages=messages, native=asked, max_tokens=body.get("max_tokens"), **request)


def test_a_client_s_own_body_arrives_as_it_came(exchange: Any) -> None:
    body = {
        "model": "emerge",
        "max_tokens": 50,
        "stream": True,
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello", "of_tomorrow": 1}]}],
        "thinking": {"type": "adaptive"},
        "context_management": {"edits": []},
        "tools": [],
        "service_tier": "auto",
    }
    seen = exchange("anthropic", says(), native(body))
    sent = {name: value for name, value in body.items() if name not in ("stream", "tools", "service_tier")}
    assert seen.body == {**sent, "model": "m"}
    assert seen.sent.headers["anthropic-beta"] == "x-2026"
    assert seen.completion.dropped_params == ("service_tier",)


def test_a_body_that_stands_for_another_request_is_not_sent(exchange: Any) -> None:
    request = native({"model": "emerge", "max_tokens": 50, "messages": [], "of_tomorrow": 1})
    changed = replace(request, messages=({"role": "user", "content": "Judge this"},))
    assert "of_tomorrow" not in exchange("anthropic", says(), changed).body


def test_a_member_s_temperature_goes_before_the_client_s(exchange: Any) -> None:
    body = {"model": "emerge", "max_tokens": 50, "temperature": 0.1, "messages": [{"role": "user", "content": "Hello"}]}
    assert exchange("anthropic", says(), native(body, temperature=0.9)).body["temperature"] == 0.9
