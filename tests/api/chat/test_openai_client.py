"""The official openai client, unchanged but for its base URL."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from emerge_core.errors import RequestError
from emerge_core.types import ChatRequest, TokenLogprob, ToolCall, TopLogprob, Usage

USER: Any = {"role": "user", "content": "6 x 7?"}
TOOL: Any = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_a_completion(client: openai.OpenAI, engine: Any) -> None:
    completion = client.chat.completions.create(
        model="emerge", messages=[USER], temperature=0.5, max_tokens=7, extra_body={"future": 1}, user="u"
    )
    choice = completion.choices[0]
    assert completion.id.startswith("chatcmpl-")
    assert (completion.object, completion.model) == ("chat.completion", "emerge")
    assert (choice.index, choice.finish_reason, choice.logprobs) == (0, "stop", None)
    assert (choice.message.role, choice.message.content, choice.message.refusal) == ("assistant", "42", None)
    assert choice.message.tool_calls is None
    assert engine.requests == [
        ChatRequest(messages=(USER,), temperature=0.5, max_tokens=7, extra={"future": 1, "user": "u"})
    ]
    assert engine.names == ["emerge"]


def test_usage_is_the_sum_with_its_details(client: openai.OpenAI) -> None:
    usage = client.chat.completions.create(model="emerge", messages=[USER]).usage
    assert usage
    assert usage.prompt_tokens_details
    assert usage.completion_tokens_details
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (30, 6, 36)
    assert usage.prompt_tokens_details.cached_tokens == 12
    assert usage.completion_tokens_details.reasoning_tokens == 3


def test_usage_is_the_selected_calls_where_the_config_says_so(client: openai.OpenAI, engine: Any, make: Any) -> None:
    other = make.reply("41", usage=Usage(input_tokens=500))
    engine.result = make.trace(make.reply(), make.reply(), other, usage_policy="selected")
    completion = client.chat.completions.create(model="emerge", messages=[USER])
    assert completion.usage
    assert completion.usage.prompt_tokens == 10
    both = completion.model_extra["emerge"]["usage"]  # type: ignore[index]
    assert (both["sum"]["prompt_tokens"], both["selected"]["prompt_tokens"]) == (520, 10)


def test_headers_tell_what_happened(client: openai.OpenAI, engine: Any) -> None:
    raw = client.chat.completions.with_raw_response.create(model="emerge", messages=[USER])
    headers = raw.headers
    assert headers["x-emerge-ensemble"] == "emerge"
    assert headers["x-emerge-selected"] == "1"
    assert float(headers["x-emerge-agreement"]) == pytest.approx(2 / 3)
    assert headers["x-emerge-cost-usd"] == "0.300000000"
    assert headers["x-emerge-degraded"] == "false"
    assert int(headers["openai-processing-ms"]) >= 0
    assert raw.request_id == headers["x-request-id"] == engine.request_ids[0]
    assert raw.parse().choices[0].message.content == "42"


def test_tool_calls(client: openai.OpenAI, engine: Any, make: Any) -> None:
    calls = (ToolCall(id="c1", name="add", arguments='{"a": 1}'), ToolCall(id="c2", name="add", arguments="{}"))
    engine.result = make.trace(make.reply(None, tool_calls=calls, finish_reason="tool_calls"), keys=["add"])
    choice = client.chat.completions.create(model="emerge", messages=[USER], tools=[TOOL]).choices[0]
    assert (choice.message.content, choice.finish_reason) == (None, "tool_calls")
    assert choice.message.tool_calls
    assert [
        (c.id, c.type, c.function.name, c.function.arguments) for c in choice.message.tool_calls if c.type == "function"
    ] == [
        ("c1", "function", "add", '{"a": 1}'),
        ("c2", "function", "add", "{}"),
    ]


def test_the_finish_reason_is_the_winners_own(client: openai.OpenAI, engine: Any, make: Any) -> None:
    engine.result = make.trace(make.reply("42 is", finish_reason="length"))
    assert client.chat.completions.create(model="emerge", messages=[USER]).choices[0].finish_reason == "length"


def test_a_refusal(client: openai.OpenAI, engine: Any, make: Any) -> None:
    engine.result = make.trace(make.reply(None, refusal="No."), keys=[None])
    message = client.chat.completions.create(model="emerge", messages=[USER]).choices[0].message
    assert (message.content, message.refusal) == (None, "No.")


LOGPROBS = (TokenLogprob(token="42", logprob=-0.1, top=(TopLogprob("42", -0.1), TopLogprob("41", -2.5))),)


def test_logprobs_are_the_winners_and_only_for_those_who_ask(client: openai.OpenAI, engine: Any, make: Any) -> None:
    engine.result = make.trace(make.reply(logprobs=LOGPROBS))
    silent = client.chat.completions.create(model="emerge", messages=[USER])
    assert silent.choices[0].logprobs is None
    asked = client.chat.completions.create(model="emerge", messages=[USER], logprobs=True, top_logprobs=1)
    shown = asked.choices[0].logprobs
    assert shown
    assert shown.content
    token = shown.content[0]
    assert (token.token, token.logprob, token.bytes) == ("42", -0.1, [52, 50])
    assert [(top.token, top.logprob) for top in token.top_logprobs] == [("42", -0.1)]


def test_logprobs_that_the_winner_does_not_have_are_named(client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(model="emerge", messages=[USER], logprobs=True)
    assert completion.choices[0].logprobs is None
    calls = completion.model_extra["emerge"]["calls"]  # type: ignore[index]
    assert [call["dropped_params"] for call in calls] == [["logprobs"], [], []]


def test_several_choices_are_distinct_answers_first(client: openai.OpenAI, engine: Any, make: Any) -> None:
    engine.result = make.trace(make.reply("it is 42"), make.reply("42!"), make.reply("41"), keys=["42", "42", "41"])
    completion = client.chat.completions.create(model="emerge", messages=[USER], n=3)
    assert [choice.index for choice in completion.choices] == [0, 1, 2]
    assert [choice.message.content for choice in completion.choices] == ["it is 42", "41", "42!"]
    assert completion.model_extra["emerge"]["selected"] == ["1", "3", "2"]  # type: ignore[index]


def test_a_failed_member_is_no_choice(client: openai.OpenAI, engine: Any, make: Any) -> None:
    engine.result = make.trace(make.reply("42"), make.failed(), make.reply("41"))
    completion = client.chat.completions.create(model="emerge", messages=[USER], n=3)
    assert [choice.message.content for choice in completion.choices] == ["42", "41"]
    assert completion.model_extra["emerge"]["degraded"] is True  # type: ignore[index]


def test_a_merged_answer_comes_before_the_members_own(client: openai.OpenAI, engine: Any, make: Any) -> None:
    merged = make.trace(make.reply("42"), make.reply("41"))
    decision = dataclasses.replace(merged.decision, message=make.reply("42 or 41"), selected=("3",))
    engine.result = dataclasses.replace(merged, decision=decision)
    completion = client.chat.completions.create(model="emerge", messages=[USER], n=2)
    assert [choice.message.content for choice in completion.choices] == ["42 or 41", "42"]


def test_more_choices_than_members_are_refused_before_anything_is_asked(client: openai.OpenAI, engine: Any) -> None:
    for model, n in (("emerge", 4), ("mini", 2)):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model=model, messages=[USER], n=n)
        assert caught.value.param == "n"
    assert engine.requests == []


def stream(client: openai.OpenAI, **more: Any) -> list[Any]:
    return list(client.chat.completions.create(model="emerge", messages=[USER], stream=True, **more))


def test_a_streamed_answer(client: openai.OpenAI, engine: Any, make: Any) -> None:
    text = "The answer to six times seven is, after some thought, forty-two."
    engine.result = make.trace(make.reply(text))
    chunks = stream(client)
    assert {(chunk.id, chunk.object, chunk.model) for chunk in chunks} == {
        (chunks[0].id, "chat.completion.chunk", "emerge")
    }
    assert chunks[0].choices[0].delta.role == "assistant"
    contents = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert "".join(contents) == text
    assert len([piece for piece in contents if piece]) > 2
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert [chunk.usage for chunk in chunks] == [None] * len(chunks)
    assert [("emerge" in (chunk.model_extra or {})) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


def test_the_usage_chunk_is_last_and_has_no_choices(client: openai.OpenAI) -> None:
    chunks = stream(client, stream_options={"include_usage": True})
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == 36
    assert chunks[-1].model_extra["emerge"]["ensemble"] == "emerge"
    assert all(chunk.usage is None and "usage" in chunk.model_fields_set for chunk in chunks[:-1])
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert "emerge" not in (chunks[-2].model_extra or {})


def test_streamed_tool_calls_add_up(client: openai.OpenAI, engine: Any, make: Any) -> None:
    long = '{"text": "' + "word " * 50 + '"}'
    calls = (ToolCall(id="c1", name="add", arguments=long), ToolCall(id="c2", name="sub", arguments="{}"))
    engine.result = make.trace(make.reply(None, tool_calls=calls, finish_reason="tool_calls"), keys=["add"])
    with client.chat.completions.stream(model="emerge", messages=[USER], tools=[TOOL]) as events:
        final = events.get_final_completion().choices[0]
    assert final.finish_reason == "tool_calls"
    assert final.message.content is None
    assert final.message.tool_calls
    assert [(c.id, c.function.name, c.function.arguments) for c in final.message.tool_calls] == [
        ("c1", "add", long),
        ("c2", "sub", "{}"),
    ]


def test_several_streamed_choices_logprobs_and_refusals(client: openai.OpenAI, engine: Any, make: Any) -> None:
    engine.result = make.trace(make.reply("42", logprobs=LOGPROBS), make.reply("I think 41"), keys=["42", "41"])
    with client.chat.completions.stream(model="emerge", messages=[USER], n=2, logprobs=True) as events:
        final = events.get_final_completion()
    assert [choice.message.content for choice in final.choices] == ["42", "I think 41"]
    assert final.choices[0].logprobs
    assert final.choices[0].logprobs.content
    assert final.choices[0].logprobs.content[0].logprob == -0.1
    engine.result = make.trace(make.reply(None, refusal="No."), keys=[None])
    with client.chat.completions.stream(model="emerge", messages=[USER]) as events:
        assert events.get_final_completion().choices[0].message.refusal == "No."


def test_a_failure_inside_a_stream_raises_in_the_client(client: openai.OpenAI, engine: Any, make: Any) -> None:
    failure = RequestError("all are busy", status=429, type="rate_limit_error", code="rate_limit_exceeded")
    engine.result = make.trace(make.failed(), decision=None, failure=failure)
    with pytest.raises(openai.APIError, match="all are busy") as caught:
        stream(client)
    body: Any = caught.value.body
    assert body["code"] == "rate_limit_exceeded"
    assert body["emerge"]["calls"][0]["error"] == "rate_limit 429: slow down"


@pytest.mark.parametrize(
    ("status", "raised"),
    [
        (400, openai.BadRequestError),
        (429, openai.RateLimitError),
        (502, openai.InternalServerError),
        (503, openai.InternalServerError),
        (504, openai.InternalServerError),
    ],
)
def test_failures_raise_the_clients_own_errors(
    client: openai.OpenAI, engine: Any, make: Any, status: int, raised: type[openai.APIStatusError]
) -> None:
    failure = RequestError("no luck", status=status, type="t", code="c", param="p")
    engine.result = make.trace(make.failed(), decision=None, failure=failure)
    with pytest.raises(raised, match="no luck") as caught:
        client.chat.completions.create(model="emerge", messages=[USER])
    assert (caught.value.status_code, caught.value.code, caught.value.param) == (status, "c", "p")
    assert caught.value.request_id


def test_an_unknown_model_names_the_known_ones(client: openai.OpenAI) -> None:
    for streamed in (False, True):
        with pytest.raises(openai.NotFoundError, match="Known: emerge, other, mini, haiku, flash") as caught:
            client.chat.completions.create(model="gpt-9", messages=[USER], stream=streamed)
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_a_wrong_key(serve: Callable[..., str]) -> None:
    url = serve(api_keys=["right", "also-right"])
    with openai.OpenAI(base_url=f"{url}/v1", api_key="wrong") as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            client.models.list()
        assert caught.value.code == "invalid_api_key"
        assert client.with_options(api_key="also-right").models.list().data[0].id == "emerge"


def test_a_client_that_gives_up_cancels_the_work(url: str, engine: Any, until: Any) -> None:
    engine.delay_s = 60
    with (
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=0.2) as client,
        pytest.raises(openai.APITimeoutError),
    ):
        client.chat.completions.create(model="emerge", messages=[USER])
    until(lambda: engine.cancelled == 1)


def test_models(client: openai.OpenAI) -> None:
    assert [(m.id, m.object, m.owned_by) for m in client.models.list()] == [
        ("emerge", "model", "emerge"),
        ("other", "model", "emerge"),
        ("mini", "model", "sim"),
        ("haiku", "model", "sim"),
        ("flash", "model", "sim"),
    ]
    assert client.models.retrieve("haiku").owned_by == "sim"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-9")
    assert caught.value.code == "model_not_found"


def test_the_async_client_streamed_and_not(url: str) -> None:
    async def talk() -> tuple[str | None, str]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:
            whole = await client.chat.completions.create(model="emerge", messages=[USER])
            parts = await client.chat.completions.create(model="emerge", messages=[USER], stream=True)
            streamed = [chunk.choices[0].delta.content or "" async for chunk in parts]
            return whole.choices[0].message.content, "".join(streamed)

    assert asyncio.run(talk()) == ("42", "42")


def test_many_at_once(url: str, engine: Any) -> None:
    engine.delay_s = 0.05

    async def talk() -> list[str | None]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:
            asked = [client.chat.completions.create(model="emerge", messages=[USER]) for _ in range(40)]
            return [completion.choices[0].message.content for completion in await asyncio.gather(*asked)]

    assert asyncio.run(talk()) == ["42"] * 40
