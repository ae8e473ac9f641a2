from __future__ import annotations

import asyncio
import base64
import struct
from typing import Any

import pytest

from emerge_core.types import ChatRequest, EmbeddingRequest, TokenLogprob, ToolCall, TopLogprob, Usage

ONE = EmbeddingRequest(inputs=("a",))
TWO = EmbeddingRequest(inputs=("a", "b"))

USER = {"role": "user", "content": "Hello"}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}


def says(message: Any = None, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"} if message is None else message}
    choice |= {name: fields.pop(name) for name in ("finish_reason", "logprobs") if name in fields}
    return {"id": "c", "object": "chat.completion", "model": "m-1", "choices": [choice], **fields}


def ask(*messages: Any, **fields: Any) -> ChatRequest:
    return ChatRequest(messages=messages or (USER,), **fields)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (ask(), {}),
        (ask(max_tokens=9), {"max_tokens": 9}),
        (ask(max_tokens=9, max_tokens_param="max_completion_tokens"), {"max_completion_tokens": 9}),
        (ask(temperature=0.0, top_p=0.9), {"temperature": 0.0, "top_p": 0.9}),
        (ask(presence_penalty=0.1, frequency_penalty=0.2), {"presence_penalty": 0.1, "frequency_penalty": 0.2}),
        (ask(stop=("a", "b"), seed=7), {"stop": ["a", "b"], "seed": 7}),
        (ask(logprobs=True, top_logprobs=3), {"logprobs": True, "top_logprobs": 3}),
        (ask(top_logprobs=3), {}),
        (ask(response_format=SCHEMA), {"response_format": SCHEMA}),
        (ask(response_format={"type": "json_object"}), {"response_format": {"type": "json_object"}}),
        (
            ask(tools=(TOOL,), tool_choice="required", parallel_tool_calls=False),
            {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False},
        ),
        (
            ask(tools=(TOOL,), tool_choice={"type": "function", "function": {"name": "look"}}),
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "look"}}},
        ),
        (ask(extra={"reasoning_effort": "low", "vendor": {"x": 1}}), {"reasoning_effort": "low", "vendor": {"x": 1}}),
        (ask(n=3, extra={"stream": True, "n": 3, "model": "other"}), {}),
    ],
)
def test_the_request_on_the_wire(exchange: Any, request_: ChatRequest, expected: dict[str, Any]) -> None:
    done = exchange("openai", says(), request_, path="/v1")
    assert done.body == {"model": "m", "messages": [USER], **expected}
    assert (done.sent.method, done.sent.path) == ("POST", "/v1/chat/completions")
    assert done.completion.dropped_params == (("logprobs",) if request_.logprobs else ())


def test_messages_go_out_as_they_are(exchange: Any) -> None:
    messages = (
        {"role": "system", "content": "s"},
        {"role": "developer", "content": "d"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "seen"},
    )
    assert exchange("openai", says(), ask(*messages)).body["messages"] == list(messages)


def test_a_whole_reply(exchange: Any) -> None:
    logprobs = {"content": [{"token": "Hi", "logprob": -0.1, "top_logprobs": [{"token": "Ho", "logprob": -2.5}]}]}
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 20,
        "total_tokens": 30,
        "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 15},
    }
    answer = says(finish_reason="length", logprobs=logprobs, usage=usage)
    done = exchange("openai", answer, ask(logprobs=True, top_logprobs=1)).completion
    assert (done.text, done.finish_reason, done.upstream_model) == ("Hi", "length", "m-1")
    assert done.logprobs == (TokenLogprob(token="Hi", logprob=-0.1, top=(TopLogprob("Ho", -2.5),)),)
    assert done.usage == Usage(
        input_tokens=10, output_tokens=20, cached_tokens=4, cache_write_tokens=3, reasoning_tokens=15
    )
    assert done.dropped_params == ()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (says(), {"text": "Hi", "finish_reason": "stop"}),
        (says({"content": ""}), {"text": ""}),
        (says({"content": None}, finish_reason="length"), {"text": None, "finish_reason": "length"}),
        (says({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}), {"text": "a\nb"}),
        (says({"content": None, "refusal": "No."}), {"text": None, "refusal": "No."}),
        (says({"content": "x", "refusal": None}, finish_reason="content_filter"), {"finish_reason": "content_filter"}),
        (says(finish_reason="eos"), {"finish_reason": "stop"}),
        (
            says({"content": None, "tool_calls": [{"id": "1", "function": {"name": "look", "arguments": '{"a":1}'}}]}),
            {
                "text": None,
                "finish_reason": "tool_calls",
                "tool_calls": (ToolCall(id="1", name="look", arguments='{"a":1}'),),
            },
        ),
        (
            says({"tool_calls": [{"function": {"name": "look", "arguments": {"a": 1}}}]}),
            {"tool_calls": (ToolCall(id="call_0", name="look", arguments='{"a": 1}'),)},
        ),
        (
            says({"function_call": {"name": "look", "arguments": "{}"}}, finish_reason="function_call"),
            {"finish_reason": "tool_calls", "tool_calls": (ToolCall(id="call_0", name="look", arguments="{}"),)},
        ),
        (says(logprobs={"content": [{"token": "x"}]}), {"logprobs": None}),
        (says(model=None), {"upstream_model": None}),
    ],
)
def test_replies_of_many_servers(exchange: Any, answer: Any, expected: dict[str, Any]) -> None:
    done = exchange("openai", answer).completion
    assert {name: getattr(done, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, None),
        ({}, None),
        ([1], None),
        ({"prompt_tokens": 3, "completion_tokens": 4}, Usage(input_tokens=3, output_tokens=4)),
        ({"prompt_tokens": -3, "completion_tokens": 4}, None),
        ({"prompt_tokens": 3, "completion_tokens": 4e30}, None),
        ({"prompt_tokens": 10**15, "completion_tokens": 4}, None),
        ({"prompt_tokens": True, "completion_tokens": 4}, None),
        ({"prompt_tokens": "3", "completion_tokens": 4}, None),
        (
            {"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 99}},
            Usage(input_tokens=3, output_tokens=4, cached_tokens=3),
        ),
        (
            {"prompt_tokens": 3, "completion_tokens": 4, "prompt_cache_hit_tokens": 2},
            Usage(input_tokens=3, output_tokens=4, cached_tokens=2),
        ),
        (  # reasoning counted beside the completion
            {
                "prompt_tokens": 3,
                "completion_tokens": 4,
                "total_tokens": 17,
                "completion_tokens_details": {"reasoning_tokens": 10},
            },
            Usage(input_tokens=3, output_tokens=14, reasoning_tokens=10),
        ),
        (  # reasoning in the total alone
            {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 17},
            Usage(input_tokens=3, output_tokens=14, reasoning_tokens=10),
        ),
    ],
)
def test_usage(exchange: Any, usage: Any, expected: Usage | None) -> None:
    assert exchange("openai", says(usage=usage)).completion.usage == expected


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("<html>busy</html>", "HTML"),
        ("nonsense", "no JSON"),
        ("", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        ("[1]", "list"),
        ({}, "no choices"),
        ({"choices": []}, "no choices"),
        ({"choices": None}, "no choices"),
        ({"choices": [{}]}, "no message"),
        ({"choices": [{"message": None}]}, "no message"),
        ({"choices": ["x"]}, "no choices|no message"),
        (says({"tool_calls": [{"id": "1"}]}), "no function name"),
        ({"error": {"message": "out of luck"}}, "out of luck"),
    ],
)
def test_a_reply_that_is_none(exchange: Any, answer: Any, message: str) -> None:
    error = exchange("openai", answer).error
    assert error.kind == "bad_response"
    assert any(part in error.message for part in message.split("|"))


def test_an_error_inside_a_200_has_its_own_status(exchange: Any) -> None:
    error = exchange("openai", {"error": {"message": "slow down", "code": 429}}).error
    assert (error.kind, error.status, error.message) == ("rate_limit", 429, "slow down")


def test_the_key_and_configured_headers(exchange: Any) -> None:
    done = exchange("openai", says(), headers={"X-Team": "blue"})
    assert done.sent.headers["authorization"] == "Bearer sk-very-secret-key"
    assert done.sent.headers["x-team"] == "blue"


def test_a_local_server_needs_no_key(exchange: Any) -> None:
    assert exchange("openai", says(), api_key=None).completion.text == "Hi"


def test_a_configured_authorization_replaces_the_key(exchange: Any) -> None:
    done = exchange("openai", says(), api_key=None, headers={"Authorization": "Basic abc"})
    assert done.sent.headers["authorization"] == "Basic abc"


def test_the_environment_neither_redirects_nor_marks_calls(exchange: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-ours")
    assert "openai-organization" not in exchange("openai", says()).sent.headers


REFUSALS = [
    (
        "temperature",
        {"code": "unsupported_value", "param": "temperature", "message": "'temperature' does not support 0.2."},
        False,
    ),
    ("logprobs", {"message": "logprobs is not supported by this model"}, True),
    ("seed", {"message": "Extra inputs are not permitted: seed"}, True),
    ("seed", {"message": "Unsupported parameter: 'seed'", "param": "seed", "code": "unsupported_parameter"}, True),
    ("seed", {"message": "The stop sequence 'unsupported parameter: seed' is not supported"}, False),
]


@pytest.mark.parametrize(("name", "error", "remembered"), REFUSALS)
def test_a_refused_parameter_is_dropped_and_remembered_if_the_model_does_not_have_it(
    upstream_of: Any, adapter_of: Any, reply: Any, name: str, error: Any, remembered: bool
) -> None:
    request = ask(temperature=0.2, logprobs=True, seed=1)

    async def main() -> None:
        refused, well = reply({"error": error}, status=400), reply(says())
        script = [refused, well] if remembered else [refused, well, refused, well]
        async with upstream_of(*script) as upstream, adapter_of("openai", upstream.url) as provider:
            first = await provider.complete("m", request, timeout_s=5)
            second = await provider.complete("m", request, timeout_s=5)
            other = await provider.complete("other", request, timeout_s=5)
        again = [False] if remembered else [True, False]
        assert [name in sent.body for sent in upstream.sent] == [True, False, *again, True]
        assert [(learnt.model, learnt.param) for learnt in provider.refusals.status()] == [("m", name)] * remembered
        assert name in first.dropped_params
        assert name in second.dropped_params
        assert name not in other.dropped_params or name == "logprobs"
        assert (first.attempts, second.attempts) == (2, len(again))

    asyncio.run(main())


def test_max_tokens_is_renamed_where_the_model_wants_it(exchange: Any, reply: Any) -> None:
    error = {"code": "unsupported_parameter", "param": "max_tokens", "message": "Use 'max_completion_tokens' instead."}
    done = exchange("openai", [reply({"error": error}, status=400), reply(says())], ask(max_tokens=5))
    assert done.body["max_completion_tokens"] == 5
    assert "max_tokens" not in done.body
    assert done.completion.dropped_params == ()


def test_a_bad_value_is_the_callers_fault_and_not_dropped(exchange: Any, reply: Any) -> None:
    error = {"message": "temperature must be at most 2", "param": "temperature", "code": "invalid_value"}
    done = exchange("openai", reply({"error": error}, status=400), ask(temperature=1.9))
    assert done.error.kind == "invalid_request"
    assert (done.error.param, done.error.code) == ("temperature", "invalid_value")
    assert len(done.upstream.sent) == 1


def test_text_that_cannot_be_encoded_is_an_invalid_request(exchange: Any) -> None:
    assert exchange("openai", says(), ask({"role": "user", "content": "\ud800"})).error.kind == "invalid_request"
    assert exchange("openai", says(), ask(extra={"x": float("nan")})).error.kind == "invalid_request"


@pytest.mark.parametrize("encoded", [False, True])
def test_embeddings_in_the_order_of_the_texts(exchange: Any, encoded: bool) -> None:
    def vector(*numbers: float) -> Any:
        return base64.b64encode(struct.pack("<2f", *numbers)).decode() if encoded else list(numbers)

    rows = [{"index": 1, "embedding": vector(0.0, 1.0)}, {"index": 0, "embedding": vector(0.5, 0.25)}]
    done = exchange(
        "openai",
        {"data": rows, "usage": {"prompt_tokens": 4, "total_tokens": 4}},
        call=lambda provider: provider.embed("e", TWO, timeout_s=5),
    )
    assert done.result == ([[0.5, 0.25], [0.0, 1.0]], Usage(input_tokens=4), (), ())
    assert done.sent.path == "/embeddings"
    assert done.body == {"model": "e", "input": ["a", "b"], "encoding_format": "float"}


def test_token_ids_dimensions_and_unknown_parameters_are_passed_on(exchange: Any) -> None:
    request = EmbeddingRequest(inputs=((1, 2),), dimensions=2, extra={"user": "u", "input": "never"})
    answer = {"data": [{"index": 0, "embedding": [0.5, 0.25]}]}
    done = exchange("openai", answer, call=lambda provider: provider.embed("e", request, timeout_s=5))
    assert done.body == {"model": "e", "input": [[1, 2]], "encoding_format": "float", "dimensions": 2, "user": "u"}


@pytest.mark.parametrize("answer", [{}, {"data": []}, {"data": [{"index": 0}]}, {"data": [{"embedding": ["x"]}]}])
def test_broken_embeddings(exchange: Any, answer: Any) -> None:
    done = exchange("openai", answer, call=lambda provider: provider.embed("e", ONE, timeout_s=5))
    assert done.error.kind == "bad_response"
