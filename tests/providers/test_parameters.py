"""Every parameter reaches each kind of provider at its place, or is named as dropped: none is lost in silence."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from emerge_core.providers.refusals import Refusals
from emerge_core.providers.transport.exchange import Reply
from emerge_core.types import CallError, ChatRequest, UpstreamError

USER: Any = {"role": "user", "content": "Hello"}
TOOL: Any = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
PNG = "iVBORw0KGgo="
PDF = "data:application/pdf;base64,JVBERi0="
SAID: dict[str, Any] = {
    "openai": {"choices": [{"message": {"content": "{}"}, "finish_reason": "stop"}]},
    "anthropic": {"content": [{"type": "text", "text": "{}"}], "stop_reason": "end_turn"},
    "ollama": {"message": {"content": "{}"}, "done": True, "done_reason": "stop"},
}
DROPPED = object()
ABSENT = object()


def at(body: Any, path: str) -> Any:
    for step in path.split("."):
        body = body.get(step, ABSENT) if isinstance(body, dict) else ABSENT
    return body


# parameter, value, its place and value on each wire, or DROPPED
TABLE: list[tuple[str, Any, Any, Any, Any]] = [
    ("temperature", 0.3, ("temperature", 0.3), ("temperature", 0.3), ("options.temperature", 0.3)),
    ("top_p", 0.9, ("top_p", 0.9), ("top_p", 0.9), ("options.top_p", 0.9)),
    ("presence_penalty", 0.5, ("presence_penalty", 0.5), DROPPED, ("options.presence_penalty", 0.5)),
    ("frequency_penalty", 0.5, ("frequency_penalty", 0.5), DROPPED, ("options.frequency_penalty", 0.5)),
    (
        "stop",
        ("\n\n", "END"),
        ("stop", ["\n\n", "END"]),
        ("stop_sequences", ["END"]),
        ("options.stop", ["\n\n", "END"]),
    ),
    ("seed", 7, ("seed", 7), DROPPED, ("options.seed", 7)),
    ("max_tokens", 50, ("max_tokens", 50), ("max_tokens", 50), ("options.num_predict", 50)),
    ("logprobs", True, ("logprobs", True), DROPPED, ("logprobs", True)),
    ("logit_bias", {"42": 5}, ("logit_bias", {"42": 5}), DROPPED, DROPPED),
    ("user", "u-1", ("user", "u-1"), ("metadata.user_id", "u-1"), DROPPED),
    ("metadata", {"a": "b"}, ("metadata", {"a": "b"}), DROPPED, DROPPED),
    ("reasoning_effort", "low", ("reasoning_effort", "low"), DROPPED, DROPPED),
    ("store", True, ("store", True), DROPPED, DROPPED),
    ("service_tier", "flex", DROPPED, DROPPED, DROPPED),
    ("verbosity", "low", ("verbosity", "low"), DROPPED, DROPPED),
    ("prediction", {"type": "content"}, ("prediction", {"type": "content"}), DROPPED, DROPPED),
    ("top_k", 40, ("top_k", 40), ("top_k", 40), ("options.top_k", 40)),
    ("min_p", 0.1, ("min_p", 0.1), DROPPED, ("options.min_p", 0.1)),
    ("of_tomorrow", [1], ("of_tomorrow", [1]), DROPPED, DROPPED),
]
KINDS = ("openai", "anthropic", "ollama")
CASES = [
    pytest.param(kind, name, value, places[KINDS.index(kind)], id=f"{kind}-{name}")
    for name, value, *places in TABLE
    for kind in KINDS
]


def asked(name: str, value: Any) -> ChatRequest:
    own = {name: value} if name in ChatRequest.__dataclass_fields__ else {"extra": {name: value}}
    return ChatRequest(messages=(USER,), **own)


@pytest.mark.parametrize(("kind", "name", "value", "place"), CASES)
def test_a_parameter_arrives_or_is_named(exchange: Any, kind: str, name: str, value: Any, place: Any) -> None:
    done = exchange(kind, SAID[kind], asked(name, value))
    named = name in done.completion.dropped_params
    if place is DROPPED:
        assert named
        assert at(done.body, name) is ABSENT
    else:
        path, expected = place
        assert at(done.body, path) == expected
        # stop sequences of white space alone, and token probabilities that did not come, are told all the same
        assert named is (name == "logprobs" or (name, kind) == ("stop", "anthropic"))


@pytest.mark.parametrize("role", ["system", "developer"])
def test_instructions_of_either_role(exchange: Any, role: str) -> None:
    request = ChatRequest(messages=({"role": role, "content": "Be terse."}, USER))
    assert exchange("openai", SAID["openai"], request).body["messages"][0]["role"] == role
    assert exchange("anthropic", SAID["anthropic"], request).body["system"] == "Be terse."
    told = exchange("ollama", SAID["ollama"], request).body["messages"][0]
    assert told == {"role": "system", "content": "Be terse."}


@pytest.mark.parametrize(
    "message",
    [
        "messages[0].role: unknown variant `developer`, expected one of `system`, `user`, `assistant`, `tool`",
        "Unexpected message role.",
    ],
)
def test_a_server_that_does_not_know_the_developer_hears_the_system(exchange: Any, reply: Any, message: str) -> None:
    request = ChatRequest(messages=({"role": "developer", "content": "Be terse."}, USER))
    refusal = reply({"error": {"message": message, "param": "messages[0].role"}}, status=400)
    done = exchange("openai", [refusal, reply(SAID["openai"])], request)
    assert [sent.body["messages"][0]["role"] for sent in done.upstream.sent] == ["developer", "system"]
    assert done.completion.dropped_params == ()
    other = exchange("openai", [refusal], ChatRequest(messages=(USER,)))
    assert (other.error.message, len(other.upstream.sent)) == (message, 1)


def shown(part: Any) -> ChatRequest:
    return ChatRequest(messages=({"role": "user", "content": [{"type": "text", "text": "What?"}, part]},))


def test_images_in_the_request(exchange: Any) -> None:
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"}}
    assert exchange("openai", SAID["openai"], shown(part)).body["messages"][0]["content"][1] == part
    block = exchange("anthropic", SAID["anthropic"], shown(part)).body["messages"][0]["content"][1]
    assert block == {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    assert exchange("ollama", SAID["ollama"], shown(part)).body["messages"][0]["images"] == [PNG]


def test_images_by_url(exchange: Any) -> None:
    part = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    assert exchange("openai", SAID["openai"], shown(part)).body["messages"][0]["content"][1] == part
    block = exchange("anthropic", SAID["anthropic"], shown(part)).body["messages"][0]["content"][1]
    assert block == {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    refused = exchange("ollama", SAID["ollama"], shown(part))
    assert (refused.error.kind, refused.upstream.sent) == ("unsupported", [])


def test_files(exchange: Any) -> None:
    part = {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}}
    assert exchange("openai", SAID["openai"], shown(part)).body["messages"][0]["content"][1] == part
    block = exchange("anthropic", SAID["anthropic"], shown(part)).body["messages"][0]["content"][1]
    source = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
    assert block == {"type": "document", "source": source, "title": "a.pdf"}


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("anthropic", {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}),
        ("ollama", {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}),
        ("anthropic", {"type": "file", "file": {"file_id": "file-1"}}),
        ("anthropic", {"type": "file", "file": {"file_data": "data:text/csv;base64,AAAA"}}),
        ("anthropic", {"type": "file", "file": {"file_data": "data:application/pdf;base64,***"}}),
        ("ollama", {"type": "file", "file": {"file_data": PDF}}),
    ],
)
def test_what_a_kind_cannot_take_is_not_sent(exchange: Any, kind: str, part: Any) -> None:
    done = exchange(kind, SAID[kind], shown(part))
    assert (done.error.kind, done.error.param, done.upstream.sent) == ("unsupported", "messages", [])


def test_any_field_that_a_server_refuses_by_name_is_left_out(exchange: Any, reply: Any) -> None:
    refusal = {"error": {"message": "Unsupported parameter: 'logit_bias'", "param": "logit_bias"}}
    request = ChatRequest(messages=(USER,), extra={"logit_bias": {"1": 2}})
    done = exchange("openai", [reply(refusal, status=400), reply(SAID["openai"])], request)
    assert "logit_bias" not in done.body
    assert done.completion.dropped_params == ("logit_bias",)


@pytest.mark.parametrize(
    "refusal",
    [
        {"error": {"message": "Unknown parameter: 'verbosity'.", "param": "verbosity"}},
        {"error": {"message": "property 'verbosity' is unsupported"}},
        {"error": {"message": "verbosity is not supported by this model", "param": "body.verbosity"}},
        {"error": {"message": 'Invalid JSON payload received. Unknown name "verbosity": Cannot find field.'}},
        {"error": {"message": "create() got an unexpected keyword argument 'verbosity'"}},
        {
            "detail": [
                {"type": "extra_forbidden", "loc": ["body", "verbosity"], "msg": "Extra inputs are not permitted"}
            ]
        },
        {"error": {"message": "Additional properties are not allowed ('verbosity' was unexpected)"}},
        {"error": {"message": "This model does not accept verbosity."}},
    ],
)
@pytest.mark.parametrize("name", ["verbosity", "prompt_cache_key"])
def test_a_field_of_one_vendor_is_dropped_where_another_refuses_it_in_its_words(
    exchange: Any, reply: Any, refusal: Any, name: str
) -> None:
    told = json.loads(json.dumps(refusal).replace("verbosity", name))
    done = exchange("openai", [reply(told, status=400), reply(SAID["openai"])], asked(name, "low"))
    assert done.completion.dropped_params == (name,)
    assert [name in sent.body for sent in done.upstream.sent] == [True, False]


def test_all_parameters_that_one_refusal_lists_are_dropped_at_once(exchange: Any, reply: Any) -> None:
    message = "litellm.UnsupportedParamsError: mlx does not support parameters: ['seed', 'stop', 'top_p'], for model=m."
    request = ChatRequest(messages=(USER,), seed=1, stop=("x",), top_p=0.5, temperature=0.1)
    done = exchange("openai", [reply({"error": {"message": message}}, status=400), reply(SAID["openai"])], request)
    assert len(done.upstream.sent) == 2
    assert set(done.completion.dropped_params) == {"seed", "stop", "top_p"}


def test_a_limit_on_the_reply_is_never_dropped(exchange: Any, reply: Any) -> None:
    """It is renamed if the model has it by its other name; a budget counts on it."""

    def refusal(name: str) -> Any:
        return reply({"error": {"message": f"Unsupported parameter: '{name}'", "param": name}}, status=400)

    request = ChatRequest(messages=(USER,), max_tokens=50)
    renamed = exchange("openai", [refusal("max_tokens"), reply(SAID["openai"])], request)
    assert renamed.body["max_completion_tokens"] == 50
    refused = exchange("openai", [refusal("max_tokens"), refusal("max_completion_tokens")], request)
    assert (refused.error.kind, len(refused.upstream.sent)) == ("invalid_request", 2)


@pytest.mark.parametrize("name", ["models", "provider", "plugins", "service_tier", "web_search_options"])
def test_what_chooses_the_bill_passes_only_where_the_config_lets_it(exchange: Any, name: str) -> None:
    held = exchange("openai", SAID["openai"], asked(name, {"a": 1}))
    assert (name in held.body, held.completion.dropped_params) == (False, (name,))
    passed = exchange("openai", SAID["openai"], asked(name, {"a": 1}), pass_through=[name])
    assert (passed.body[name], passed.completion.dropped_params) == ({"a": 1}, ())


def test_a_wrong_value_is_no_refused_parameter(exchange: Any, reply: Any) -> None:
    refusal = {"error": {"message": "Invalid value for verbosity: 'loud'.", "param": "verbosity"}}
    done = exchange("openai", [reply(refusal, status=400)], asked("verbosity", "loud"))
    assert (done.error.kind, len(done.upstream.sent)) == ("invalid_request", 1)


def test_a_refusal_is_forgotten_after_an_hour() -> None:
    now, asked_with = [0.0], []
    refusals = Refusals(clock=lambda: now[0])

    def prepare(refused: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
        sent = frozenset({"seed"}) - refused
        return sent, sent

    async def send(sent: frozenset[str]) -> Reply:
        asked_with.append(set(sent))
        if sent:
            raise UpstreamError(CallError(kind="invalid_request", message="seed is not supported", status=400))
        return Reply({}, ())

    left = []
    for at_s in (0, 3599, 3601):
        now[0] = at_s
        left += [each.forgotten_in_s for each in refusals.status()]
        asyncio.run(refusals.ask("m", prepare, send))
    assert left == [1]
    assert asked_with == [{"seed"}, set(), set(), {"seed"}, set()]


def test_a_faulty_schema_is_no_refused_parameter(exchange: Any, reply: Any) -> None:
    message = "Invalid schema for response_format 'a': In context=('properties', 'x'), 'minLength' is not permitted."
    refusal = {"error": {"message": message, "param": "response_format"}}
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    done = exchange("openai", [reply(refusal, status=400)], ChatRequest(messages=(USER,), response_format=wanted))
    assert (done.error.kind, done.error.message, len(done.upstream.sent)) == ("invalid_request", message, 1)


def test_the_empty_fields_of_an_earlier_reply_are_not_sent(exchange: Any) -> None:
    earlier = {"role": "assistant", "content": None, "refusal": None, "audio": None, "tool_calls": [call("c1")]}
    result = {"role": "tool", "tool_call_id": "c1", "content": "3"}
    done = exchange("openai", SAID["openai"], ChatRequest(messages=(USER, earlier, result), tools=(TOOL,)))
    assert done.body["messages"][1] == {"role": "assistant", "content": None, "tool_calls": [call("c1")]}


# Ids of tool calls


def call(call_id: str, arguments: str = "{}") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": "look", "arguments": arguments}}


def after(*ids: str) -> ChatRequest:
    """A conversation of one call per turn."""
    turns: list[Any] = [USER]
    for number, call_id in enumerate(ids):
        turns.append({"role": "assistant", "content": None, "tool_calls": [call(call_id)]})
        turns.append({"role": "tool", "tool_call_id": call_id, "content": str(number)})
    return ChatRequest(messages=tuple(turns), tools=(TOOL,))


def test_ids_that_openai_cannot_have_made_are_shortened_alike(exchange: Any) -> None:
    long = "toolu_" + "x" * 60
    messages = exchange("openai", SAID["openai"], after(long, "call_1")).body["messages"]
    first = messages[1]["tool_calls"][0]["id"]
    assert len(first) == 40
    assert messages[2]["tool_call_id"] == first
    assert messages[4]["tool_call_id"] == "call_1"


@pytest.mark.parametrize("model", ["mistral-small-latest", "codestral-2508", "open-mixtral-8x22b", "Ministral-8B"])
def test_mistral_gets_ids_of_nine_letters(exchange: Any, model: str) -> None:
    messages = exchange("openai", SAID["openai"], after("toolu_01", "abcDEF123"), model=model).body["messages"]
    first = messages[1]["tool_calls"][0]["id"]
    assert len(first) == 9
    assert first.isalnum()
    assert messages[2]["tool_call_id"] == first
    assert messages[3]["tool_calls"][0]["id"] == messages[4]["tool_call_id"] == "abcDEF123"


def test_ids_that_repeat_are_told_apart_for_anthropic(exchange: Any) -> None:
    turns = exchange("anthropic", SAID["anthropic"], after("call.0", "call_0", "call.0")).body["messages"]
    made = [block["id"] for turn in turns for block in turn["content"] if block["type"] == "tool_use"]
    answered = [block["tool_use_id"] for turn in turns for block in turn["content"] if block["type"] == "tool_result"]
    assert made == answered
    assert len(set(made)) == 3
    assert made[0] == "call_0"


def test_anthropic_is_given_the_tools_that_a_conversation_has_called(exchange: Any) -> None:
    request = ChatRequest(messages=after("c1").messages)
    body = exchange("anthropic", SAID["anthropic"], request).body
    assert body["tools"] == [{"name": "look", "input_schema": {"type": "object"}}]
    assert body["tool_choice"] == {"type": "none"}
