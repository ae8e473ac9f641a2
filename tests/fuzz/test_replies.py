"""What upstreams send: streams in three wire formats, and texts to find an answer or a verdict in."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import strategies as st

from emerge_core.aggregators.judge import verdict
from emerge_core.answers import Extractor
from emerge_core.providers.anthropic import adapter as anthropic
from emerge_core.providers.anthropic import stream as anthropic_stream
from emerge_core.providers.errors import Scrubber, bad_response
from emerge_core.providers.ollama import adapter as ollama
from emerge_core.providers.ollama import stream as ollama_stream
from emerge_core.providers.openai import adapter as openai
from emerge_core.providers.openai import stream as openai_stream
from emerge_core.providers.transport.sse import events, lines
from emerge_core.types import Completion, Delta, UpstreamError
from tests.fuzz.families import QUESTIONS, asks
from tests.fuzz.inputs import changed, fuzzed, nested, texts

SCRUB = Scrubber("sk-abcdef", {})
ASKED = asks("2 + 2?", logprobs=True, response_format={"type": "json_object"})
TOKEN = {"token": "4", "logprob": -0.1, "bytes": [52], "top_logprobs": [{"token": "4", "logprob": -0.1}]}
FRAGMENT = {"index": 0, "id": "c", "function": {"name": "look", "arguments": '{"x"'}}
OPENAI: list[Any] = [
    {"model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
    {"choices": [{"index": 0, "delta": {"content": "4"}, "logprobs": {"content": [TOKEN]}}]},
    {"choices": [{"index": 0, "delta": {"refusal": "no", "tool_calls": [FRAGMENT]}}]},
    {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]}}]},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}},
]
ANTHROPIC: list[Any] = [
    {"type": "message_start", "message": {"model": "m", "content": [], "usage": {"input_tokens": 3}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "4"}},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "c", "name": "look"}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"x": 1}'}},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
]
OLLAMA: list[Any] = [
    {"model": "m", "message": {"role": "assistant", "content": "4"}, "logprobs": [TOKEN], "done": False},
    {"message": {"tool_calls": [{"function": {"name": "look", "arguments": {"x": 1}}}]}, "done": False},
    {"message": {"content": ""}, "done": True, "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 2},
]


def _openai(emit: Callable[[Delta], None]) -> tuple[Any, Callable[[Any], Completion]]:
    told = openai_stream.Assembly(emit, fault=lambda error: bad_response(SCRUB(str(error))))
    return told, lambda reply: openai.from_wire(reply, ASKED, dropped=(), attempts=1, scrub=SCRUB)


def _anthropic(emit: Callable[[Delta], None]) -> tuple[Any, Callable[[Any], Completion]]:
    wire = anthropic.Wire(body={}, headers={}, dropped=(), sent=frozenset(), wants_json=True)
    return anthropic_stream.Assembly(emit, SCRUB), lambda reply: anthropic.from_wire(reply, wire, attempts=1)


def _ollama(emit: Callable[[Delta], None]) -> tuple[Any, Callable[[Any], Completion]]:
    return ollama_stream.Assembly(emit, SCRUB), lambda reply: ollama.from_wire(reply, ASKED, dropped=())


FORMATS: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "openai": (_openai, OPENAI),
    "anthropic": (_anthropic, ANTHROPIC),
    "ollama": (_ollama, OLLAMA),
}


def read(kind: str, datas: list[bytes]) -> Completion:
    made, _ = FORMATS[kind]
    said: list[Delta] = []
    assembly, finish = made(said.append)
    for data in datas:
        if assembly.take(data):
            break
    completion: Completion = finish(assembly.reply())
    assert all(isinstance(delta.text, str) and isinstance(delta.refusal, str) for delta in said)
    return completion


@pytest.mark.parametrize("kind", FORMATS)
@fuzzed(150, data=st.data())
def test_changed_streams(kind: str, data: st.DataObject) -> None:
    stream = data.draw(changed(st.just(FORMATS[kind][1])))
    with suppress(UpstreamError):
        completion = read(kind, [json.dumps(event).encode() for event in stream])
        assert completion.text is None or isinstance(completion.text, str)
        assert all(isinstance(call.arguments, str) and isinstance(call.name, str) for call in completion.tool_calls)
        ends = Extractor.of(ASKED)
        ends.why_unusable(completion)
        ends.key(completion)


@pytest.mark.parametrize("kind", ["openai", "ollama"])
@pytest.mark.parametrize("content", [42, 0, True, {"text": "4"}])
def test_content_that_is_not_text_is_no_empty_answer(kind: str, content: Any) -> None:
    stream = deepcopy(FORMATS[kind][1])
    part = stream[0]["choices"][0]["delta"] if kind == "openai" else stream[0]["message"]
    part["content"] = content
    with pytest.raises(UpstreamError, match="not text"):
        read(kind, [json.dumps(event).encode() for event in stream])


def test_content_that_is_not_text_in_a_whole_reply() -> None:
    _, finish = _openai(lambda _: None)
    with pytest.raises(UpstreamError, match="not text"):
        finish({"choices": [{"message": {"role": "assistant", "content": 42}, "finish_reason": "stop"}]})


@pytest.mark.parametrize("kind", FORMATS)
@fuzzed(100, place=st.integers(0, 6), junk=st.one_of(st.binary(max_size=80), nested.map(str.encode)))
def test_junk_in_streams(kind: str, place: int, junk: bytes) -> None:
    datas = [json.dumps(event).encode() for event in FORMATS[kind][1]]
    with suppress(UpstreamError):
        read(kind, [*datas[:place], junk, *datas[place:]])


@fuzzed(80, text=nested, begun=st.sampled_from(["", '{"x": ']))
def test_nested_arguments(text: str, begun: str) -> None:
    stream = [{**event, "delta": {**event["delta"], "partial_json": begun + text}} if n == 4 else event
              for n, event in enumerate(ANTHROPIC)]  # fmt: skip
    with suppress(UpstreamError):
        read("anthropic", [json.dumps(event).encode() for event in stream])


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_changed_was_valid(kind: str) -> None:
    completion = read(kind, [json.dumps(event).encode() for event in FORMATS[kind][1]])
    assert (completion.text, len(completion.tool_calls), completion.usage is None) == ("4", 1, False)


@fuzzed(
    250,
    raw=st.one_of(
        st.binary(max_size=300), st.lists(st.sampled_from([b"data:", b"\n", b"\r", b" x", b": "])).map(b"".join)
    ),
    cuts=st.lists(st.integers(0, 300), max_size=8),
)
def test_events_wherever_they_are_cut(raw: bytes, cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(raw)]

    async def received(parts: list[bytes]) -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    async def run(parts: list[bytes]) -> tuple[list[bytes], list[bytes]]:
        return [x async for x in events(received(parts))], [x async for x in lines(received(parts))]

    parts = [raw[start:end] for start, end in itertools.pairwise(places)]
    cut, whole = asyncio.run(run(parts)), asyncio.run(run([raw]))
    assert cut == whole
    assert b"".join(whole[1]).replace(b"\r", b"") == raw.replace(b"\n", b"").replace(b"\r", b"")


EXTRACTORS = [
    *(Extractor.of(asks(question)) for question in QUESTIONS.values()),
    Extractor.of(asks("x", response_format={"type": "json_object"})),
]


@fuzzed(
    400,
    text=st.one_of(texts, nested),
    extractor=st.sampled_from(EXTRACTORS),
    finish=st.sampled_from(["stop", "length"]),
)
def test_answers(text: str, extractor: Extractor, finish: str) -> None:
    completion = Completion(text=text, finish_reason=finish)
    extractor.why_unusable(completion)
    first = extractor.key(completion)
    assert extractor.key(completion) == first


@fuzzed(300, text=texts)
def test_questions(text: str) -> None:
    Extractor.of(asks(text)).key(Completion(text="The answer is B.", finish_reason="stop"))


BEST = [
    '{"best": 2}',
    '{"best": 0}',
    '{"best": 1e0}',
    '{"best": true}',
    '{"best": 2, "best": 1}',
    "```json\n",
    "```",
    '"best"',
]


@fuzzed(
    400, text=st.one_of(st.none(), texts, nested, st.lists(st.sampled_from(BEST)).map("".join)), count=st.integers(1, 9)
)
def test_verdicts(text: str | None, count: int) -> None:
    found = verdict(text, count)
    assert found is None or (type(found) is int and 1 <= found <= count)


def test_a_verdict_is_found() -> None:
    assert verdict('```json\n{"best": 2}\n```', 3) == 2
