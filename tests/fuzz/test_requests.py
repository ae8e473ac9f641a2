"""Requests: whatever comes in, the answer is one of ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from hypothesis import strategies as st

from emerge_core.api import create_app
from emerge_core.api.body import parse_json
from emerge_core.config import parse_config
from emerge_core.engine.engine import Engine
from emerge_core.errors import RequestError
from tests.fuzz.inputs import changed, fuzzed, nested, texts

CONFIG = """
providers: {sim: {kind: simulated}}
models: {a: {provider: sim, model: sim-a}, b: {provider: sim, model: sim-b}}
embedders: {e: {provider: sim, model: sim-e}}
ensembles: {emerge: {members: [a, b], aggregator: vote}}
default: emerge
"""
SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"], "additionalProperties": False}
FUNCTION = {"name": "look", "description": "x", "parameters": SCHEMA, "strict": True}
PARTS = [
    {"type": "text", "text": "What is 2 + 2?"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}},
]
CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"x": 1}'}}
CHAT: dict[str, Any] = {
    "model": "emerge",
    "messages": [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": PARTS},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "4"},
        {"role": "user", "content": "And 3 + 3?", "name": "me"},
    ],
    "tools": [{"type": "function", "function": FUNCTION}],
    "tool_choice": {"type": "function", "function": {"name": "look"}},
    "stop": ["x"],
    "logit_bias": {"1": 2},
    "metadata": {"a": "b"},
    **{"n": 2, "temperature": 0.5, "top_p": 1, "seed": 1, "max_tokens": 9, "logprobs": True, "top_logprobs": 2},
    **{"stream": False, "user": "me", "reasoning_effort": "low", "parallel_tool_calls": True, "store": False},
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA, "strict": True}}
JSON_CHAT = {"model": "emerge", "messages": [{"role": "user", "content": "x"}], "response_format": FORMAT}
RESPONSES: dict[str, Any] = {
    "model": "emerge",
    "instructions": "Be short.",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "2 + 2?"}]},
        {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "4"},
    ],
    "tools": [{"type": "function", **FUNCTION}],
    "tool_choice": "auto",
    "text": {"format": {"type": "text"}},
    "reasoning": {"effort": "low"},
    "metadata": {"a": "b"},
    **{"max_output_tokens": 50, "temperature": 1, "top_p": 1, "stream": True, "store": False, "truncation": "auto"},
}
EMBEDDINGS = {"model": "e", "input": ["a", "b"], "dimensions": 8, "encoding_format": "base64", "user": "me"}
BODIES = {
    "/v1/chat/completions": [CHAT, JSON_CHAT, {**JSON_CHAT, "stream": True, "stream_options": {"include_usage": True}}],
    "/v1/responses": [RESPONSES],
    "/v1/embeddings": [EMBEDDINGS],
}
asked = st.one_of(
    *(st.tuples(st.just(path), changed(st.sampled_from(bodies))) for path, bodies in BODIES.items()),
    st.tuples(st.just("/v1/chat/completions"), changed(st.just(CHAT))),
)
raws = st.one_of(
    st.binary(max_size=200),
    texts.map(lambda text: text.encode("utf-8", "surrogatepass")),
    nested.map(str.encode),
    nested.map(lambda text: b'{"model": "emerge", "messages": ' + text.encode() + b"}"),
    st.tuples(st.just(json.dumps(CHAT).encode()), st.integers(0, 900), st.binary(max_size=3)).map(
        lambda cut: cut[0][: cut[1]] + cut[2] + cut[0][cut[1] + 1 :]
    ),
)


class Client:
    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        app = create_app(Engine(parse_config(CONFIG, source="fuzz"), environ={}, record=lambda *_: None))
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://emerge")

    def post(self, path: str, raw: bytes) -> httpx.Response:
        headers = {"content-type": "application/json"}
        return self._runner.run(self._client.post(path, content=raw, headers=headers))

    def close(self) -> None:
        self._runner.run(self._client.aclose())


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with asyncio.Runner() as runner:
        made = Client(runner)
        yield made
        made.close()


def check(answer: httpx.Response) -> None:
    """A reply, or an error in OpenAI's shape for a cause that we name: never a 500."""
    if answer.status_code == 200:
        if not answer.headers["content-type"].startswith("text/event-stream"):
            assert isinstance(answer.json(), dict)
        return
    assert answer.status_code in (400, 404, 413, 502), answer.text
    error = answer.json()["error"]
    assert isinstance(error["message"], str) and error["type"], answer.text


@fuzzed(200, asking=asked)
def test_changed_requests(client: Client, asking: tuple[str, Any]) -> None:
    path, body = asking
    check(client.post(path, json.dumps(body).encode()))


@pytest.mark.parametrize("path", BODIES)
@fuzzed(100, raw=raws)
def test_any_bytes(client: Client, path: str, raw: bytes) -> None:
    check(client.post(path, raw))


@fuzzed(200, raw=raws)
def test_reading_json(raw: bytes) -> None:
    with suppress(RequestError):
        assert isinstance(parse_json(raw), dict)


@pytest.mark.parametrize(("path", "body"), [(path, body) for path, bodies in BODIES.items() for body in bodies])
def test_what_is_changed_was_valid(client: Client, path: str, body: dict[str, Any]) -> None:
    answer = client.post(path, json.dumps(body).encode())
    assert answer.status_code == 200, answer.text
