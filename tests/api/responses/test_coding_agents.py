"""Responses as coding agents send them: hosted tools, namespaces, free-text tools, state, live calls."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest

from emerge_core.types import Delta, ToolCall, ToolCallDelta

RUN: Any = {"type": "function", "name": "run", "parameters": {"type": "object"}}
PATCH: Any = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Edits files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: patch"},
}
GITHUB: Any = {"type": "namespace", "name": "github", "description": "GitHub", "tools": [{**RUN, "name": "list"}]}
HOSTED: Any = [{"type": "web_search"}, {"type": "tool_search", "execution": "client"}]


def post(http: httpx.Client, **fields: Any) -> httpx.Response:
    return http.post("/v1/responses", json={"model": "emerge", "input": "hi", **fields})


def called(make: Any, *calls: ToolCall, **fields: Any) -> Any:
    return make.trace(make.reply(None, tool_calls=calls, finish_reason="tool_calls", **fields), keys=["x"])


def test_hosted_tools_are_left_out_and_named(http: httpx.Client, engine: Any) -> None:
    reply = post(http, tools=[*HOSTED, RUN])
    assert [tool["function"]["name"] for tool in engine.requests[0].tools] == ["run"]
    dropped = [call["dropped_params"] for call in reply.json()["emerge"]["calls"]]
    assert dropped == [["tools.web_search", "tools.tool_search"]] * 3


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": HOSTED}, "tools[0].type"),
        ({"tools": [*HOSTED, RUN], "tool_choice": {"type": "web_search"}}, "tool_choice.type"),
        (
            {"tools": [*HOSTED, RUN], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": HOSTED}},
            "tool_choice.tools",
        ),
    ],
)
def test_only_what_cannot_be_done_is_refused(http: httpx.Client, fields: Any, param: str) -> None:
    reply = post(http, **fields)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


def test_a_namespaces_tools_are_flat_and_calls_go_back_to_it(http: httpx.Client, engine: Any, make: Any) -> None:
    engine.result = called(make, ToolCall(id="c1", name="github__list", arguments='{"a": 1}'))
    item = post(http, tools=[GITHUB]).json()["output"][0]
    assert engine.requests[0].tools[0]["function"]["name"] == "github__list"
    assert (item["type"], item["namespace"], item["name"]) == ("function_call", "github", "list")
    done = {"type": "function_call_output", "call_id": "c1", "output": "none"}
    assert post(http, tools=[GITHUB], input=[{"role": "user", "content": "hi"}, item, done]).status_code == 200
    history = engine.requests[1].messages
    assert history[1]["tool_calls"][0]["function"] == {"name": "github__list", "arguments": '{"a": 1}'}


def test_a_free_text_tool_is_a_function_with_one_string(http: httpx.Client, engine: Any, make: Any) -> None:
    patch = '*** Begin "Patch"\n'
    engine.result = called(make, ToolCall(id="c1", name="apply_patch", arguments=json.dumps({"input": patch})))
    reply = post(http, tools=[PATCH], tool_choice={"type": "custom", "name": "apply_patch"}).json()
    function = engine.requests[0].tools[0]["function"]
    assert function["parameters"]["required"] == ["input"]
    assert "start: patch" in function["description"]
    assert engine.requests[0].tool_choice["function"]["name"] == "apply_patch"
    item = reply["output"][0]
    assert (item["type"], item["name"], item["input"]) == ("custom_tool_call", "apply_patch", patch)
    done = {"type": "custom_tool_call_output", "call_id": "c1", "output": "Done"}
    assert post(http, tools=[PATCH], input=[{"role": "user", "content": "hi"}, item, done]).status_code == 200
    messages = engine.requests[1].messages
    assert json.loads(messages[1]["tool_calls"][0]["function"]["arguments"]) == {"input": patch}
    assert messages[2] == {"role": "tool", "tool_call_id": "c1", "content": "Done"}


def test_what_a_model_wants_back_travels_in_a_reasoning_item(http: httpx.Client, engine: Any, make: Any) -> None:
    block = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    call = ToolCall(id="c1", name="run", arguments="{}", extra_content={"google": {"thought_signature": "s"}})
    engine.result = called(make, call, reasoning_content="Hm.", thinking_blocks=(block,))
    output = post(http, tools=[RUN]).json()["output"]
    assert [item["type"] for item in output] == ["reasoning", "function_call"]
    done = {"type": "function_call_output", "call_id": "c1", "output": "ok"}
    for order in (output, output[::-1]):
        assert post(http, tools=[RUN], input=[{"role": "user", "content": "hi"}, *order, done]).status_code == 200
        message = engine.requests[-1].messages[1]
        assert (message["reasoning_content"], message["thinking_blocks"]) == ("Hm.", [block])
        assert message["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "s"}}
    foreign = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"}
    web = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    user = {"role": "user", "content": "hi"}
    said = {"role": "assistant", "content": [{"type": "output_text", "text": "yes"}]}
    assert post(http, input=[user, foreign, web, said, user]).status_code == 200
    assert engine.requests[-1].messages[1] == {"role": "assistant", "content": "yes"}


def test_live_calls_and_reasoning_add_up_in_the_official_client(url: str, engine: Any, make: Any) -> None:
    engine.says = [
        Delta(reasoning="Hm."),
        Delta(text="Running."),
        Delta(tool_calls=(ToolCallDelta(index=0, id="c1", name="run"),)),
        Delta(tool_calls=(ToolCallDelta(index=0, arguments='{"a"'),)),
        Delta(tool_calls=(ToolCallDelta(index=1, id="c2", name="apply_patch", arguments='{"input": '),)),
        Delta(tool_calls=(ToolCallDelta(index=0, arguments=": 1}"),)),
    ]
    calls = (
        ToolCall(id="c1", name="run", arguments='{"a": 1}'),
        ToolCall(id="c2", name="apply_patch", arguments='{"input": "p"}'),
    )
    engine.result = make.trace(
        make.reply("Running.", reasoning_content="Hm.", tool_calls=calls, finish_reason="tool_calls"), keys=["x"]
    )
    with (
        openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client,
        client.responses.stream(model="emerge", input="hi", tools=[RUN, PATCH]) as stream,
    ):
        events = list(stream)
        final: Any = stream.get_final_response()
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call", "custom_tool_call"]
    assert (final.output[2].arguments, final.output[3].input) == ('{"a": 1}', "p")
    added = [event for event in events if event.type == "response.output_item.added"]
    assert [event.output_index for event in added] == [0, 1, 2, 3]
    done = [event for event in events if event.type == "response.output_item.done"]
    assert [event.item.id for event in done] == [item.id for item in final.output]
    live = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert live == ['{"a"', ": 1}"]
    assert [event.sequence_number for event in events] == list(range(len(events)))


def test_small_manners(http: httpx.Client, engine: Any) -> None:
    stored = post(http, previous_response_id="resp_1").json()["error"]
    assert "`store: false`" in stored["message"]
    assert post(http, client_metadata={"a": "b"}, prompt_cache_key="k").status_code == 200
    assert engine.requests[0].extra == {"prompt_cache_key": "k"}
    upgrade = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    refused = http.get("/v1/responses", headers=upgrade)
    assert (refused.status_code, refused.json()["error"]["code"]) == (426, "upgrade_required")


def test_tools_in_the_input_are_offered_too(http: httpx.Client, engine: Any, make: Any) -> None:
    script = {"type": "custom", "name": "exec", "description": "Runs JavaScript."}
    sent = {
        "type": "additional_tools",
        "role": "developer",
        "tools": [{"type": "namespace", "name": "functions", "tools": [script]}, {**RUN, "description": "old"}],
    }
    later = {"type": "additional_tools", "tools": [RUN]}
    effort = {"type": "configuration_update", "reasoning": {"effort": "low"}}
    engine.result = called(make, ToolCall(id="c1", name="functions__exec", arguments='{"input": "text(1)"}'))
    user = {"role": "user", "content": "hi"}
    item = post(http, input=[sent, user, effort, later]).json()["output"][0]
    offered = [tool["function"] for tool in engine.requests[0].tools]
    assert [function["name"] for function in offered] == ["functions__exec", "run"]
    assert "description" not in offered[1]
    assert [message["role"] for message in engine.requests[0].messages] == ["user"]
    assert (item["type"], item["namespace"], item["name"]) == ("custom_tool_call", "functions", "exec")
    assert item["input"] == "text(1)"
    done = {"type": "custom_tool_call_output", "call_id": "c1", "output": "1"}
    assert post(http, input=[sent, user, item, done]).status_code == 200
    called_before = engine.requests[1].messages[1]["tool_calls"][0]["function"]
    assert called_before == {"name": "functions__exec", "arguments": '{"input": "text(1)"}'}


def test_a_faulty_tool_in_the_input_is_named(http: httpx.Client) -> None:
    sent = {"type": "additional_tools", "tools": [RUN, {"type": "function"}]}
    reply = post(http, input=[{"role": "user", "content": "hi"}, sent])
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "input[1].tools[1].name")


def test_images_in_outputs_follow_the_last_of_them(http: httpx.Client, engine: Any) -> None:
    calls = [{"type": "function_call", "call_id": f"c{n}", "name": "run", "arguments": "{}"} for n in (1, 2)]
    picture = {"type": "input_image", "image_url": "data:image/png;base64,aGk="}
    outputs = [
        {"type": "function_call_output", "call_id": "c1", "output": [picture]},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "ok"}]},
    ]
    user = {"role": "user", "content": "hi"}
    for more in ([], [user]):
        assert post(http, tools=[RUN], input=[user, *calls, *outputs, *more]).status_code == 200
        messages = engine.requests[-1].messages
        assert [message["role"] for message in messages[1:5]] == ["assistant", "tool", "tool", "user"]
        assert messages[4]["content"] == [{"type": "image_url", "image_url": {"url": picture["image_url"]}}]


def test_a_namespace_and_a_name_may_be_longer_together(http: httpx.Client, engine: Any) -> None:
    space, name = "s" * 64, "n" * 64
    assert post(http, tools=[{**GITHUB, "name": space, "tools": [{**RUN, "name": name}]}]).status_code == 200
    assert engine.requests[0].tools[0]["function"]["name"] == f"{space}__{name}"
    for tools, param in (
        ([{**RUN, "name": name + "n"}], "tools[0].name"),
        ([{**GITHUB, "name": space + "s"}], "tools[0].name"),
        ([{**GITHUB, "tools": [{**RUN, "name": "a.b"}]}], "tools[0].tools[0].name"),
    ):
        reply = post(http, tools=tools)
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_conversation_is_compacted_to_a_summary(url: str, engine: Any, make: Any, *, streamed: bool) -> None:
    engine.says = [Delta(text="Edit "), Delta(text="a.py next.")]
    engine.result = make.trace(make.reply("Edit a.py next."), keys=["x"])
    user: Any = {"role": "user", "content": "Fix a.py"}
    asked: Any = {"model": "emerge", "input": [user, {"type": "compaction_trigger"}], "tools": [RUN], "store": False}
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        if streamed:
            with client.responses.stream(**asked) as stream:
                kinds = [event.type for event in stream]
                (item,) = stream.get_final_response().output
            assert kinds[2:] == ["response.output_item.added", "response.output_item.done", "response.completed"]
        else:
            (item,) = client.responses.create(**asked).output
        sent = engine.requests[0]
        assert (len(sent.tools), sent.tool_choice) == (1, "none")
        assert [message["role"] for message in sent.messages] == ["user", "user"]
        assert "summary" in sent.messages[1]["content"]
        kept: Any = [item.model_dump(exclude_none=True), user]
        foreign: Any = {"type": "compaction", "encrypted_content": "gAAAA"}
        engine.says = []
        client.responses.create(model="emerge", input=[foreign, *kept])
    first, second = engine.requests[1].messages
    assert first == {"role": "user", "content": "A summary of the conversation before this point:\n\nEdit a.py next."}
    assert second == user


def test_nothing_cannot_be_compacted(http: httpx.Client) -> None:
    reply = post(http, input=[{"type": "compaction_trigger"}])
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "input")
