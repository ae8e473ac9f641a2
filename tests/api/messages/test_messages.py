"""The messages surface as Anthropic's official client sees it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import anthropic
import httpx
import pytest

from emerge_core.errors import RequestError
from emerge_core.types import CallError, Completion, Delta, ToolCall, ToolCallDelta, Usage

USER: Any = {"role": "user", "content": "6 x 7?"}
TOOL: Any = {"name": "add", "description": "Adds.", "input_schema": {"type": "object"}}
SEA = "The sea is wide and deep."


@pytest.fixture
def client(url: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as official:
        yield official


def create(client: anthropic.Anthropic, **fields: Any) -> Any:
    return client.messages.create(**{"model": "emerge", "max_tokens": 100, "messages": [USER], **fields})


def events_of(http: httpx.Client, **fields: Any) -> list[dict[str, Any]]:
    body = {"model": "emerge", "max_tokens": 100, "messages": [USER], "stream": True, **fields}
    text = http.post("/v1/messages?beta=true", json=body).text
    events = [json.loads(event.partition("data: ")[2]) for event in text.strip().split("\n\n")]
    assert [event["type"] for event in events] == [
        line.removeprefix("event: ") for line in text.splitlines() if line.startswith("event: ")
    ]
    return events


def test_a_message(client: anthropic.Anthropic, engine: Any) -> None:
    raw = client.messages.with_raw_response.create(model="emerge", max_tokens=7, messages=[USER])
    message: Any = raw.parse()
    assert (message.type, message.role, message.model) == ("message", "assistant", "emerge")
    assert [(block.type, block.text) for block in message.content] == [("text", "42")]
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert raw.headers["request-id"] == raw.headers["x-request-id"]
    assert raw.headers["x-emerge-ensemble"] == "emerge"
    assert message.model_extra["emerge"]["rule"] == "vote:majority"
    assert (engine.names, engine.requests[0].max_tokens) == (["emerge"], 7)


def test_usage_counts_cached_tokens_beside_the_input(client: anthropic.Anthropic, engine: Any, make: Any) -> None:
    usage = Usage(input_tokens=100, output_tokens=5, cached_tokens=60, cache_write_tokens=30)
    engine.result = make.trace(make.reply(usage=usage), usage_policy="selected")
    said = create(client).usage
    assert (said.input_tokens, said.output_tokens) == (10, 5)
    assert (said.cache_read_input_tokens, said.cache_creation_input_tokens) == (60, 30)


def test_tool_calls_are_blocks(client: anthropic.Anthropic, engine: Any, make: Any) -> None:
    calls = (ToolCall(id="c1", name="add", arguments='{"a": 1}'), ToolCall(id="c2", name="add", arguments="{}"))
    engine.result = make.trace(make.reply("Adding.", tool_calls=calls, finish_reason="tool_calls"), keys=["add"])
    message = create(client, tools=[TOOL])
    assert [block.type for block in message.content] == ["text", "tool_use", "tool_use"]
    assert [(block.id, block.name, block.input) for block in message.content[1:]] == [
        ("c1", "add", {"a": 1}),
        ("c2", "add", {}),
    ]
    assert message.stop_reason == "tool_use"


@pytest.mark.parametrize(
    ("fields", "stop_reason"),
    [
        ({"finish_reason": "length"}, "max_tokens"),
        ({"finish_reason": "content_filter"}, "refusal"),
        ({"text": None, "refusal": "No."}, "refusal"),
    ],
)
def test_why_a_reply_ended(
    client: anthropic.Anthropic, engine: Any, make: Any, fields: dict[str, Any], stop_reason: str
) -> None:
    engine.result = make.trace(make.reply(**fields), keys=["x"])
    message = create(client)
    assert message.stop_reason == stop_reason
    assert message.content[0].text == (fields.get("refusal") or "42")


def test_reasoning_comes_first_and_goes_back_to_its_model(client: anthropic.Anthropic, engine: Any, make: Any) -> None:
    engine.result = make.trace(make.reply(reasoning_content="Six sevens."))
    message = create(client)
    assert [block.type for block in message.content] == ["thinking", "text"]
    create(client, messages=[USER, {"role": "assistant", "content": message.content}, USER])
    returned = engine.requests[-1].messages[1]
    assert returned == {"role": "assistant", "content": "42", "reasoning_content": "Six sevens."}
    signed = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    engine.result = make.trace(make.reply(thinking_blocks=(signed,)))
    message = create(client)
    create(client, messages=[USER, {"role": "assistant", "content": message.content}, USER])
    assert engine.requests[-1].messages[1]["thinking_blocks"][0]["signature"] == "s"


# The request


def test_what_claude_code_sends_is_translated(client: anthropic.Anthropic, engine: Any, http: httpx.Client) -> None:
    body = {
        "model": "emerge",
        "max_tokens": 32_000,
        "system": [
            {"type": "text", "text": "x-billing: 1"},
            {"type": "text", "text": "Be terse.", "cache_control": {"type": "ephemeral"}},
        ],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {"role": "system", "content": "A reminder."},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "Reading."},
                    {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"path": "a"}},
                    {"type": "tool_use", "id": "toolu_2", "name": "Read", "input": {"path": "b"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "A"}]},
                    {"type": "tool_result", "tool_use_id": "toolu_2", "content": "no", "is_error": True},
                    {"type": "text", "text": "Go on.", "cache_control": {"type": "ephemeral"}},
                ],
            },
        ],
        "tools": [
            {"name": "Read", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}},
            {"type": "web_search_20260209", "name": "web_search"},
        ],
        "metadata": {"user_id": "u"},
        "thinking": {"type": "adaptive"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "output_config": {"effort": "high"},
        "some_new_field": [1],
    }
    headers = {"anthropic-version": "2023-06-01", "anthropic-beta": "claude-code-20250219,unknown-2099-01-01"}
    reply = http.post("/v1/messages?beta=true", json=body, headers=headers)
    assert reply.status_code == 200
    request = engine.requests[0]
    assert [message["role"] for message in request.messages] == [
        "system", "user", "system", "assistant", "tool", "tool", "user",
    ]  # fmt: skip
    assert request.messages[0]["content"][1]["cache_control"] == {"type": "ephemeral"}
    assert [call["function"]["arguments"] for call in request.messages[3]["tool_calls"]] == [
        '{"path": "a"}',
        '{"path": "b"}',
    ]
    assert [message["content"] for message in request.messages[4:6]] == ["A", "Error: no"]
    assert [tool["function"]["name"] for tool in request.tools] == ["Read"]
    assert request.tools[0]["cache_control"] == {"type": "ephemeral"}
    assert request.extra == {"user": "u", "reasoning_effort": "high"}
    assert request.native.body == body
    assert request.native.messages is request.messages
    assert request.native.headers == headers


def test_other_fields_are_translated(client: anthropic.Anthropic, engine: Any) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "number"}}}
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    pdf = {
        "type": "document",
        "title": "a.pdf",
        "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="},
    }
    plain = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}}
    create(
        client,
        system="Be terse.",
        messages=[{"role": "user", "content": [image, pdf, plain]}],
        stop_sequences=["END", "STOP", "A", "B", "C"],
        tools=[TOOL],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        extra_body={
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 5,
            "output_config": {"format": {"type": "json_schema", "schema": schema}},
        },
    )
    request = engine.requests[0]
    assert request.messages[0] == {"role": "system", "content": "Be terse."}
    assert request.messages[1]["content"] == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk=", "filename": "a.pdf"}},
        {"type": "text", "text": "words"},
    ]
    assert (request.temperature, request.top_p, request.extra) == (0.5, 0.9, {"top_k": 5})
    assert request.stop == ("END", "STOP", "A", "B", "C")
    assert (request.tool_choice, request.parallel_tool_calls) == ("required", False)
    assert request.json_schema == schema


def test_empty_tools_are_none_and_a_choice_may_name_one(client: anthropic.Anthropic, engine: Any) -> None:
    create(client, tools=[])
    create(client, tools=[TOOL], tool_choice={"type": "tool", "name": "add"})
    assert engine.requests[0].tools == ()
    assert engine.requests[1].tool_choice == {"type": "function", "function": {"name": "add"}}


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"max_tokens": None}, "max_tokens"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"model": ""}, "model"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0].type"),
    (
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x", "content": "y"}]}]},
        "messages[0].content[0].tool_use_id",
    ),
    ({"tools": [{"name": "a b", "input_schema": {}}]}, "tools[0].name"),
    ({"tools": [{"name": "a"}]}, "tools[0].input_schema"),
    ({"tool_choice": {"type": "any"}}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "sub"}}, "tool_choice.name"),
    ({"stop_sequences": "END"}, "stop_sequences"),
    ({"temperature": 3}, "temperature"),
    ({"system": 7}, "system"),
]


@pytest.mark.parametrize(("changes", "param"), REFUSED, ids=lambda value: str(value)[:40])
def test_a_faulty_field_is_named(http: httpx.Client, engine: Any, changes: dict[str, Any], param: str) -> None:
    body = {"model": "emerge", "max_tokens": 10, "messages": [USER], **changes}
    reply = http.post("/v1/messages", json=body)
    assert (reply.status_code, reply.json()["type"]) == (400, "error")
    assert (reply.json()["error"]["type"], reply.json()["error"]["param"]) == ("invalid_request_error", param)
    assert engine.requests == []


# Errors


@pytest.mark.parametrize(
    ("status", "code", "kind", "raised"),
    [
        (400, "x", "invalid_request_error", anthropic.BadRequestError),
        (404, "x", "not_found_error", anthropic.NotFoundError),
        (429, "x", "rate_limit_error", anthropic.RateLimitError),
        (502, "x", "api_error", anthropic.InternalServerError),
        (503, "config_error", "api_error", anthropic.InternalServerError),
        (504, "x", "timeout_error", anthropic.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_anthropics(
    client: anthropic.Anthropic, engine: Any, make: Any, status: int, code: str, kind: str, raised: Any, stream: bool
) -> None:
    failure = RequestError("no luck", status=status, type="t", code=code)
    engine.result = make.trace(make.failed(), decision=None, failure=failure)
    with pytest.raises(raised, match="no luck") as caught:
        create(client, stream=stream)
    body = caught.value.body
    assert (body["type"], body["error"]["type"], body["error"]["code"]) == ("error", kind, code)
    assert body["emerge"]["calls"][0]["error"] == "rate_limit 429: slow down"
    assert caught.value.request_id


def test_too_many_requests_are_an_overloaded_error(serve: Callable[..., str]) -> None:
    reply = httpx.post(f"{serve(max_requests=0)}/v1/messages", json={})
    assert (reply.status_code, reply.json()["error"]["type"]) == (529, "overloaded_error")
    assert reply.headers["retry-after"] == "1"


def test_keys_come_in_either_header(serve: Callable[..., str]) -> None:
    url = serve(api_keys=["right"])
    with anthropic.Anthropic(base_url=url, api_key="wrong", max_retries=0) as client:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            create(client)
        body: Any = caught.value.body
        assert body["error"]["type"] == "authentication_error"
    with anthropic.Anthropic(base_url=url, api_key="right") as client:
        assert create(client).content
    with anthropic.Anthropic(base_url=url, auth_token="right") as client:
        assert create(client, extra_headers={"x-api-key": "another"}).content


def test_an_error_inside_a_stream_is_an_event(http: httpx.Client, engine: Any, make: Any) -> None:
    engine.says = [Delta(text="4")]
    broken = Completion(error=CallError(kind="connection", message="cut"))
    failure = RequestError("broke off", status=502, type="upstream_error", code="stream_interrupted")
    engine.result = make.trace(broken, decision=None, failure=failure)
    last = events_of(http)[-1]
    assert (last["type"], last["error"]["type"], last["error"]["code"]) == ("error", "api_error", "stream_interrupted")
    assert last["emerge"]["calls"]


# Streams


def test_the_events_of_a_message_in_their_order(http: httpx.Client, engine: Any, make: Any) -> None:
    engine.result = make.trace(make.reply("42"), usage_policy="selected")
    start, ping, begin, delta, stop, ending, end = events_of(http)
    assert (start["type"], start["message"]["content"], start["message"]["stop_reason"]) == ("message_start", [], None)
    assert ping == {"type": "ping"}
    assert begin == {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    assert delta == {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "42"}}
    assert stop == {"type": "content_block_stop", "index": 0}
    assert (ending["type"], ending["delta"]) == ("message_delta", {"stop_reason": "end_turn", "stop_sequence": None})
    assert (ending["usage"]["output_tokens"], ending["emerge"]["ensemble"]) == (2, "emerge")
    assert end == {"type": "message_stop"}


def test_the_streaming_helper_builds_the_message_that_came_whole(
    client: anthropic.Anthropic, engine: Any, make: Any
) -> None:
    long = {"text": "word " * 50}
    calls = (ToolCall(id="c1", name="add", arguments=json.dumps(long)), ToolCall(id="c2", name="sub", arguments="{}"))
    engine.result = make.trace(
        make.reply("Well.", reasoning_content="Hm.", tool_calls=calls, finish_reason="tool_calls"),
        keys=["x"],
        usage_policy="selected",
    )
    whole = create(client, tools=[TOOL])
    options: Any = {"model": "emerge", "max_tokens": 100, "messages": [USER], "tools": [TOOL]}
    with client.messages.stream(**options) as stream:
        final = stream.get_final_message()
    assert [block.to_dict() for block in final.content] == [block.to_dict() for block in whole.content]
    assert (final.stop_reason, final.model) == ("tool_use", "emerge")
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert final.usage.input_tokens == whole.usage.input_tokens


def test_live_deltas_make_blocks_one_after_the_other(http: httpx.Client, engine: Any, make: Any) -> None:
    engine.says = [
        Delta(reasoning="H"),
        Delta(reasoning="m."),
        Delta(text="We"),
        Delta(text="ll."),
        Delta(tool_calls=(ToolCallDelta(index=0, id="c1", name="add"),)),
        Delta(tool_calls=(ToolCallDelta(index=0, arguments='{"a"'),)),
        Delta(tool_calls=(ToolCallDelta(index=0, arguments=": 1}"),)),
    ]
    call = ToolCall(id="c1", name="add", arguments='{"a": 1}')
    engine.result = make.trace(
        make.reply("Well.", reasoning_content="Hm.", tool_calls=(call,), finish_reason="tool_calls"), keys=["x"]
    )
    events = events_of(http, tools=[TOOL])[2:]
    assert [(event["type"], event.get("index")) for event in events] == [
        ("content_block_start", 0),
        ("content_block_delta", 0),
        ("content_block_delta", 0),
        ("content_block_stop", 0),
        ("content_block_start", 1),
        ("content_block_delta", 1),
        ("content_block_delta", 1),
        ("content_block_stop", 1),
        ("content_block_start", 2),
        ("content_block_delta", 2),
        ("content_block_delta", 2),
        ("content_block_stop", 2),
        ("message_delta", None),
        ("message_stop", None),
    ]
    assert [event["delta"].get("partial_json") for event in events[9:11]] == ['{"a"', ": 1}"]


def test_a_members_own_events_are_passed_on(http: httpx.Client, engine: Any, make: Any) -> None:
    block = {"type": "text", "text": "", "citations": []}
    own = [
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "42"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": {"cited": "x"}}},
        {"type": "content_block_stop", "index": 0},
    ]
    engine.says = [Delta(text="42" if "text_delta" in str(event) else "", native=event) for event in own]
    native = {
        "content": [{"type": "text", "text": "42", "citations": [{"cited": "x"}]}],
        "stop_reason": "stop_sequence",
        "stop_sequence": "END",
        "usage": {"input_tokens": 9, "output_tokens": 3, "service_tier": "standard"},
    }
    engine.result = make.trace(make.reply(native=native, native_kind="anthropic"), usage_policy="selected")
    events = events_of(http)
    assert events[2:6] == own
    assert events[6]["delta"] == {"stop_reason": "stop_sequence", "stop_sequence": "END"}
    assert events[6]["usage"]["service_tier"] == "standard"
    body = {"model": "emerge", "max_tokens": 9, "messages": [USER]}
    assert http.post("/v1/messages", json=body).json()["content"] == native["content"]


def test_pings_flow_while_the_panel_works(serve: Callable[..., str], engine: Any) -> None:
    engine.delay_s = 0.3
    with httpx.Client(base_url=serve(keepalive_s=0.05)) as http:
        kinds = [event["type"] for event in events_of(http)]
    assert kinds[0] == "message_start"
    assert kinds.count("ping") >= 3


def test_live_text_through_the_whole_proxy(through: Any, upstream: Any, says: Any) -> None:
    upstream.script = {"a": says(SEA, waits_after=2)}
    url = through("{alone: {members: [a]}}").removesuffix("/v1")
    with (
        anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as client,
        client.messages.stream(model="alone", max_tokens=50, messages=[USER]) as stream,
    ):
        texts = iter(stream.text_stream)
        assert [next(texts), next(texts)] == ["The ", "sea "]
        upstream.gate.set()
        assert "".join(texts) == "is wide and deep."
        assert stream.get_final_message().usage.output_tokens == 10


# The other routes


def test_tokens_are_counted_and_an_estimate_says_so(client: anthropic.Anthropic, engine: Any) -> None:
    short = client.messages.count_tokens(model="emerge", messages=[USER])
    long = client.messages.count_tokens(model="emerge", messages=[USER], system="word " * 400, tools=[TOOL])
    assert 0 < short.input_tokens < long.input_tokens
    assert long.input_tokens >= 400
    assert long.model_extra == {"emerge": {"estimated": True}}
    with pytest.raises(anthropic.NotFoundError, match="Known: emerge"):
        client.messages.count_tokens(model="claude-9", messages=[USER])
    assert engine.requests == []


def test_models_in_anthropics_form(client: anthropic.Anthropic) -> None:
    listed = list(client.models.list())
    assert [model.id for model in listed][:2] == ["emerge", "other"]
    assert listed[0].type == "model"
    assert client.models.retrieve("mini").display_name == "mini"
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("claude-9")


def test_aliases_are_names(http: httpx.Client, engine: Any) -> None:
    engine.config = engine.config.model_copy(update={"aliases": {"gpt-4o*": "emerge", "sonnet": "mini"}})
    names = [model["id"] for model in http.get("/v1/models").json()["data"]]
    assert "sonnet" in names
    assert "gpt-4o*" not in names
    assert http.get("/v1/models/gpt-4o-mini").json()["owned_by"] == "emerge"
    body = {"model": "gpt-4o-mini", "max_tokens": 9, "messages": [USER]}
    assert http.post("/v1/messages", json=body).status_code == 200
    refused = http.post("/v1/messages", json={**body, "model": "claude-9"})
    assert "gpt-4o*" in refused.json()["error"]["message"]


def test_head_on_the_root(http: httpx.Client) -> None:
    assert http.head("/").status_code == 200


@pytest.mark.parametrize("streamed", [False, True])
def test_a_stored_conversation_is_refused_so_that_clients_send_the_whole(
    client: anthropic.Anthropic, engine: Any, *, streamed: bool
) -> None:
    thread: Any = {"type": "create"}
    with pytest.raises(anthropic.BadRequestError) as refused:
        create(client, extra_body={"thread": thread}, stream=streamed)
    assert refused.value.body["error"]["details"] == {"error_code": "thread_unsupported_request"}  # type: ignore[index]
    thread = {"type": "continue", "previous_message_id": "msg_1"}
    with pytest.raises(anthropic.NotFoundError) as lost:
        create(client, extra_body={"thread": thread}, stream=streamed)
    assert lost.value.body["error"]["details"] == {"error_code": "thread_not_found"}  # type: ignore[index]
    assert engine.requests == []


def test_images_in_results_follow_the_last_of_them(client: anthropic.Anthropic, engine: Any) -> None:
    uses: Any = [{"type": "tool_use", "id": name, "name": "add", "input": {}} for name in ("c1", "c2")]
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    results = [
        {"type": "tool_result", "tool_use_id": "c1", "content": [image]},
        {"type": "tool_result", "tool_use_id": "c2", "content": "ok"},
        {"type": "text", "text": "And now?"},
    ]
    create(
        client,
        tools=[TOOL],
        messages=[USER, {"role": "assistant", "content": uses}, {"role": "user", "content": results}],
    )
    messages = engine.requests[0].messages
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool", "user"]
    assert [part["type"] for part in messages[4]["content"]] == ["image_url", "text"]


@pytest.mark.parametrize("streamed", [False, True])
def test_names_longer_than_a_provider_takes_are_cut_for_it(
    through: Any, upstream: Any, says: Any, *, streamed: bool
) -> None:
    long = "mcp__server__" + "x" * 100
    cut = f"{long[:55]}_{sha256(long.encode()).hexdigest()[:8]}"
    upstream.script = {name: says(None, tool_calls=[(cut, {"a": 1})]) for name in ("a", "b")}
    url = through("{alone: {members: [a]}, both: {members: [a, b]}}").removesuffix("/v1")
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as client:
        for name in ("alone", "both"):
            asked: Any = {"model": name, "max_tokens": 50, "messages": [USER], "tools": [{**TOOL, "name": long}]}
            if streamed:
                with client.messages.stream(**asked) as stream:
                    message: Any = stream.get_final_message()
            else:
                message = client.messages.create(**asked)
            assert [(block.name, block.input) for block in message.content] == [(long, {"a": 1})]
    assert {body["tools"][0]["function"]["name"] for body in upstream.bodies} == {cut}
