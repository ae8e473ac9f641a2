"""Anthropic's official client, answered by an upstream directly and through emerge with that one model: what it
sees is the same, over many shapes of request and reply, whole and streamed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import anthropic
import openai
import pytest

from tests.support.wire_format_upstream import Call, ModelReply, SentRequest, Upstream

Json = dict[str, Any]


class Shape(NamedTuple):
    name: str
    fields: Json
    said: ModelReply


class Seen(NamedTuple):
    """What an application reads of a message."""

    content: list[Json]
    stop_reason: str | None
    usage: tuple[int, int, int, int]


def user(content: Any = "Hello") -> Json:
    return {"role": "user", "content": content}


def assistant(content: Any) -> Json:
    return {"role": "assistant", "content": content}


def tool(name: str = "add", **more: Any) -> Json:
    properties: Json = {"a": {}, "b": {"type": "number"}}
    return {"name": name, "description": "x", "input_schema": {"type": "object", "properties": properties}, **more}


def result(call_id: str, content: Any = "3", **more: Any) -> Json:
    return {"type": "tool_result", "tool_use_id": call_id, "content": content, **more}


def use(call_id: str, name: str = "add", **arguments: Any) -> Json:
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


HELLO = ModelReply()
MARK = {"cache_control": {"type": "ephemeral"}}
PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
URL = {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}}
PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}}
PLAIN = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}}
TEXT = {"type": "text", "text": "Hello"}
ONE_CALL = ModelReply(text=None, calls=(Call("add", {"a": 1, "b": 2}, "toolu_1"),), finish="tool_calls")
TWO_CALLS = ModelReply(
    text="Both.", calls=(Call("add", {"a": 1}, "toolu_1"), Call("sub", {}, "toolu_2")), finish="tool_calls"
)

REPLIES = {
    "a word": ModelReply(text="Yes"),
    "a sentence": HELLO,
    "lines": ModelReply(text="One.\n\n  Two.\n\tThree.\n"),
    "markdown": ModelReply(text="# Title\n\n- **a**\n- `b`\n\n```py\nx = 1\n```"),
    "unicode": ModelReply(text="日本語 🎉 naïve ½"),
    "quotes": ModelReply(text='She said "\\n" and left.'),
    "leading space": ModelReply(text="  indented"),
    "a long text": ModelReply(text="word " * 2_000),
    "json": ModelReply(text='{"a": [1, 2, {"b": null}]}'),
    "numbers": ModelReply(text="1,000.50 and #### 72"),
    "cut off": ModelReply(text="The first", finish="length"),
    "cached input": ModelReply(tokens=(500, 9), cached=400),
    "many tokens": ModelReply(tokens=(150_000, 64_000)),
    "no tokens out": ModelReply(text="x", tokens=(1, 1)),
}
CALLS = {
    "one call": ONE_CALL,
    "text and calls": TWO_CALLS,
    "no arguments": ModelReply(text=None, calls=(Call("add", {}, "toolu_1"),), finish="tool_calls"),
    "nested arguments": ModelReply(
        text=None, calls=(Call("add", {"a": {"b": [1, {"c": "d"}]}}, "t1"),), finish="tool_calls"
    ),
    "unicode arguments": ModelReply(text=None, calls=(Call("add", {"a": '日本 🎉 "q"'}, "t1"),), finish="tool_calls"),
    "floats": ModelReply(text=None, calls=(Call("add", {"a": 1.5, "b": -0.25}, "t1"),), finish="tool_calls"),
    "a long argument": ModelReply(text=None, calls=(Call("add", {"a": "x" * 5_000}, "t1"),), finish="tool_calls"),
    "three calls": ModelReply(
        text=None, calls=tuple(Call("add", {"a": n}, f"toolu_{n}") for n in range(3)), finish="tool_calls"
    ),
    "text instead": HELLO,
}
CONVERSATIONS: dict[str, list[Json]] = {
    "blocks": [user([TEXT])],
    "two blocks": [user([TEXT, TEXT])],
    "a turn": [user(), assistant("Hi."), user("Again")],
    "a turn of blocks": [user(), assistant([{"type": "text", "text": "Hi."}]), user([TEXT])],
    "a prefill": [user(), assistant("The answer is")],
    "an image": [user([PNG, TEXT])],
    "an image's url": [user([URL, TEXT])],
    "a pdf": [user([PDF, TEXT])],
    "a text document": [user([PLAIN, TEXT])],
    "marked blocks": [user([{**TEXT, **MARK}])],
    "many turns": [turn for n in range(8) for turn in (user(f"q{n}"), assistant(f"a{n}"))] + [user("last")],
    "a tool loop": [user(), assistant([use("toolu_1", a=1)]), user([result("toolu_1")])],
    "parallel results": [
        user(),
        assistant([use("toolu_1", a=1), use("toolu_2", a=2)]),
        user([result("toolu_1"), result("toolu_2", [{"type": "text", "text": "4"}])]),
    ],
    "a failed tool": [user(), assistant([use("toolu_1", a=1)]), user([result("toolu_1", "boom", is_error=True)])],
    "an empty result": [user(), assistant([use("toolu_1", a=1)]), user([result("toolu_1", "")])],
    "results and text": [user(), assistant([use("toolu_1", a=1)]), user([result("toolu_1"), TEXT])],
    "text before a call": [user(), assistant([TEXT, use("toolu_1", a=1)]), user([result("toolu_1")])],
}
PARAMETERS: dict[str, Json] = {
    "a system text": {"system": "Be terse."},
    "system blocks": {"system": [{"type": "text", "text": "Be"}, {"type": "text", "text": "terse.", **MARK}]},
    "temperature": {"extra_body": {"temperature": 0.5}},
    "no temperature": {"extra_body": {"temperature": 0}},
    "top_p": {"extra_body": {"top_p": 0.9}},
    "top_k": {"extra_body": {"top_k": 5}},
    "stop sequences": {"stop_sequences": ["END", "STOP"]},
    "metadata": {"metadata": {"user_id": "u"}},
    "a small max_tokens": {"max_tokens": 1},
    "a large max_tokens": {"max_tokens": 16_000},
    "no tools": {"tools": []},
    "a beta": {"extra_headers": {"anthropic-beta": "unknown-2099-01-01"}},
    "an unknown field": {"extra_body": {"some_new_field": {"a": 1}}},
    "a tier": {"extra_body": {"service_tier": "auto"}},
}
CHOICES: dict[str, Json] = {
    "auto": {"type": "auto"},
    "any": {"type": "any"},
    "one": {"type": "tool", "name": "add"},
    "not in parallel": {"type": "auto", "disable_parallel_tool_use": True},
}
TOOLS = [tool(), tool("sub", **MARK)]
SHAPES = [
    *(Shape(f"reply: {name}", {}, said) for name, said in REPLIES.items()),
    *(Shape(f"calls: {name}", {"tools": TOOLS}, said) for name, said in CALLS.items()),
    *(
        Shape(
            f"conversation: {name}", {"messages": turns, **({"tools": TOOLS} if "toolu_" in str(turns) else {})}, HELLO
        )
        for name, turns in CONVERSATIONS.items()
    ),
    *(Shape(f"parameter: {name}", fields, HELLO) for name, fields in PARAMETERS.items()),
    *(Shape(f"choice: {name}", {"tools": TOOLS, "tool_choice": choice}, ONE_CALL) for name, choice in CHOICES.items()),
]


@pytest.fixture(scope="module")
def clients(upstream: Upstream, emerge: openai.OpenAI) -> Iterator[tuple[anthropic.Anthropic, anthropic.Anthropic]]:
    """The upstream's client, and the proxy's."""
    root = str(emerge.base_url).removesuffix("/").removesuffix("/v1")
    with (
        anthropic.Anthropic(base_url=upstream.url, api_key="none", max_retries=0) as bare,
        anthropic.Anthropic(base_url=root, api_key="none", max_retries=0) as proxied,
    ):
        yield bare, proxied


def seen(message: Any) -> Seen:
    assert (message.type, message.role) == ("message", "assistant")
    usage = message.usage
    return Seen(
        content=[block.to_dict() for block in message.content],
        stop_reason=message.stop_reason,
        usage=(
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_input_tokens or 0,
            usage.cache_creation_input_tokens or 0,
        ),
    )


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_through_emerge_a_message_is_the_same(shape: Shape, clients: Any, upstream: Upstream) -> None:
    bare, proxied = clients
    upstream.says = {"anthropic": shape.said}
    upstream.requests.clear()
    fields: Any = {"max_tokens": 1_000, "messages": [user()], **shape.fields}
    expected = seen(bare.messages.create(model="anthropic", **fields))
    assert seen(proxied.messages.create(model="only-anthropic", **fields)) == expected
    with bare.messages.stream(model="anthropic", **fields) as stream:
        events = [event.type for event in stream]
        streamed = seen(stream.get_final_message())
    with proxied.messages.stream(model="only-anthropic", **fields) as stream:
        got = [event.type for event in stream]
        assert seen(stream.get_final_message()) == streamed
    edges = ("message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop")
    assert [kind for kind in got if kind in edges] == [kind for kind in events if kind in edges]
    by_sdk, ours, streamed_by_sdk, ours_streamed = upstream.requests["anthropic"]
    assert ours == expected_request(by_sdk)
    assert ours_streamed == expected_request(streamed_by_sdk)


def expected_request(sent: SentRequest) -> SentRequest:
    """What our upstream gets: the client's own request, but for what says nothing and what chooses the bill."""
    left_out = {"service_tier"} | ({"tools"} if not sent.body.get("tools") else set())
    return sent._replace(body={name: value for name, value in sent.body.items() if name not in left_out})


def test_a_refused_request_is_the_upstreams_error(clients: Any, upstream: Upstream) -> None:
    upstream.says = {"anthropic": 400}
    for client, model in zip(clients, ("anthropic", "only-anthropic"), strict=True):
        with pytest.raises(anthropic.BadRequestError) as caught:
            client.messages.create(model=model, max_tokens=9, messages=[user()])
        body: Any = caught.value.body
        assert (body["type"], body["error"]["type"]) == ("error", "invalid_request_error")
        assert "scripted 400" in body["error"]["message"]


def test_there_are_enough_shapes() -> None:
    assert len({shape.name for shape in SHAPES}) == len(SHAPES) >= 50
