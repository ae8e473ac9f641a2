"""Streamed replies of each kind: what is emitted on the way, and the completion at the end."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emerge_core.providers import Provider
from emerge_core.providers.anthropic.stream import Assembly as AnthropicAssembly
from emerge_core.providers.errors import Scrubber, bad_response
from emerge_core.providers.ollama.stream import Assembly as OllamaAssembly
from emerge_core.providers.openai.stream import Assembly as OpenAIAssembly
from emerge_core.providers.transport.sse import events, lines
from emerge_core.types import (
    ChatRequest,
    Completion,
    Delta,
    Sink,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    UpstreamError,
    Usage,
)

HELLO = ChatRequest(messages=({"role": "user", "content": "Hello"},))
KINDS = ("openai", "anthropic", "ollama")
TEXTS = ("Grüße, ", "日本\u2028語 ", "🙂\u0085", "ok.\r\n")


def event(body: Any) -> bytes:
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


def openai(texts: Iterable[str], *, finish: str | None = "stop", done: bool = True) -> bytes:
    def chunk(**choice: Any) -> bytes:
        return event({"id": "c", "model": "m-1", "choices": [{"index": 0, "delta": {}, **choice}]})

    body = chunk(delta={"role": "assistant", "content": "", "refusal": None})
    body += b"".join(chunk(delta={"content": text}) for text in texts)
    if finish:
        body += chunk(finish_reason=finish)
        body += event({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}})
    return body + (b"data: [DONE]\n\n" if done else b"")


def anthropic(texts: Iterable[str], *, finish: str | None = "end_turn", done: bool = True) -> bytes:
    def named(kind: str, **fields: Any) -> bytes:
        return f"event: {kind}\n".encode() + event({"type": kind, **fields})

    usage = {"input_tokens": 7, "cache_read_input_tokens": 2, "output_tokens": 1}
    body = named("message_start", message={"model": "m-1", "content": [], "stop_reason": None, "usage": usage})
    body += named("content_block_start", index=0, content_block={"type": "text", "text": ""}) + named("ping")
    body += b"".join(
        named("content_block_delta", index=0, delta={"type": "text_delta", "text": text}) for text in texts
    )
    body += named("content_block_stop", index=0)
    if finish:
        body += named("message_delta", delta={"stop_reason": finish}, usage={"output_tokens": 4})
    return body + (named("message_stop") if done else b"")


def ollama(texts: Iterable[str], *, finish: str | None = "stop", done: bool = True) -> bytes:
    def line(content: str, **fields: Any) -> bytes:
        row = {"model": "m-1", "message": {"role": "assistant", "content": content}, "done": False, **fields}
        return json.dumps(row, ensure_ascii=False).encode() + b"\n"

    body = b"".join(line(text) for text in texts)
    if finish and done:
        body += line("", done=True, done_reason=finish, prompt_eval_count=9, eval_count=4)
    return body


WIRES: dict[str, Callable[..., bytes]] = {"openai": openai, "anthropic": anthropic, "ollama": ollama}


class Stream:
    """One streamed exchange: what was emitted, and the result."""

    def __init__(self, exchange: Any, kind: str, reply: Any, request: ChatRequest = HELLO, **options: Any) -> None:
        self.deltas: list[Delta] = []
        self.threads: set[threading.Thread] = set()  # in which deltas were emitted

        def emit(delta: Delta) -> None:
            self.threads.add(threading.current_thread())
            self.deltas.append(delta)

        async def call(provider: Provider) -> Completion:
            return await provider.stream("m", request, timeout_s=20, emit=emit)

        self.done = exchange(kind, reply, call=call, path="/v1" if kind == "openai" else "", **options)

    @property
    def text(self) -> str:
        return "".join(delta.text for delta in self.deltas)


def cut(body: bytes, size: int) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


@pytest.mark.parametrize("size", [3, 10_000])
@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_ends_in_what_a_whole_reply_would_be(exchange: Any, reply: Any, kind: str, size: int) -> None:
    done = Stream(exchange, kind, reply(reads=cut(WIRES[kind](TEXTS), size)))
    assert done.text == "".join(TEXTS)
    assert [delta.text for delta in done.deltas] == list(TEXTS)
    completion = done.done.completion
    assert completion.text == done.text
    assert completion.finish_reason == "stop"
    assert completion.upstream_model == "m-1"
    cached = 2 if kind == "anthropic" else 0
    assert completion.usage == Usage(input_tokens=9, output_tokens=4, cached_tokens=cached)
    assert done.done.body["stream"] is True


@pytest.mark.parametrize("size", [1, 10_000])
@pytest.mark.parametrize("kind", KINDS)
def test_a_byte_order_mark_before_a_stream_is_skipped(exchange: Any, reply: Any, kind: str, size: int) -> None:
    body = b"\xef\xbb\xbf" + WIRES[kind](TEXTS[:2])
    assert Stream(exchange, kind, reply(reads=cut(body, size))).text == "".join(TEXTS[:2])


def test_openai_is_asked_for_usage(exchange: Any, reply: Any) -> None:
    done = Stream(exchange, "openai", reply(reads=[openai(["Hi"])]))
    assert done.done.body["stream_options"] == {"include_usage": True}


def test_a_server_without_stream_options_is_asked_without_them(exchange: Any, reply: Any) -> None:
    refusal = {"error": {"message": "Unrecognized request argument supplied: stream_options", "param": None}}
    done = Stream(exchange, "openai", [reply(refusal, status=400), reply(reads=[openai(["Hi"])])])
    assert done.text == "Hi"
    assert (done.done.completion.attempts, done.done.completion.dropped_params) == (2, ())
    assert "stream_options" not in done.done.body


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("openai", {"choices": [{"message": {"content": "Hi", "tool_calls": None}, "finish_reason": "stop"}]}),
        ("anthropic", {"type": "message", "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn"}),
        ("ollama", {"message": {"content": "Hi"}, "done": True, "done_reason": "stop"}),
    ],
)
def test_an_upstream_that_does_not_stream_is_one_delta(exchange: Any, kind: str, body: Any) -> None:
    done = Stream(exchange, kind, body)
    assert done.deltas == [Delta(text="Hi")]
    assert (done.done.completion.text, done.done.completion.finish_reason) == ("Hi", "stop")


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_without_its_end_is_an_error(exchange: Any, reply: Any, kind: str) -> None:
    body = WIRES[kind](["It ", "is"], finish=None, done=False)
    done = Stream(exchange, kind, reply(reads=[body]))
    assert done.text == "It is"
    assert (done.done.error.kind, "ended before" in done.done.error.message) == ("bad_response", True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_connection_cut_in_the_middle_is_an_error(exchange: Any, reply: Any, kind: str) -> None:
    body = WIRES[kind](["It ", "is"], finish=None, done=False)
    done = Stream(exchange, kind, reply(reads=[body], ends=False))
    assert done.text == "It is"
    assert done.done.error.kind == "connection"


@pytest.mark.parametrize(
    ("kind", "body", "fault"),
    [
        ("openai", event({"error": {"message": "boom", "code": 429}}), "rate_limit"),
        ("openai", event({"error": {"message": "boom", "code": "server_error"}}), "bad_response"),
        ("openai", event({"choices": [{"index": 0, "delta": {}, "error": {"message": "boom"}}]}), "bad_response"),
        ("anthropic", event({"type": "error", "error": {"type": "overloaded_error", "message": "boom"}}), "server"),
        ("anthropic", event({"type": "error", "error": {"type": "rate_limit_error", "message": "boom"}}), "rate_limit"),
        ("ollama", b'{"error": "boom"}\n', "server"),
    ],
)
def test_an_error_inside_a_stream(exchange: Any, reply: Any, kind: str, body: bytes, fault: str) -> None:
    start = WIRES[kind](["It "], finish=None, done=False)
    done = Stream(exchange, kind, reply(reads=[start, body]))
    assert (done.done.error.kind, done.done.error.status) == (fault, None)
    assert "boom" in done.done.error.message


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("body", [b"data: {\n\n{\n", b"data: \xff\n\n\xff\n", b"data: []\n\n[]\n", b"<html>\n\n"])
def test_what_is_no_event_is_an_error(exchange: Any, reply: Any, kind: str, body: bytes) -> None:
    assert Stream(exchange, kind, reply(reads=[body])).done.error.kind == "bad_response"


@pytest.mark.parametrize("kind", KINDS)
def test_a_refused_stream_has_the_upstreams_own_message(exchange: Any, reply: Any, kind: str) -> None:
    said = {"error": "slow down"} if kind == "ollama" else {"error": {"message": "slow down"}}
    error = Stream(exchange, kind, reply(said, status=429, headers={"retry-after": "3"})).done.error
    assert (error.kind, error.message, error.retry_after_s) == ("rate_limit", "slow down", 3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_that_stalls_ends_at_its_time(exchange: Any, reply: Any, kind: str) -> None:
    deltas: list[Delta] = []

    async def call(provider: Provider) -> Completion:
        return await provider.stream("m", HELLO, timeout_s=0.2, emit=deltas.append)

    stalling = reply(reads=[WIRES[kind](["It "], finish=None, done=False), b""], does="stall")
    done = exchange(kind, stalling, call=call)
    assert done.error.kind == "timeout"
    assert [delta.text for delta in deltas] == ["It "]


@pytest.mark.parametrize("kind", KINDS)
def test_the_connection_is_used_again(kind: str, reply: Any, upstream_of: Any, adapter_of: Any) -> None:
    async def main() -> int:
        async with (
            upstream_of(reply(reads=cut(WIRES[kind](TEXTS), 50))) as upstream,
            adapter_of(kind, upstream.url) as provider,
        ):
            for _ in range(3):
                await provider.stream("m", HELLO, timeout_s=5, emit=lambda delta: None)
            made: int = upstream.connections
            return made

    assert asyncio.run(main()) == 1


def test_token_probabilities_come_with_their_text(exchange: Any, reply: Any) -> None:
    def chunk(token: str) -> bytes:
        logprobs: Any = {
            "content": [{"token": token, "logprob": -0.5, "bytes": None, "top_logprobs": []}],
            "refusal": None,
        }
        return event({"choices": [{"index": 0, "delta": {"content": token}, "logprobs": logprobs}]})

    body = chunk("4") + chunk("2") + event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    request = ChatRequest(messages=HELLO.messages, logprobs=True)
    done = Stream(exchange, "openai", reply(reads=[body]), request)
    tokens = (TokenLogprob(token="4", logprob=-0.5), TokenLogprob(token="2", logprob=-0.5))
    assert [(delta.text, delta.logprobs) for delta in done.deltas] == [("4", tokens[:1]), ("2", tokens[1:])]
    assert done.done.completion.logprobs == tokens


@pytest.mark.parametrize("kind", ["openai", "ollama"])
def test_a_large_event_is_taken_in_a_thread_and_emitted_on_the_loop(
    exchange: Any, reply: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taking: list[bool] = []
    assembly: Any = {"openai": OpenAIAssembly, "ollama": OllamaAssembly}[kind]
    take = assembly.take

    def noted(self: Any, data: Any) -> bool:
        taking.append(threading.current_thread() is threading.main_thread())
        return bool(take(self, data))

    monkeypatch.setattr(assembly, "take", noted)
    count = 6_000
    tokens = [{"token": f"t{number}", "logprob": -0.5, "top_logprobs": []} for number in range(count)]
    if kind == "openai":
        large = {"choices": [{"index": 0, "delta": {"content": "4"}, "logprobs": {"content": tokens}}]}
        body = event(large) + event({"choices": [{"index": 0, "delta": {"content": "2"}, "finish_reason": "stop"}]})
    else:
        parts = [{"message": {"content": "4"}, "logprobs": tokens}, {"message": {"content": "2"}, "done": True}]
        body = b"".join(json.dumps(part).encode() + b"\n" for part in parts)
    request = ChatRequest(messages=HELLO.messages, logprobs=True)
    done = Stream(exchange, kind, reply(reads=[body]), request)
    assert taking == [False, True]
    assert done.threads == {threading.main_thread()}
    assert [delta.text for delta in done.deltas if delta.text] == ["4", "2"]
    emitted = [token.token for delta in done.deltas for token in delta.logprobs or ()]
    assert emitted == [f"t{number}" for number in range(count)]
    assert max(len(delta.logprobs or ()) for delta in done.deltas) <= 500


def test_servers_that_repeat_the_whole_message_or_leave_the_reason_empty(exchange: Any, reply: Any) -> None:
    def chunk(text: str, so_far: str, finish: str | None) -> bytes:
        choice = {"index": 0, "delta": {"content": text} if text else {}, "message": {"content": so_far}}
        return event({"choices": [{**choice, "finish_reason": finish}]})

    body = event({"choices": []}) + chunk("4", "4", "") + chunk("2", "42", "") + chunk("", "42", "stop")
    done = Stream(exchange, "openai", reply(reads=[body + b"data: [DONE]\n\n"]))
    assert done.text == done.done.completion.text == "42"
    assert done.done.completion.finish_reason == "stop"


def test_a_refusal_is_streamed_as_one(exchange: Any, reply: Any) -> None:
    parts = [{"refusal": "I "}, {"refusal": "won't."}]
    body = b"".join(event({"choices": [{"index": 0, "delta": part}]}) for part in parts)
    body += event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    done = Stream(exchange, "openai", reply(reads=[body]))
    assert done.deltas == [Delta(refusal="I "), Delta(refusal="won't.")]
    assert (done.done.completion.text, done.done.completion.refusal) == (None, "I won't.")


CALLS = (
    ToolCall(id="call_a", name="look", arguments='{"q": "über"}'),
    ToolCall(id="call_b", name="look", arguments='{"q": 2}'),
)


def fragments(*parts: dict[str, Any]) -> bytes:
    body = b"".join(event({"choices": [{"index": 0, "delta": {"tool_calls": [part]}}]}) for part in parts)
    return body + event({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}) + b"data: [DONE]\n\n"


def begun(index: int | None, call: ToolCall, arguments: str) -> dict[str, Any]:
    place = {} if index is None else {"index": index}
    return {**place, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


@pytest.mark.parametrize(
    "parts",
    [
        [
            begun(0, CALLS[0], ""),
            {"index": 0, "function": {"arguments": '{"q": "üb'}},
            begun(1, CALLS[1], '{"q"'),
            {"index": 0, "function": {"arguments": 'er"}'}},
            {"index": 1, "function": {"arguments": ": 2}"}},
        ],
        [begun(None, CALLS[0], CALLS[0].arguments), begun(None, CALLS[1], CALLS[1].arguments)],
        [begun(0, CALLS[0], CALLS[0].arguments), begun(0, CALLS[1], CALLS[1].arguments)],
        [
            begun(None, CALLS[0], '{"q": "'),
            {"function": {"arguments": 'über"}'}},
            begun(None, CALLS[1], CALLS[1].arguments),
        ],
    ],
)
def test_tool_calls_are_put_together(exchange: Any, reply: Any, parts: list[dict[str, Any]]) -> None:
    done = Stream(exchange, "openai", reply(reads=cut(fragments(*parts), 33)))
    assert done.done.completion.tool_calls == CALLS
    parts_of: dict[int, list[ToolCallDelta]] = {}
    for part in (part for delta in done.deltas for part in delta.tool_calls):
        parts_of.setdefault(part.index, []).append(part)
    assert [(each[0].id, each[0].name) for each in parts_of.values()] == [(call.id, call.name) for call in CALLS]
    assert ["".join(part.arguments for part in each) for each in parts_of.values()] == [c.arguments for c in CALLS]


def test_tool_calls_of_anthropic(exchange: Any, reply: Any) -> None:
    start = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
    parts = [{"type": "input_json_delta", "partial_json": part} for part in ("", '{"q": ', '"x"}')]
    body = event({"type": "message_start", "message": {"usage": {"input_tokens": 1, "output_tokens": 1}}})
    body += event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "Let me "}})
    body += event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "look."}})
    body += event({"type": "content_block_start", "index": 1, "content_block": start})
    body += b"".join(event({"type": "content_block_delta", "index": 1, "delta": part}) for part in parts)
    body += event({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 8}})
    body += event({"type": "message_stop"})
    done = Stream(exchange, "anthropic", reply(reads=cut(body, 40)))
    assert done.text == "Let me look."
    completion = done.done.completion
    assert (completion.text, completion.finish_reason) == ("Let me look.", "tool_calls")
    assert completion.tool_calls == (ToolCall(id="toolu_1", name="look", arguments='{"q": "x"}'),)


def test_tool_calls_of_ollama(exchange: Any, reply: Any) -> None:
    call = {"function": {"name": "look", "arguments": {"q": "x"}}}
    rows = [
        {"message": {"content": "", "tool_calls": [call]}, "done": False},
        {"message": {"content": ""}, "done": True, "done_reason": "stop", "prompt_eval_count": 1},
    ]
    done = Stream(exchange, "ollama", reply(reads=[b"".join(json.dumps(row).encode() + b"\n" for row in rows)]))
    completion = done.done.completion
    assert [(call.name, call.arguments) for call in completion.tool_calls] == [("look", '{"q": "x"}')]
    assert (completion.text, completion.finish_reason, completion.usage) == (None, "tool_calls", None)


def test_the_simulated_panel_streams(adapter_of: Any) -> None:
    deltas: list[Delta] = []

    async def main(**fields: Any) -> Completion:
        async with adapter_of("simulated", None) as provider:
            request = ChatRequest(messages=({"role": "user", "content": "What is 17 * 23?"},), **fields)
            completion: Completion = await provider.stream("m", request, timeout_s=5, emit=deltas.append)
            return completion

    for fields in ({}, {"logprobs": True}):
        deltas.clear()
        completion = asyncio.run(main(**fields))
        assert "".join(delta.text for delta in deltas) == completion.text
        assert len(deltas) > 1
        assert [delta.logprobs is not None for delta in deltas] == [bool(fields)] * len(deltas)


# Properties


async def arriving(parts: Sequence[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def split_at(body: bytes, points: Iterable[int]) -> list[bytes]:
    places = [0, *sorted({point % (len(body) + 1) for point in points}), len(body)]
    return [body[start:end] for start, end in pairwise(places)]


def assembly(kind: str, emit: Sink) -> Any:
    if kind == "openai":
        return OpenAIAssembly(emit, fault=lambda error: bad_response(str(error)))
    return {"anthropic": AnthropicAssembly, "ollama": OllamaAssembly}[kind](emit, Scrubber(None, {}))


def survives(kind: str, body: bytes) -> None:
    made = assembly(kind, lambda delta: None)
    with suppress(UpstreamError):
        made.take(body)
        made.reply()


texts = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12), min_size=1, max_size=8)
points = st.lists(st.integers(0, 10_000), max_size=30)


@settings(deadline=None)
@given(said=texts, cuts=points, kind=st.sampled_from(KINDS))
def test_deltas_add_up_however_the_network_cuts_them(said: list[str], cuts: list[int], kind: str) -> None:
    deltas: list[Delta] = []

    async def read() -> Any:
        received = arriving(split_at(WIRES[kind](said), cuts))
        made = assembly(kind, deltas.append)
        async for data in lines(received) if kind == "ollama" else events(received):
            if made.take(data):
                break
        return made.reply()

    reply = asyncio.run(read())
    message = reply["choices"][0]["message"] if kind == "openai" else reply.get("message")
    whole = message["content"] if message else reply["content"][0]["text"]
    assert [delta.text for delta in deltas] == said
    assert whole == "".join(said)


@settings(deadline=None)
@given(body=st.binary(max_size=60), cuts=points)
def test_lines_are_the_same_however_the_network_cuts_them(body: bytes, cuts: list[int]) -> None:
    async def read(parts: Sequence[bytes]) -> list[bytes]:
        return [line async for line in lines(arriving(parts))]

    assert asyncio.run(read(split_at(body, cuts))) == asyncio.run(read([body]))


@settings(deadline=None)
@given(body=st.binary(max_size=80), kind=st.sampled_from(KINDS))
def test_no_bytes_crash_an_assembly(body: bytes, kind: str) -> None:
    survives(kind, body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)
@given(value=json_values, kind=st.sampled_from(KINDS), data=st.data())
def test_no_odd_event_crashes_an_assembly(value: Any, kind: str, data: st.DataObject) -> None:
    shape = data.draw(
        st.sampled_from(
            [
                lambda v: {"choices": v},
                lambda v: {"choices": [v]},
                lambda v: {"choices": [{"delta": v, "finish_reason": "stop", "logprobs": v}]},
                lambda v: {"choices": [{"delta": {"content": v, "refusal": v, "tool_calls": v}}]},
                lambda v: {"choices": [{"delta": {"tool_calls": [{"index": 0, "id": v, "function": v}]}}]},
                lambda v: {"type": "message_start", "message": v},
                lambda v: {"type": "content_block_start", "index": 0, "content_block": v},
                lambda v: {"type": "content_block_delta", "index": 0, "delta": v},
                lambda v: {"type": "message_delta", "delta": v, "usage": v},
                lambda v: {"message": v, "done": v, "logprobs": v},
                lambda v: {"message": {"content": "x", "tool_calls": v}, "done": True},
                lambda v: {"error": v},
            ]
        )
    )
    survives(kind, json.dumps(shape(value)).encode())
