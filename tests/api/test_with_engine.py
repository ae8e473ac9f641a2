"""The whole way: official client, HTTP surface, engine, official client, an upstream on loopback."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest

USER: Any = {"role": "user", "content": "What is 6 x 7? End with the number."}
ADD: Any = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
    },
}
ENSEMBLES = "{emerge: {members: [a, b, c], aggregator: vote, early_decision: false, deadline_s: 5}}"


def client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=url, api_key="none", max_retries=0)


def test_three_calls_one_answer(through: Any, upstream: Any, says: Any) -> None:
    upstream.script = {"a": says("The answer is 42."), "b": says("41"), "c": says("**42**")}
    with client(through(ENSEMBLES)) as official:
        completion = official.chat.completions.create(
            model="emerge", messages=[USER], max_tokens=50, temperature=0.3, user="u1"
        )
    assert completion.choices[0].message.content == "The answer is 42."
    assert completion.usage
    assert completion.usage.total_tokens == 110  # the selected call's
    emerge: Any = completion.model_extra and completion.model_extra["emerge"]
    assert emerge["usage"]["sum"]["total_tokens"] == 330
    assert [call["status"] for call in emerge["calls"]] == ["ok"] * 3
    assert emerge["agreement"] == 0.666666667
    assert emerge["cost_usd"] == pytest.approx(3 * (100 + 2 * 10) / 1e6)
    assert [(body["max_tokens"], body["temperature"], body["user"]) for body in upstream.bodies] == [
        (50, 0.3, "u1")
    ] * 3


def test_streamed(through: Any, upstream: Any, says: Any) -> None:
    upstream.script = {name: says("It is 42.") for name in "abc"}
    with client(through(ENSEMBLES)) as official:
        chunks = list(official.chat.completions.create(model="emerge", messages=[USER], stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "It is 42."


def test_a_tool_turn_and_its_result(through: Any, upstream: Any, says: Any) -> None:
    calling = says(tool_calls=[("add", {"a": 1})])
    upstream.script = {name: [calling, says("It is 3.")] for name in "abc"}
    messages: list[Any] = [USER]
    with client(through(ENSEMBLES)) as official:
        asked = official.chat.completions.create(model="emerge", messages=messages, tools=[ADD]).choices[0]
        assert (asked.finish_reason, asked.message.content) == ("tool_calls", None)
        assert asked.message.tool_calls
        messages.append(asked.message.model_dump(exclude_none=True))
        messages.append({"role": "tool", "tool_call_id": asked.message.tool_calls[0].id, "content": "3"})
        told = official.chat.completions.create(model="emerge", messages=messages, tools=[ADD]).choices[0]
    assert told.message.content == "It is 3."


def test_a_schema_holds_for_the_answer(through: Any, upstream: Any, says: Any) -> None:
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    upstream.script = {"a": says('{"x": "no"}'), "b": says('{"x": 42}'), "c": says("42")}
    with client(through(ENSEMBLES)) as official:
        completion = official.chat.completions.create(
            model="emerge",
            messages=[USER],
            response_format=wanted,
        )
    assert json.loads(completion.choices[0].message.content or "") == {"x": 42}
    emerge: Any = completion.model_extra and completion.model_extra["emerge"]
    assert emerge["degraded"] is True
    assert [call["usable"] for call in emerge["calls"]] == [False, True, False]


def test_several_choices(through: Any, upstream: Any, says: Any) -> None:
    upstream.script = {"a": says("41"), "b": says("42"), "c": says("It is 42.")}
    with client(through(ENSEMBLES)) as official:
        completion = official.chat.completions.create(model="emerge", messages=[USER], n=3)
    assert [choice.message.content for choice in completion.choices] == ["42", "41", "It is 42."]


def test_one_model_alone(through: Any, upstream: Any, says: Any) -> None:
    upstream.script = {"b": says("Hi.", finish_reason="length")}
    with client(through(ENSEMBLES)) as official:
        completion = official.chat.completions.create(model="b", messages=[{"role": "user", "content": "Hello"}])
    choice = completion.choices[0]
    assert (completion.model, choice.message.content, choice.finish_reason) == ("b", "Hi.", "length")


@pytest.mark.parametrize(
    ("status", "code", "raised", "kind"),
    [
        (401, None, 502, "upstream_error"),
        (400, None, 400, "invalid_request_error"),
        (400, "context_length_exceeded", 400, "invalid_request_error"),
        (429, None, 429, "rate_limit_error"),
        (500, None, 502, "upstream_error"),
    ],
)
def test_when_all_fail(
    through: Any, upstream: Any, says: Any, status: int, code: str | None, raised: int, kind: str
) -> None:
    headers = {"retry-after": "7"} if status == 429 else {}
    upstream.script = {name: says(status=status, code=code, headers=headers) for name in "abc"}
    url = through(
        ENSEMBLES.replace("deadline_s: 5", "deadline_s: 1"),
        a={"max_retries": 0},
        b={"max_retries": 0},
        c={"max_retries": 0},
    )
    reply = httpx.post(f"{url}/chat/completions", json={"model": "emerge", "messages": [USER]})
    error = reply.json()["error"]
    assert (reply.status_code, error["type"]) == (raised, kind)
    assert [call["model"] for call in error["emerge"]["calls"]] == ["a", "b", "c"]
    if status == 429:
        assert reply.headers["retry-after"] == "7"
    if code:
        assert error["code"] == code


def test_the_callers_deadline_and_a_degraded_answer(through: Any, upstream: Any, says: Any) -> None:
    upstream.script = {"a": says("42"), "b": says("42", delay=3), "c": says("42")}
    body = {"model": "emerge", "messages": [USER]}
    reply = httpx.post(f"{through(ENSEMBLES)}/chat/completions", json=body, headers={"x-emerge-deadline": "0.5"})
    assert (reply.status_code, reply.headers["x-emerge-degraded"]) == (200, "true")
    assert [call["status"] for call in reply.json()["emerge"]["calls"]] == ["ok", "timeout", "ok"]


@pytest.mark.parametrize("status", [200, 429])
def test_an_upstreams_rate_limits_are_passed_on_where_it_was_the_only_one(
    through: Any, upstream: Any, says: Any, status: int
) -> None:
    told = {"x-ratelimit-remaining-requests": "59", "retry-after": "60"}
    upstream.script = {name: says("42", status=status, headers=told) for name in "abc"}
    url = through(ENSEMBLES, a={"max_retries": 0})
    alone = httpx.post(f"{url}/chat/completions", json={"model": "a", "messages": [USER]})
    assert (alone.status_code, alone.headers["x-ratelimit-remaining-requests"]) == (status, "59")
    if status == 429:
        assert (alone.headers["retry-after"], alone.headers["x-should-retry"]) == ("60", "true")
        return
    panel = httpx.post(f"{url}/chat/completions", json={"model": "emerge", "messages": [USER]})
    assert "x-ratelimit-remaining-requests" not in panel.headers


@pytest.mark.parametrize("model", ["a", "chat"])
def test_tool_calls_of_one_model_and_of_a_fallback_arrive_as_they_are_written(
    through: Any, upstream: Any, says: Any, model: str
) -> None:
    upstream.script = {"a": says("Let me add.", tool_calls=[("add", {"a": 1}), ("add", {"a": 22})])}
    with client(through("{chat: {members: [a, b], strategy: fallback, deadline_s: 5}}")) as official:
        chunks = list(official.chat.completions.create(model=model, messages=[USER], tools=[ADD], stream=True))
    parts = [part for chunk in chunks for part in chunk.choices[0].delta.tool_calls or ()]
    assert len(parts) > 2 * 2  # fragments, as the upstream sent them
    calls: dict[int, list[str]] = {}
    for part in parts:
        name, arguments = (part.function.name, part.function.arguments) if part.function else (None, None)
        if part.index not in calls:
            assert part.id
            assert name == "add"
        calls.setdefault(part.index, []).append(arguments or "")
    assert ["".join(fragments) for fragments in calls.values()] == ['{"a": 1}', '{"a": 22}']
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Let me add."
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len({part.id for part in parts if part.id}) == 2


def test_a_streamed_call_that_is_invalid_is_handed_on_and_marked(through: Any, upstream: Any, says: Any) -> None:
    upstream.script = {"a": says(tool_calls=[("add", {"b": 1})])}
    with client(through("{chat: {members: [a, b], strategy: fallback, deadline_s: 5}}")) as official:
        chunks = list(official.chat.completions.create(model="a", messages=[USER], tools=[ADD], stream=True))
    parts = [part for chunk in chunks for part in chunk.choices[0].delta.tool_calls or ()]
    assert "".join((part.function.arguments or "") for part in parts if part.function) == '{"b": 1}'
    emerge: Any = chunks[-1].model_extra and chunks[-1].model_extra["emerge"]
    (call,) = emerge["calls"]
    assert not call["usable"]
    assert call["error"].startswith("invalid tool call: add: ")
    assert [body["model"] for body in upstream.bodies] == ["a"]


def test_an_id_that_the_conversation_has_already_is_replaced_in_every_part(
    through: Any, upstream: Any, says: Any
) -> None:
    """The scripted upstream numbers the calls of every reply from 0, as some servers do."""
    upstream.script = {"a": [says(tool_calls=[("add", {"a": 1})]), says(tool_calls=[("add", {"a": 2})])]}
    messages: list[Any] = [USER]
    ids = []
    with client(through("{chat: {members: [a, b], strategy: fallback, deadline_s: 5}}")) as official:
        for _ in range(2):
            with official.chat.completions.stream(model="chat", messages=messages, tools=[ADD]) as stream:
                message = stream.get_final_completion().choices[0].message
            assert message.tool_calls
            ids.append(message.tool_calls[0].id)
            messages.append(message.model_dump(exclude_none=True, include={"role", "content", "tool_calls"}))
            messages.append({"role": "tool", "tool_call_id": ids[-1], "content": "3"})
    assert len(set(ids)) == 2
