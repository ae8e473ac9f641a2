from __future__ import annotations

from typing import Any

import pytest

from emerge_core.config.schema import ModelConfig
from emerge_core.types import ChatRequest, EmbeddingRequest, TokenLogprob, TopLogprob, Usage

ONE = EmbeddingRequest(inputs=("a",))
TWO = EmbeddingRequest(inputs=("a", "b"))

USER = {"role": "user", "content": "Hello"}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
SCHEMA = {"type": "object", "properties": {"answer": {"type": "string"}}}
PNG = "data:image/png;base64,aGk="


def says(content: Any = "Hi", **fields: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    if "tool_calls" in fields:
        message["tool_calls"] = fields.pop("tool_calls")
    return {"model": "m:1", "message": message, "done": True, "done_reason": "stop", **fields}


def ask(*messages: Any, **fields: Any) -> ChatRequest:
    return ChatRequest(messages=messages or (USER,), **fields)


@pytest.mark.parametrize(
    ("fields", "expected", "dropped"),
    [
        ({}, {}, ()),
        (
            {
                "max_tokens": 5,
                "temperature": 0.5,
                "top_p": 0.9,
                "presence_penalty": 0.1,
                "frequency_penalty": 0.2,
                "stop": ("a",),
                "seed": 7,
            },
            {
                "options": {
                    "num_predict": 5,
                    "temperature": 0.5,
                    "top_p": 0.9,
                    "presence_penalty": 0.1,
                    "frequency_penalty": 0.2,
                    "stop": ["a"],
                    "seed": 7,
                }
            },
            (),
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}},
            {"format": SCHEMA},
            (),
        ),
        ({"response_format": {"type": "json_object"}}, {"format": "json"}, ()),
        ({"response_format": {"type": "text"}}, {}, ()),
        ({"logprobs": True, "top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}, ("logprobs",)),
        ({"tools": (TOOL,), "tool_choice": "auto"}, {"tools": [TOOL]}, ()),
        ({"tools": (TOOL,), "tool_choice": "none"}, {}, ()),
        ({"tools": (TOOL,), "tool_choice": "required"}, {"tools": [TOOL]}, ("tool_choice",)),
        (
            {
                "tools": (TOOL,),
                "tool_choice": {"type": "function", "function": {"name": "look"}},
                "parallel_tool_calls": False,
            },
            {"tools": [TOOL]},
            ("tool_choice", "parallel_tool_calls"),
        ),
        ({"extra": {"user": "u", "reasoning_effort": "low"}}, {}, ("user", "reasoning_effort")),
    ],
)
def test_the_request_on_the_wire(
    exchange: Any, fields: dict[str, Any], expected: dict[str, Any], dropped: tuple[str, ...]
) -> None:
    done = exchange("ollama", says(), ask(**fields))
    assert done.body == {"model": "m", "messages": [USER], "stream": False, "options": {}, **expected}
    assert done.sent.path == "/api/chat"
    assert done.completion.dropped_params == dropped


def test_messages_on_the_wire(exchange: Any) -> None:
    parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": PNG}}]
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a": 1}'}}
    messages = (
        {"role": "system", "content": "s"},
        {"role": "developer", "content": "d"},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "seen"},
    )
    assert exchange("ollama", says(), ask(*messages)).body["messages"] == [
        {"role": "system", "content": "s"},
        {"role": "system", "content": "d"},
        {"role": "user", "content": "see", "images": ["aGk="]},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "c1", "function": {"name": "look", "arguments": {"a": 1}}}],
        },
        {"role": "tool", "content": "seen", "tool_call_id": "c1", "tool_name": "look"},
    ]


def test_an_image_at_a_url_cannot_be_taken(exchange: Any) -> None:
    parts = [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]
    done = exchange("ollama", says(), ask({"role": "user", "content": parts}))
    assert done.error.kind == "unsupported"
    assert done.upstream.sent == []


def test_a_known_context_is_asked_for(exchange: Any) -> None:
    models = {"local": ModelConfig(provider="p", model="m", context=32768)}
    assert exchange("ollama", says(), models=models).body["options"] == {"num_ctx": 32768}


def test_a_whole_reply(exchange: Any) -> None:
    logprobs = [{"token": "Hi", "logprob": -0.1, "top_logprobs": [{"token": "Ho", "logprob": -2.5}]}]
    answer = says(done_reason="length", prompt_eval_count=10, eval_count=20, logprobs=logprobs)
    done = exchange("ollama", answer, ask(logprobs=True, top_logprobs=1)).completion
    assert (done.text, done.finish_reason, done.upstream_model) == ("Hi", "length", "m:1")
    assert done.logprobs == (TokenLogprob(token="Hi", logprob=-0.1, top=(TopLogprob("Ho", -2.5),)),)
    assert done.usage == Usage(input_tokens=10, output_tokens=20)
    assert done.dropped_params == ()


def test_tool_calls_get_ids_that_stay(exchange: Any) -> None:
    calls = [
        {"function": {"name": "look", "arguments": {"a": 1}}},
        {"function": {"name": "look", "arguments": {"a": 1}}},
    ]
    first = exchange("ollama", says("", tool_calls=calls), ask(tools=(TOOL,))).completion
    again = exchange("ollama", says("", tool_calls=calls), ask(tools=(TOOL,))).completion
    assert (first.text, first.finish_reason) == (None, "tool_calls")
    assert [(call.name, call.arguments) for call in first.tool_calls] == [("look", '{"a": 1}')] * 2
    assert first.tool_calls == again.tool_calls
    assert len({call.id for call in first.tool_calls}) == 2
    assert first.tool_calls[0].id.startswith("call_0_")


@pytest.mark.parametrize(
    "counts",
    [{}, {"eval_count": 3}, {"prompt_eval_count": -1, "eval_count": 3}, {"prompt_eval_count": 1, "eval_count": "x"}],
)
def test_missing_or_impossible_usage_is_none(exchange: Any, counts: dict[str, Any]) -> None:
    assert exchange("ollama", says(**counts)).completion.usage is None


@pytest.mark.parametrize(
    "answer", ["<html>", "{}", {"message": None}, says(["x"]), says(tool_calls=[{"function": {}}])]
)
def test_a_reply_that_is_none(exchange: Any, answer: Any) -> None:
    assert exchange("ollama", answer).error.kind == "bad_response"


@pytest.mark.parametrize(("path", "expected"), [("", "/api/chat"), ("/api", "/api/chat"), ("/t/a/", "/t/a/api/chat")])
def test_base_urls_and_keys(exchange: Any, path: str, expected: str) -> None:
    done = exchange("ollama", says(), path=path, headers={"X-Team": "blue"})
    assert done.sent.path == expected
    assert done.sent.headers["authorization"] == "Bearer sk-very-secret-key"
    assert done.sent.headers["x-team"] == "blue"
    assert "authorization" not in exchange("ollama", says(), api_key=None).sent.headers


def test_embeddings(exchange: Any) -> None:
    answer = {"embeddings": [[0.5, 1], [2, 3.0]], "prompt_eval_count": 4}
    done = exchange("ollama", answer, call=lambda provider: provider.embed("e", TWO, timeout_s=5))
    assert done.result == ([[0.5, 1.0], [2.0, 3.0]], Usage(input_tokens=4), (), ())
    assert (done.sent.path, done.body) == ("/api/embed", {"model": "e", "input": ["a", "b"]})


def test_what_embeddings_cannot_take_is_named(exchange: Any) -> None:
    request = EmbeddingRequest(inputs=("a",), dimensions=2, extra={"user": "u"})
    answer = {"embeddings": [[0.5, 1]]}
    done = exchange("ollama", answer, call=lambda provider: provider.embed("e", request, timeout_s=5))
    assert done.body == {"model": "e", "input": ["a"], "dimensions": 2}
    assert done.result.dropped_params == ("user",)
    tokens = EmbeddingRequest(inputs=((1, 2),))
    refused = exchange("ollama", answer, call=lambda provider: provider.embed("e", tokens, timeout_s=5))
    assert (refused.error.kind, refused.error.param) == ("unsupported", "input")


@pytest.mark.parametrize("answer", [{}, {"embeddings": []}, {"embeddings": [["x"]]}, {"embeddings": [3]}])
def test_broken_embeddings(exchange: Any, answer: Any) -> None:
    done = exchange("ollama", answer, call=lambda provider: provider.embed("e", ONE, timeout_s=5))
    assert done.error.kind == "bad_response"
