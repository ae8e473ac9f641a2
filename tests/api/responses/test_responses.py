"""POST /v1/responses: what is read of a body, what the official client makes of the reply, and every event."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from pydantic import BaseModel

from emerge_core.api.responses.parse import read_response
from emerge_core.errors import RequestError
from emerge_core.types import ChatRequest, TokenLogprob, ToolCall, TopLogprob

TOOL: Any = {
    "type": "function",
    "name": "add",
    "description": "Adds",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
    "strict": False,
}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "add", "arguments": '{"a": 1}'}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "3"}
IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"}


def parsed(**changes: Any) -> ChatRequest:
    body = {"model": "emerge", "input": "6 x 7?", **changes}
    return read_response({name: value for name, value in body.items() if value is not ...}).request


def said(*parts: Any, role: str = "user") -> list[Any]:
    return [{"role": role, "content": list(parts)}]


def text(said: str, kind: str = "input_text") -> dict[str, str]:
    return {"type": kind, "text": said}


# what is read


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"input": "hi"}, [{"role": "user", "content": "hi"}]),
        (
            {"input": "hi", "instructions": "Be brief."},
            [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}],
        ),
        ({"input": said(text("a"))}, [{"role": "user", "content": "a"}]),
        (
            {"input": [{"type": "message", "role": "developer", "content": "x"}, {"role": "user", "content": "y"}]},
            [{"role": "developer", "content": "x"}, {"role": "user", "content": "y"}],
        ),
        (
            {"input": said(text("what is it?"), IMAGE)},
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "what is it?"},
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
                    ],
                }
            ],
        ),
        (
            {"input": said({"type": "input_file", "file_data": "data:application/pdf;base64,AA", "filename": "a.pdf"})},
            [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "file",
                            "file": {"file_data": "data:application/pdf;base64,AA", "filename": "a.pdf"},
                        }
                    ],
                }
            ],
        ),
        (
            {"input": said({"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}})},
            [
                {
                    "role": "user",
                    "content": [{"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}],
                }
            ],
        ),
        (
            {"input": [*said(text("4", "output_text"), role="assistant"), {"role": "user", "content": "sure?"}]},
            [{"role": "assistant", "content": "4"}, {"role": "user", "content": "sure?"}],
        ),
        (
            {"input": said({"type": "refusal", "refusal": "No."}, role="assistant")},
            [{"role": "assistant", "content": None, "refusal": "No."}],
        ),
    ],
)
def test_input_becomes_messages(changes: dict[str, Any], messages: list[Any]) -> None:
    assert list(parsed(**changes).messages) == messages


def test_calls_one_after_the_other_are_one_turn() -> None:
    """As OpenAI lists them: a message, its calls, and their outputs."""
    second = {**CALL, "call_id": "c2"}
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": []}
    turns = [{"role": "user", "content": "add"}, reasoning, {"role": "assistant", "content": "Let me see."}]
    messages = parsed(input=[*turns, CALL, second, OUTPUT, {**OUTPUT, "call_id": "c2", "output": [text("4")]}]).messages
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool"]
    assert messages[1]["content"] == "Let me see."
    assert messages[1]["tool_calls"] == [
        {"id": name, "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}} for name in ("c1", "c2")
    ]
    assert [(message["tool_call_id"], message["content"]) for message in messages[2:]] == [("c1", "3"), ("c2", "4")]


def test_a_call_without_a_message_before_it() -> None:
    messages = parsed(input=[{"role": "user", "content": "add"}, CALL, OUTPUT, {**CALL, "call_id": "c2"}]).messages
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "assistant"]
    assert messages[1]["content"] is None


def test_settings_reach_the_request() -> None:
    request = parsed(
        tools=[TOOL],
        tool_choice={"type": "function", "name": "add"},
        parallel_tool_calls=False,
        max_output_tokens=50,
        temperature=0.3,
        top_p=0.9,
        top_logprobs=2,
        include=["message.output_text.logprobs", "reasoning.encrypted_content"],
        reasoning={"effort": "low", "summary": "auto"},
        text={"format": {"type": "json_object"}, "verbosity": "low"},
        metadata={"a": "b"},
        store=True,
        truncation="auto",
        service_tier="flex",
        stream_options={"include_obfuscation": False},
        no_such_field=1,
    )
    (tool,) = request.tools
    assert tool == {"type": "function", "function": {name: TOOL[name] for name in TOOL if name != "type"}}
    assert request.tool_choice == {"type": "function", "function": {"name": "add"}}
    assert (request.parallel_tool_calls, request.max_tokens, request.max_tokens_param) == (
        False,
        50,
        "max_completion_tokens",
    )
    assert (request.temperature, request.top_p, request.logprobs, request.top_logprobs) == (0.3, 0.9, True, 2)
    assert request.response_format == {"type": "json_object"}
    assert request.extra == {
        "reasoning_effort": "low",
        "verbosity": "low",
        "service_tier": "flex",
        "no_such_field": 1,
    }


def test_a_schema_in_chats_shape() -> None:
    wanted = {"type": "json_schema", "name": "answer", "schema": {"type": "object"}, "strict": True}
    assert parsed(text={"format": wanted}).response_format == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
    }
    assert parsed(text={"format": {"type": "text"}}).response_format is None


def test_allowed_tools_are_those_that_are_offered() -> None:
    other = {**TOOL, "name": "sub"}
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "sub"}]}
    request = parsed(tools=[TOOL, other], tool_choice=choice)
    assert [tool["function"]["name"] for tool in request.tools] == ["sub"]
    assert request.tool_choice == "required"


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"model": ...}, "model"),
    ({"input": ...}, "input"),
    ({"input": 5}, "input"),
    ({"input": []}, "input"),
    ({"input": ["hi"]}, "input[0]"),
    ({"input": [{"type": "reasoning", "id": "r", "summary": []}], "instructions": "x"}, "input"),
    ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
    ({"input": [{"role": "user"}]}, "input[0].content"),
    ({"input": said()}, "input[0].content"),
    ({"input": said({"type": "text", "text": "x"})}, "input[0].content[0].type"),
    ({"input": said({"type": "input_text"})}, "input[0].content[0].text"),
    ({"input": said({"type": "input_file", "filename": "f"})}, "input[0].content[0]"),
    ({"input": said({"type": "input_file", "file_url": "https://x.test/f.pdf"})}, "input[0].content[0].file_url"),
    ({"input": said({"type": "input_audio", "input_audio": {}})}, "input[0].content[0].input_audio.data"),
    ({"input": said({"type": "input_image", "file_id": "f"})}, "input[0].content[0].file_id"),
    ({"input": said({"type": "input_image", "image_url": "ftp://x"})}, "input[0].content[0].image_url"),
    ({"input": said(IMAGE, role="system")}, "input[0].content[0].type"),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
    ({"input": [{"type": "no_such_item", "id": "w"}]}, "input[0].type"),
    ({"input": [OUTPUT]}, "input[0].call_id"),
    ({"input": [CALL, {**OUTPUT, "output": {"a": 1}}]}, "input[1].output"),
    ({"input": [{**CALL, "arguments": {}}]}, "input[0].arguments"),
    ({"input": [{"role": "user", "content": "x"}] * 2049}, "input"),
    ({"tools": [{**TOOL, "parameters": {"enum": [[]] * 5001}}]}, "tools[0].parameters"),
    ({"text": {"format": {"type": "json_schema", "name": "a", "schema": {"enum": [[]] * 5001}}}}, "text.format.schema"),
    ({"instructions": ["x"]}, "instructions"),
    ({"messages": [{"role": "user", "content": "x"}]}, "messages"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"max_tokens": 5}, "max_tokens"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"temperature": 3}, "temperature"),
    ({"previous_response_id": "resp_1"}, "previous_response_id"),
    ({"conversation": {"id": "conv_1"}}, "conversation"),
    ({"prompt": {"id": "p"}}, "prompt"),
    ({"background": True}, "background"),
    ({"store": "yes"}, "store"),
    ({"metadata": "x"}, "metadata"),
    ({"truncation": "middle"}, "truncation"),
    ({"include": "x"}, "include"),
    ({"reasoning": "low"}, "reasoning"),
    ({"reasoning": {"effort": 1}}, "reasoning.effort"),
    ({"text": "json"}, "text"),
    ({"text": {"format": "json"}}, "text.format"),
    ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
    ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
    ({"text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": 1}}}}, "text.format.schema"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ({"tools": [{"type": "function", "function": {"name": "add"}}]}, "tools[0].name"),
    ({"tools": [TOOL, TOOL]}, "tools[1].name"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": "all"}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "web_search"}}, "tool_choice.type"),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "sub"}}, "tool_choice.name"),
]


@pytest.mark.parametrize(("changes", "param"), REFUSED, ids=lambda value: str(value)[:60])
def test_a_fault_is_named_as_the_caller_knows_it(changes: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        parsed(**changes)
    assert (caught.value.status, caught.value.param) == (400, param)
    assert param in caught.value.message


# through the official client


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_a_response(client: openai.OpenAI, engine: Any, make: Any) -> None:
    response = client.responses.create(model="emerge", input="6 x 7?", metadata={"a": "b"}, max_output_tokens=9)
    assert response.output_text == "42"
    assert response.id.startswith("resp_")
    assert (response.object, response.status, response.model) == ("response", "completed", "emerge")
    assert (response.metadata, response.max_output_tokens, response.incomplete_details) == ({"a": "b"}, 9, None)
    assert response.model_extra
    assert response.model_extra["store"] is False
    assert response.model_extra["emerge"]["selected"] == ["1"]
    usage = response.usage
    assert usage
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (30, 6, 36)
    assert (usage.input_tokens_details.cached_tokens, usage.output_tokens_details.reasoning_tokens) == (12, 3)
    assert engine.requests[0].max_tokens == 9
    assert "metadata" not in engine.requests[0].extra


def test_the_replys_every_field_is_of_the_clients_types(http: httpx.Client, engine: Any, make: Any) -> None:
    """The client does not check what it reads; a strict reading of its own types does."""
    call = ToolCall(id="c1", name="add", arguments='{"a": 1}')
    engine.result = make.trace(make.reply("Let me see.", tool_calls=(call,), finish_reason="tool_calls"))
    body = {"model": "emerge", "input": "6 x 7?", "tools": [TOOL], "reasoning": {"effort": "low"}}
    reply = http.post("/v1/responses", json=body)
    assert reply.headers["x-emerge-selected"] == "1"
    openai.types.responses.Response.model_validate_json(reply.content, strict=True)


class Sum(BaseModel):
    total: int


def test_parse(client: openai.OpenAI, engine: Any, make: Any) -> None:
    engine.result = make.trace(make.reply('{"total": 42}'))
    response = client.responses.parse(model="emerge", input="6 x 7?", text_format=Sum)
    assert response.output_parsed == Sum(total=42)
    assert engine.requests[0].json_schema["required"] == ["total"]


def test_a_tool_loop(client: openai.OpenAI, engine: Any, make: Any) -> None:
    call = ToolCall(id="c1", name="add", arguments='{"a": 1}')
    engine.result = make.trace(make.reply(None, tool_calls=(call,), finish_reason="tool_calls"), keys=["add"])
    history: list[Any] = [{"role": "user", "content": "add"}]
    first = client.responses.create(model="emerge", input=history, tools=[TOOL])
    (made,) = first.output
    assert made.type == "function_call"
    assert (made.call_id, made.name, made.arguments, made.status) == ("c1", "add", '{"a": 1}', "completed")
    history += [made, {"type": "function_call_output", "call_id": made.call_id, "output": "3"}]
    engine.result = make.trace(make.reply("3"))
    assert client.responses.create(model="emerge", input=history, tools=[TOOL]).output_text == "3"
    assert [message["role"] for message in engine.requests[1].messages] == ["user", "assistant", "tool"]


@pytest.mark.parametrize(("finish", "why"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_an_answer_that_is_not_whole(client: openai.OpenAI, engine: Any, make: Any, finish: str, why: str) -> None:
    engine.result = make.trace(make.reply("4", finish_reason=finish))
    response = client.responses.create(model="emerge", input="6 x 7?")
    assert response.status == "incomplete"
    assert response.incomplete_details
    assert response.incomplete_details.reason == why
    assert response.output_text == "4"
    events = list(client.responses.create(model="emerge", input="6 x 7?", stream=True))
    assert events[-1].type == "response.incomplete"


def test_a_refusal(client: openai.OpenAI, engine: Any, make: Any) -> None:
    engine.result = make.trace(make.reply(None, refusal="No."), keys=[None])
    (message,) = client.responses.create(model="emerge", input="6 x 7?").output
    assert message.type == "message"
    assert [part.type for part in message.content] == ["refusal"]
    types = [event.type for event in client.responses.create(model="emerge", input="6 x 7?", stream=True)]
    assert types[4:7] == ["response.refusal.delta", "response.refusal.done", "response.content_part.done"]


def test_logprobs(client: openai.OpenAI, engine: Any, make: Any) -> None:
    token = TokenLogprob(token="42", logprob=-0.1, top=(TopLogprob("42", -0.1), TopLogprob("41", -2.5)))
    engine.result = make.trace(make.reply(logprobs=(token,)))
    response = client.responses.create(
        model="emerge", input="6 x 7?", top_logprobs=1, include=["message.output_text.logprobs"]
    )
    message: Any = response.output[0]
    (shown,) = message.content[0].logprobs
    assert (shown.token, shown.logprob, [top.token for top in shown.top_logprobs]) == ("42", -0.1, ["42"])


def test_the_usage_of_the_selected_call(client: openai.OpenAI, engine: Any, make: Any) -> None:
    engine.result = make.trace(make.reply(), make.reply(), usage_policy="selected")
    usage = client.responses.create(model="emerge", input="6 x 7?").usage
    assert usage
    assert usage.total_tokens == 12


def test_every_event_of_a_text(http: httpx.Client, engine: Any, make: Any) -> None:
    engine.result = make.trace(make.reply("Forty-two, after some thought."))
    reply = http.post("/v1/responses", json={"model": "emerge", "input": "6 x 7?", "stream": True})
    assert reply.headers["content-type"].startswith("text/event-stream")
    blocks = [block.split("\n") for block in reply.text.strip().split("\n\n")]
    assert {len(lines) for lines in blocks} == {2}
    events = [json.loads(lines[1].removeprefix("data: ")) for lines in blocks]
    assert [lines[0] for lines in blocks] == [f"event: {event['type']}" for event in events]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    deltas = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
    assert "".join(deltas) == "Forty-two, after some thought."
    assert len(deltas) > 2
    types = [event["type"] for event in events if event["type"] != "response.output_text.delta"]
    assert types == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    first, last = events[0]["response"], events[-1]["response"]
    assert (first["status"], first["output"], first["usage"]) == ("in_progress", [], None)
    assert (last["id"], last["status"]) == (first["id"], "completed")
    assert last["output"] == [events[-2]["item"]]
    assert last["emerge"]["ensemble"] == "emerge"


def test_streamed_tool_calls_add_up(client: openai.OpenAI, engine: Any, make: Any) -> None:
    long = '{"a": "' + "word " * 50 + '"}'
    calls = (ToolCall(id="c1", name="add", arguments=long), ToolCall(id="c2", name="sub", arguments="{}"))
    engine.result = make.trace(make.reply("So:", tool_calls=calls, finish_reason="tool_calls"), keys=["add"])
    with client.responses.stream(model="emerge", input="6 x 7?", tools=[TOOL]) as events:
        deltas = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
        final = events.get_final_response()
    assert "".join(deltas) == long + "{}"
    assert final.output_text == "So:"
    made: list[Any] = list(final.output[1:])
    assert [(call.call_id, call.name, call.arguments) for call in made] == [("c1", "add", long), ("c2", "sub", "{}")]


def test_a_streamed_parse(client: openai.OpenAI, engine: Any, make: Any) -> None:
    engine.result = make.trace(make.reply('{"total": 42}'))
    with client.responses.stream(model="emerge", input="6 x 7?", text_format=Sum) as events:
        assert events.get_final_response().output_parsed == Sum(total=42)


def test_a_failure_is_the_clients_own_error(client: openai.OpenAI, engine: Any, make: Any) -> None:
    failure = RequestError("all are busy", status=429, type="rate_limit_error", code="rate_limit_exceeded")
    engine.result = make.trace(make.failed(), decision=None, failure=failure)
    with pytest.raises(openai.RateLimitError, match="all are busy"):
        client.responses.create(model="emerge", input="6 x 7?")
    with pytest.raises(openai.RateLimitError, match="all are busy"):
        list(client.responses.create(model="emerge", input="6 x 7?", stream=True))


def test_a_failure_inside_a_stream_raises_in_the_client(serve: Any, engine: Any, make: Any) -> None:
    failure = RequestError("all are busy", status=429, type="rate_limit_error", code="rate_limit_exceeded")
    engine.result = make.trace(make.failed(), decision=None, failure=failure)
    engine.delay_s = 0.05
    url = serve(keepalive_s=0.01)
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        for streamed in (client.responses.create, client.responses.stream):
            with pytest.raises(openai.APIError, match="all are busy") as caught:
                _read(streamed, model="emerge", input="6 x 7?")
            body: Any = caught.value.body
            assert (body["code"], body["emerge"]["calls"][0]["status"]) == ("rate_limit_exceeded", "error")


def _read(streamed: Any, **asked: Any) -> None:
    if streamed.__name__ == "create":
        list(streamed(**asked, stream=True))
    else:
        with streamed(**asked) as events:
            events.until_done()


def test_a_failed_stream_ends_as_a_response_does(serve: Any, engine: Any) -> None:
    engine.result, engine.delay_s = RuntimeError("a bug"), 0.05
    body = {"model": "emerge", "input": "6 x 7?", "stream": True}
    reply = httpx.post(f"{serve(keepalive_s=0.01)}/v1/responses", json=body)
    events = [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: ")]
    assert [event["type"] for event in events[2:]] == ["error", "response.failed"]
    assert events[2]["code"] == events[3]["response"]["error"]["code"] == "internal_error"
    assert "a bug" not in reply.text


def test_what_is_refused_says_what_to_do(client: openai.OpenAI, engine: Any) -> None:
    with pytest.raises(openai.BadRequestError, match=r"not stored.*Send the earlier items") as caught:
        client.responses.create(model="emerge", input="6 x 7?", previous_response_id="resp_1")
    assert (caught.value.param, caught.value.code) == ("previous_response_id", "unsupported_parameter")
    with pytest.raises(openai.NotFoundError, match="not stored"):
        client.responses.retrieve("resp_1")
    with pytest.raises(openai.NotFoundError, match="Known: emerge"):
        client.responses.create(model="gpt-9", input="6 x 7?")
    assert engine.requests == []


def test_the_async_client(url: str) -> None:
    async def talk() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:
            whole = await client.responses.create(model="emerge", input="6 x 7?")
            parts = await client.responses.create(model="emerge", input="6 x 7?", stream=True)
            deltas = [event.delta async for event in parts if event.type == "response.output_text.delta"]
            return [whole.output_text, "".join(deltas)]

    assert asyncio.run(talk()) == ["42", "42"]


def test_a_client_that_leaves_a_stream_cancels_the_work(http: httpx.Client, engine: Any, until: Any) -> None:
    engine.delay_s = 60
    body = {"model": "emerge", "input": "6 x 7?", "stream": True}
    with http.stream("POST", "/v1/responses", json=body, timeout=30) as reply:
        assert next(reply.iter_lines()) == "event: response.created"
    until(lambda: engine.cancelled == 1)


def test_text_is_heard_while_it_is_written(through: Any, upstream: Any, says: Any) -> None:
    upstream.script = {"a": says("The sea is wide.", waits_after=2)}
    with openai.OpenAI(base_url=through("{alone: {members: [a]}}"), api_key="none", max_retries=0) as client:
        events = iter(client.responses.create(model="alone", input="Tell me of the sea.", stream=True))
        early = [next(events) for _ in range(6)]
        assert [event.delta for event in early[4:]] == ["The ", "sea "]  # type: ignore[union-attr]
        assert upstream.open == 1  # it waits for us
        upstream.gate.set()
        late = list(events)
    assert [event.sequence_number for event in early + late] == list(range(len(early + late)))
    done: Any = next(event for event in late if event.type == "response.output_text.done")
    last: Any = late[-1]
    assert done.text == last.response.output_text == "The sea is wide."
    assert last.response.usage.total_tokens == 110


def test_the_whole_way(through: Any, upstream: Any, says: Any) -> None:
    upstream.script = {"a": says(tool_calls=[("add", {"a": 1})]), "b": says(tool_calls=[("add", {"a": 1})])}
    with openai.OpenAI(base_url=through("{emerge: {members: [a, b]}}"), api_key="none", max_retries=0) as client:
        response = client.responses.create(
            model="emerge", input="add", instructions="Be brief.", tools=[TOOL], tool_choice="required"
        )
    (call,) = response.output
    assert call.type == "function_call"
    assert json.loads(call.arguments) == {"a": 1}
    sent = upstream.asked("a")[0]
    assert sent["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "add"}]
    assert (sent["tools"][0]["function"]["name"], sent["tool_choice"]) == ("add", "required")
