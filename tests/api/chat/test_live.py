"""Live text over HTTP: official client, surface, engine, official client, an upstream that streams."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emerge_core.types import Completion, Delta, TokenLogprob, ToolCall, ToolCallDelta, Usage

SEA = "The sea is wide and deep."
USER: Any = {"role": "user", "content": "Tell me of the sea."}
ENSEMBLES = (
    "{emerge: {members: [a, b], aggregator: {name: merge, merger: frontier}}, alone: {members: [a]}, "
    "stronger: {members: [a, b], escalate: {to: frontier}}, chat: {members: [a, b], strategy: fallback}, "
    "merging: {routes: {short: alone, open_ended: emerge}}, chatting: {routes: {short: alone, open_ended: chat}}}"
)


@pytest.fixture
def client(through: Any) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=through(ENSEMBLES), api_key="none", max_retries=0) as official:
        yield official


def stream(client: openai.OpenAI, model: str = "alone", **more: Any) -> Iterator[Any]:
    return iter(client.chat.completions.create(model=model, messages=[USER], stream=True, **more))


@pytest.mark.parametrize("model", ["a", "alone", "emerge", "stronger", "chat", "merging", "chatting"])
def test_the_first_words_arrive_before_the_last_are_written(
    client: openai.OpenAI, upstream: Any, says: Any, model: str
) -> None:
    speaker = "a" if model in ("a", "alone", "chat", "chatting") else "frontier"
    upstream.script = {"a": says("It is 1."), "b": says("It is 2."), speaker: says(SEA, waits_after=2)}
    chunks = stream(client, model)
    first = [next(chunks) for _ in range(3)]
    assert [chunk.choices[0].delta.role for chunk in first] == ["assistant", None, None]
    assert [chunk.choices[0].delta.content for chunk in first] == ["", "The ", "sea "]
    assert upstream.open == 1  # it waits for us
    upstream.gate.set()
    rest = list(chunks)
    assert [chunk.choices[0].delta.content for chunk in rest] == ["is ", "wide ", "and ", "deep.", None]
    assert [chunk.choices[0].finish_reason for chunk in rest] == [None] * 4 + ["stop"]
    assert {chunk.id for chunk in first + rest} == {first[0].id}
    assert rest[-1].model_extra["emerge"]["calls"][-1]["model"] == speaker


def test_usage_and_the_emerge_object_come_last(client: openai.OpenAI, upstream: Any, says: Any) -> None:
    upstream.script = {"a": says(SEA)}
    *chunks, last = stream(client, stream_options={"include_usage": True})
    assert (last.choices, last.usage.total_tokens) == ([], 110)
    assert last.model_extra["emerge"]["cost_usd"] == pytest.approx(120e-6)
    assert all(chunk.usage is None and "usage" in chunk.model_fields_set for chunk in chunks)


def test_the_streaming_helper(client: openai.OpenAI, upstream: Any, says: Any) -> None:
    upstream.script = {"a": says(SEA)}
    with client.chat.completions.stream(model="alone", messages=[USER]) as events:
        kinds = [event.type for event in events]
        final = events.get_final_completion().choices[0]
    assert kinds.count("content.delta") == 7
    assert (final.message.content, final.finish_reason) == (SEA, "stop")


def test_a_reply_that_breaks_off_is_an_error_in_the_stream(client: openai.OpenAI, upstream: Any, says: Any) -> None:
    upstream.script = {"a": says(SEA, breaks_after=2)}
    heard: list[str | None] = []
    with pytest.raises(openai.APIError, match="broke off") as caught:
        heard.extend(chunk.choices[0].delta.content for chunk in stream(client))
    body: Any = caught.value.body
    assert (body["type"], body["code"]) == ("upstream_error", "stream_interrupted")
    assert [call["status"] for call in body["emerge"]["calls"]] == ["error"]


def test_an_upstream_that_refuses_at_once_gives_its_own_status(client: openai.OpenAI, upstream: Any, says: Any) -> None:
    upstream.script = {"a": says(status=400, error="too odd")}
    with pytest.raises(openai.BadRequestError, match="too odd"):
        list(stream(client))


@pytest.mark.parametrize("model", ["alone", "emerge"])
def test_a_client_that_leaves_ends_the_upstreams_work(
    client: openai.OpenAI, upstream: Any, says: Any, until: Any, model: str
) -> None:
    upstream.script = {"a": says(SEA, waits_after=1), "b": says("2"), "frontier": says(SEA, waits_after=1)}
    if model == "emerge":
        upstream.script["a"] = says("1")
    with client.chat.completions.create(model=model, messages=[USER], stream=True) as chunks:
        assert next(chunks).choices[0].delta.content == ""
        assert next(chunks).choices[0].delta.content == "The "
        assert upstream.open == 1
    until(lambda: upstream.open == 0)


def test_as_many_streams_as_there_are_clients(client: openai.OpenAI, upstream: Any, says: Any) -> None:
    upstream.script = {"a": says(SEA, pause=0.01)}

    async def talk() -> list[str]:
        async with openai.AsyncOpenAI(base_url=client.base_url, api_key="none") as official:

            async def one() -> str:
                chunks = await official.chat.completions.create(model="alone", messages=[USER], stream=True)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])

            return await asyncio.gather(*(one() for _ in range(20)))

    assert asyncio.run(talk()) == [SEA] * 20


# The surface alone, before an engine that emits as it is told


def chunks_of(reply: httpx.Response) -> list[Any]:
    events = [event for event in reply.text.split("\n\n") if event.startswith("data: {")]
    return [json.loads(event.removeprefix("data: ")) for event in events]


def post(http: httpx.Client, **fields: Any) -> httpx.Response:
    return http.post("/v1/chat/completions", json={"model": "mini", "messages": [USER], "stream": True, **fields})


texts = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20), min_size=1, max_size=10)


@given(said=texts)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_chunks_add_up_to_the_message(http: httpx.Client, engine: Any, make: Any, said: list[str]) -> None:
    engine.says = [Delta(text=text) for text in said]
    engine.result = make.trace(make.reply("".join(said)), keys=["x"])
    chunks = chunks_of(post(http))
    assert [chunk["choices"][0]["delta"].get("content") for chunk in chunks] == ["", *said, None]


def test_probabilities_stand_beside_their_tokens(http: httpx.Client, engine: Any, make: Any) -> None:
    tokens = tuple(TokenLogprob(token=token, logprob=-0.5) for token in ("4", "2"))
    engine.says = [Delta(text=token.token, logprobs=(token,)) for token in tokens]
    engine.result = make.trace(make.reply("42", logprobs=tokens))
    found = [chunk["choices"][0]["logprobs"] for chunk in chunks_of(post(http, logprobs=True))]
    assert [shown and [entry["token"] for entry in shown["content"]] for shown in found] == [None, ["4"], ["2"], None]
    assert all(chunk["choices"][0]["logprobs"] is None for chunk in chunks_of(post(http)))


def test_a_refusal_is_heard_as_one(http: httpx.Client, engine: Any, make: Any) -> None:
    engine.says = [Delta(refusal="I "), Delta(refusal="won't.")]
    engine.result = make.trace(make.reply(None, refusal="I won't."), keys=[None])
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks_of(post(http))]
    assert [delta.get("refusal") for delta in deltas] == [None, "I ", "won't.", None]


def test_what_was_not_heard_of_the_answer_follows(http: httpx.Client, engine: Any, make: Any) -> None:
    engine.says = [Delta(text="I ")]
    engine.result = make.trace(make.reply("I stop", refusal="because"), keys=[None])
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks_of(post(http))]
    assert deltas[1:] == [{"content": "I "}, {"content": "stop"}, {"refusal": "because"}, {}]


def test_an_answer_that_is_not_what_was_heard_is_an_error(
    http: httpx.Client, engine: Any, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    engine.says = [Delta(text="41")]
    engine.result = make.trace(Completion(text="42", finish_reason="stop", usage=Usage()))
    reply = post(http)
    assert chunks_of(reply)[-1]["error"]["code"] == "internal_error"
    assert "[DONE]" not in reply.text
    assert "differs from what was streamed" in caplog.text


def test_tool_calls_are_streamed_as_they_are_written(http: httpx.Client, engine: Any, make: Any) -> None:
    engine.says = [
        Delta(reasoning="Hm."),
        Delta(text="Adding."),
        Delta(tool_calls=(ToolCallDelta(index=0, id="c1", name="add"),)),
        Delta(tool_calls=(ToolCallDelta(index=0, arguments='{"a"'),)),
        Delta(tool_calls=(ToolCallDelta(index=0, arguments=": 1}"),)),
    ]
    calls = (
        ToolCall(id="c1", name="add", arguments='{"a": 1}', extra_content={"google": {"thought_signature": "s"}}),
        ToolCall(id="c2", name="sub", arguments="{}"),
    )
    engine.result = make.trace(
        make.reply("Adding.", reasoning_content="Hm.", tool_calls=calls, finish_reason="tool_calls"), keys=["x"]
    )
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks_of(post(http))]
    assert [delta.get("reasoning_content") for delta in deltas[:3]] == [None, "Hm.", None]
    parts = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert parts == [
        {"index": 0, "id": "c1", "type": "function", "function": {"name": "add", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"a"'}},
        {"index": 0, "function": {"arguments": ": 1}"}},
        {"index": 0, "function": {"arguments": ""}, "extra_content": {"google": {"thought_signature": "s"}}},
        {"index": 1, "id": "c2", "type": "function", "function": {"name": "sub", "arguments": ""}},
        {"index": 1, "function": {"arguments": "{}"}},
    ]


def test_what_a_model_wants_back_reaches_the_client(http: httpx.Client, engine: Any, make: Any) -> None:
    block = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    call = ToolCall(id="c1", name="add", arguments="{}", extra_content={"google": {"thought_signature": "s"}})
    engine.result = make.trace(
        make.reply(None, reasoning_content="Hm.", thinking_blocks=(block,), tool_calls=(call,)), keys=["x"]
    )
    whole = http.post("/v1/chat/completions", json={"model": "mini", "messages": [USER]}).json()
    message = whole["choices"][0]["message"]
    assert (message["reasoning_content"], message["thinking_blocks"]) == ("Hm.", [block])
    assert message["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "s"}}
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks_of(post(http))]
    assert {"reasoning_content": "Hm.", "thinking_blocks": [block]} in deltas
    back = {"model": "mini", "messages": [USER, message, {"role": "tool", "tool_call_id": "c1", "content": "3"}]}
    assert http.post("/v1/chat/completions", json=back).status_code == 200
    assert engine.requests[-1].messages[1] == message
