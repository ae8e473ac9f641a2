"""The same request sent to a bare upstream, by its own official client, and through emerge with an ensemble of
one model: the same message, tool calls, finish reason, probabilities and usage, whole and streamed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import anthropic
import boto3
import httpx
import openai
import pytest

from tests.support.wire_format_upstream import SentRequest

KINDS = ("openai", "anthropic", "ollama", "bedrock")
OPENAI = ("openai",)
Json = dict[str, Any]


class Seen(NamedTuple):
    """A reply, in nobody's format."""

    text: str
    refusal: str | None
    calls: list[tuple[str, str, Any]]  # id, name, arguments
    finish: str
    usage: tuple[int, int, int, int, int]  # prompt, completion, total, cached, reasoning
    logprobs: list[tuple[str, float]] | None


class Shape(NamedTuple):
    name: str
    fields: Json  # of the request
    said: Json  # by the model
    kinds: tuple[str, ...] = KINDS


def user(content: Any = "Hello") -> Json:
    return {"role": "user", "content": content}


def tool(name: str = "look", **properties: Any) -> Json:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": "Looks.", "parameters": parameters}}


def schema(properties: Json, **more: Any) -> Json:
    closed = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": {**closed, **more}}}


def called(*calls: tuple[str, Json], text: str | None = None) -> Json:
    return {"text": text, "calls": calls, "finish": "tool_calls"}


def turn(call_id: str, name: str, arguments: str, result: str) -> list[Json]:
    calls = [{"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}]
    return [
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": call_id, "content": result},
    ]


STRING, INTEGER = {"type": "string"}, {"type": "integer"}
PIXEL = "data:image/png;base64,iVBORw0KGgo="
TEXTS = {
    "plain": "Hello there.",
    "one letter": "B",
    "unicode": "Grüße, 日本語, 🙂 and e\u0301",
    "line separators": "one\u2028two\u0085three\x1cfour",
    "line ends": "one\n\ntwo\r\nthree\n",
    "leading space": "  indented\n",
    "long": "The sea is wide and deep. " * 200,
    "code": "```python\nprint('User: hi')\n```",
    "looks like JSON": '{"answer": 42}',
    "looks like events": "data: [DONE]\n\ndata: {}\n\n: keepalive",
    "tags and quotes": '<b>"it\'s"</b> & \\n \\u0041 \x7f',
    "a refusal in words": "I'm sorry, but I can't help with that.",
    "a conversation": "User: hi\nAssistant: hello",
    "empty": "",
}
SHAPES = [
    *(Shape(f"text: {name}", {}, {"text": text}) for name, text in TEXTS.items()),
    # how it ends, and what it cost
    Shape("cut off", {"max_tokens": 3}, {"text": "Hello there", "finish": "length"}),
    Shape("cut off before a word", {"max_completion_tokens": 3}, {"text": "", "finish": "length"}),
    Shape("filtered", {}, {"text": "Hel", "finish": "content_filter"}, OPENAI),
    Shape("refused", {}, {"text": None, "refusal": "I can't help with that."}, OPENAI),
    Shape("cached tokens", {}, {"cached": 64}, ("openai", "anthropic", "bedrock")),
    Shape("reasoning tokens", {"reasoning_effort": "low"}, {"tokens": (50, 900), "reasoning": 880}, OPENAI),
    Shape("large counts", {}, {"tokens": (123_456, 65_536)}),
    Shape("probabilities", {"logprobs": True}, {"text": "It is", "logprobs": (("It", -0.1), (" is", -0.2))}, OPENAI),
    Shape(
        "top probabilities",
        {"logprobs": True, "top_logprobs": 1},
        {"text": "It is", "logprobs": (("It", -0.1), (" is", -0.2))},
        ("openai", "ollama"),
    ),
    # parameters
    *(
        Shape(f"parameter: {name}", {name: value}, {})
        for name, value in {
            "temperature": 0.2,
            "top_p": 0.5,
            "presence_penalty": 0.5,
            "frequency_penalty": -0.5,
            "seed": 7,
            "stop": ["END"],
            "logit_bias": {"50256": -100},
            "user": "u-1",
            "metadata": {"team": "a"},
            "store": False,
            "service_tier": "auto",
            "reasoning_effort": "high",
            "n": 1,
            "verbosity": "low",
            "prompt_cache_key": "k",
            "extra_body": {"of_tomorrow": {"x": [1]}},
        }.items()
    ),
    Shape("all at once", {"temperature": 0, "top_p": 1, "seed": 1, "max_tokens": 99, "stop": "END", "user": "u"}, {}),
    # messages
    Shape("system", {"messages": [{"role": "system", "content": "Be terse."}, user()]}, {}),
    Shape("developer", {"messages": [{"role": "developer", "content": "Be terse."}, user()]}, {}),
    Shape("parts", {"messages": [user([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])]}, {}),
    Shape("a name", {"messages": [{**user(), "name": "ada"}]}, {}),
    Shape("a conversation", {"messages": [user("a"), {"role": "assistant", "content": "b"}, user("c")]}, {}),
    Shape("a beginning", {"messages": [user("Count."), {"role": "assistant", "content": "One, "}]}, {"text": "two."}),
    Shape(
        "an earlier refusal",
        {"messages": [user(), {"role": "assistant", "content": None, "refusal": "No."}, user("Please.")]},
        {},
    ),
    Shape(
        "an image",
        {"messages": [user([{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": PIXEL}}])]},
        {},
    ),
    Shape(
        "an image by URL",
        {"messages": [user([{"type": "image_url", "image_url": {"url": "https://x.example/a.png", "detail": "low"}}])]},
        {},
        ("openai", "anthropic"),
    ),
    Shape(
        "sound",
        {"messages": [user([{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}])]},
        {},
        OPENAI,
    ),
    Shape(
        "a file",
        {
            "messages": [
                user([{"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}}])
            ]
        },
        {},
        ("openai", "anthropic", "bedrock"),
    ),
    # tools
    Shape("tools unused", {"tools": [tool(place=STRING)]}, {}),
    Shape("a call", {"tools": [tool(place=STRING)]}, called(("look", {"place": "sea"}))),
    Shape("text and a call", {"tools": [tool(place=STRING)]}, called(("look", {"place": "sea"}), text="Let me look.")),
    Shape("a call without arguments", {"tools": [tool()]}, called(("look", {}))),
    Shape(
        "deep arguments",
        {"tools": [tool(at={"type": "object"}, n={"type": "array"})]},
        called(("look", {"at": {"x": {"y": [1, None, True, 'é\n"🙂"']}}, "n": [0.5, -1e-9]})),
    ),
    Shape("two tools", {"tools": [tool(place=STRING), tool("now")]}, called(("now", {}))),
    Shape(
        "parallel calls",
        {"tools": [tool(place=STRING), tool("now")], "parallel_tool_calls": True},
        called(("look", {"place": "a"}), ("look", {"place": "b"}), ("now", {})),
    ),
    Shape(
        "one call at a time",
        {"tools": [tool(place=STRING)], "parallel_tool_calls": False},
        called(("look", {"place": "a"})),
    ),
    *(
        Shape(f"tool choice: {choice}", {"tools": [tool()], "tool_choice": choice}, said)
        for choice, said in (("auto", {}), ("none", {}), ("required", called(("look", {}))))
    ),
    Shape(
        "a named tool",
        {"tools": [tool(), tool("now")], "tool_choice": {"type": "function", "function": {"name": "now"}}},
        called(("now", {})),
    ),
    Shape(
        "a result",
        {"tools": [tool(place=STRING)], "messages": [user(), *turn("call_1", "look", '{"place": "sea"}', "water")]},
        {"text": "Water."},
    ),
    Shape(
        "several turns",
        {
            "tools": [tool()],
            "messages": [user(), *turn("a", "look", "{}", "1"), *turn("b", "look", "{}", "2"), user("Again.")],
        },
        called(("look", {})),
    ),
    Shape(
        "a foreign id",
        {"tools": [tool()], "messages": [user(), *turn("toolu_01A-b", "look", "", "")]},
        {"text": "Nothing."},
    ),
    Shape(
        "strict tools",
        {"tools": [{**tool(), "function": {**tool()["function"], "strict": True}}]},
        called(("look", {})),
    ),
    # structured output
    Shape("text format", {"response_format": {"type": "text"}}, {}),
    Shape("a JSON object", {"response_format": {"type": "json_object"}}, {"text": '{"a": [1, {"b": null}]}'}),
    Shape("a schema", {"response_format": schema({"year": INTEGER})}, {"text": '{"year": 1969}'}),
    Shape(
        "a schema of text",
        {"response_format": schema({"name": STRING})},
        {"text": '{"name": "Jos\\u00e9 \\n \\"x\\""}'},
    ),
    Shape(
        "a schema with an enum",
        {"response_format": schema({"label": {"enum": ["good", "bad"]}})},
        {"text": '{"label": "good"}'},
    ),
    Shape(
        "a deep schema",
        {
            "response_format": schema(
                {"steps": {"type": "array", "items": {"$ref": "#/$defs/step"}}},
                **{"$defs": {"step": {"type": "object", "properties": {"n": INTEGER}, "required": ["n"]}}},
            )
        },
        {"text": '{"steps": [{"n": 1}, {"n": 2}]}'},
    ),
    Shape(
        "a schema and tools",
        {"response_format": schema({"year": INTEGER}), "tools": [tool()]},
        {"text": '{"year": 1969}'},
    ),
    Shape("a schema refused", {"response_format": schema({"year": INTEGER})}, {"text": None, "refusal": "No."}, OPENAI),
]
CASES = [pytest.param(kind, shape, id=f"{kind}: {shape.name}") for shape in SHAPES for kind in shape.kinds]


@pytest.fixture(scope="module")
def bare(upstream: Any) -> Iterable[dict[str, Callable[[Json], Seen]]]:
    """For each kind, its own client sends the request to the upstream."""
    with (
        openai.OpenAI(base_url=f"{upstream.url}/v1", api_key="none", max_retries=0) as of_openai,
        anthropic.Anthropic(base_url=upstream.url, api_key="none", max_retries=0) as of_anthropic,
        httpx.Client(base_url=upstream.url) as of_ollama,
    ):

        def openais(fields: Json) -> Seen:
            return whole(of_openai.chat.completions.create(model="openai", **fields))

        def anthropics(fields: Json) -> Seen:
            message = of_anthropic.messages.create(model="anthropic", max_tokens=100, messages=[user()])  # type: ignore[list-item]
            reasons = {"end_turn": "stop", "max_tokens": "length", "tool_use": "tool_calls"}
            usage = message.usage
            read = usage.cache_read_input_tokens or 0
            prompt, completion = usage.input_tokens + read, usage.output_tokens
            return Seen(
                text="".join(block.text for block in message.content if block.type == "text"),
                refusal=None,
                calls=[(block.id, block.name, block.input) for block in message.content if block.type == "tool_use"],
                finish=reasons[message.stop_reason or ""],
                usage=(prompt, completion, prompt + completion, read, 0),
                logprobs=None,
            )

        def ollamas(fields: Json) -> Seen:
            asked = {
                "model": "ollama",
                "messages": [user()],
                "stream": False,
                "logprobs": fields.get("logprobs", False),
            }
            reply = of_ollama.post("/api/chat", json=asked).json()
            calls = [call["function"] for call in reply["message"].get("tool_calls", ())]
            counts = reply["prompt_eval_count"], reply["eval_count"]
            return Seen(
                text=reply["message"]["content"],
                refusal=None,
                calls=[("", call["name"], call["arguments"]) for call in calls],
                finish="tool_calls" if calls else reply["done_reason"],
                usage=(*counts, sum(counts), 0, 0),
                logprobs=[(token["token"], token["logprob"]) for token in reply.get("logprobs", ())] or None,
            )

        of_bedrock = boto3.client(
            "bedrock-runtime",
            endpoint_url=upstream.url,
            region_name="us-east-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",
        )

        def bedrocks(fields: Json) -> Seen:
            turns = [{"role": "user", "content": [{"text": "Hello"}]}]
            reply = of_bedrock.converse(modelId="bedrock", messages=turns)
            content, usage = reply["output"]["message"]["content"], reply["usage"]
            calls = [block["toolUse"] for block in content if "toolUse" in block]
            read = usage["cacheReadInputTokens"]
            prompt, completion = usage["inputTokens"] + read, usage["outputTokens"]
            return Seen(
                text="".join(block["text"] for block in content if "text" in block),
                refusal=None,
                calls=[(call["toolUseId"], call["name"], call["input"]) for call in calls],
                finish={"end_turn": "stop", "max_tokens": "length", "tool_use": "tool_calls"}[reply["stopReason"]],
                usage=(prompt, completion, prompt + completion, read, 0),
                logprobs=None,
            )

        yield {"openai": openais, "anthropic": anthropics, "ollama": ollamas, "bedrock": bedrocks}


def whole(completion: Any) -> Seen:
    choice = completion.choices[0]
    calls = choice.message.tool_calls or ()
    assert choice.message.role == "assistant"
    return Seen(
        text=choice.message.content or "",
        refusal=choice.message.refusal,
        calls=[(call.id, call.function.name, json.loads(call.function.arguments)) for call in calls],
        finish=choice.finish_reason,
        usage=usage_of(completion.usage),
        logprobs=tokens_of(choice.logprobs),
    )


def streamed(chunks: Iterable[Any]) -> Seen:
    """The message that the chunks add up to; and that they are what OpenAI's would be."""
    *parts, last = list(chunks)
    assert (last.choices, [part.usage for part in parts]) == ([], [None] * len(parts))
    assert {(part.id, part.object, part.model) for part in parts} == {(last.id, last.object, last.model)}
    choices = [part.choices[0] for part in parts]
    assert [choice.delta.role for choice in choices] == ["assistant"] + [None] * (len(choices) - 1)
    assert [choice.finish_reason for choice in choices[:-1]] == [None] * (len(choices) - 1)
    calls: list[list[str]] = []
    for choice in choices:
        for fragment in choice.delta.tool_calls or ():
            if fragment.id is not None:
                assert (fragment.index, fragment.type) == (len(calls), "function")
                calls.append([fragment.id, fragment.function.name, ""])
            calls[fragment.index][2] += fragment.function.arguments or ""
    tokens = [token for choice in choices for token in tokens_of(choice.logprobs) or ()]
    return Seen(
        text="".join(choice.delta.content or "" for choice in choices),
        refusal="".join(choice.delta.refusal or "" for choice in choices) or None,
        calls=[(call_id, name, json.loads(arguments)) for call_id, name, arguments in calls],
        finish=choices[-1].finish_reason,
        usage=usage_of(last.usage),
        logprobs=tokens or None,
    )


def usage_of(usage: Any) -> tuple[int, int, int, int, int]:
    cached = usage.prompt_tokens_details.cached_tokens
    reasoning = usage.completion_tokens_details.reasoning_tokens
    return usage.prompt_tokens, usage.completion_tokens, usage.total_tokens, cached, reasoning


def tokens_of(logprobs: Any) -> list[tuple[str, float]] | None:
    return [(token.token, token.logprob) for token in logprobs.content] if logprobs else None


@pytest.mark.parametrize(("kind", "shape"), CASES)
def test_through_emerge_it_is_the_same(
    kind: str, shape: Shape, bare: Any, emerge: openai.OpenAI, upstream: Any, said: Any, call: Any
) -> None:
    spoken = dict(shape.said)
    prefix = "toolu_" if kind == "anthropic" else "call_"
    spoken["calls"] = tuple(
        call(name, arguments, f"{prefix}{index}x") for index, (name, arguments) in enumerate(spoken.pop("calls", ()))
    )
    upstream.says = {kind: said(**spoken)}
    fields: Any = {"messages": [user()], **shape.fields}
    upstream.bodies.clear()
    upstream.requests.clear()

    expected = bare[kind](fields)
    got = whole(emerge.chat.completions.create(model=f"only-{kind}", **fields))
    options: Any = {"include_usage": True}
    chunks = emerge.chat.completions.create(model=f"only-{kind}", stream=True, stream_options=options, **fields)
    live = streamed(chunks)

    if kind == "ollama":  # it has no ids: they are made, once and for all
        assert [call_id for call_id, *_ in got.calls] == [call_id for call_id, *_ in live.calls]
        expected = expected._replace(
            calls=[(made[0], *each[1:]) for made, each in zip(got.calls, expected.calls, strict=True)]
        )
    assert got == expected
    assert live == expected
    if kind in ("openai", "anthropic"):
        by_sdk, *ours = upstream.requests[kind]
        assert [request._replace(body={}) for request in ours] == [head_of(by_sdk, ours[0].body)] * 2
    if kind == "openai":
        sent, passed_on, streaming = upstream.bodies["openai"]
        assert passed_on == expected_body(sent)
        assert {name: value for name, value in streaming.items() if not name.startswith("stream")} == expected_body(
            sent
        )


def head_of(by_sdk: SentRequest, body: Json) -> SentRequest:
    """The method, the URL and the headers with which the SDK would send the body."""
    samples = "anthropic-version" in by_sdk.headers and not {"temperature", "top_p"}.isdisjoint(body)
    older = {"anthropic-version": "2023-06-01"}  # the newest version knows no sampling parameters
    headers = {**by_sdk.headers, **(older if samples and by_sdk.url.endswith("/messages") else {})}
    return by_sdk._replace(headers=headers, body={})


def expected_body(sent: Json) -> Json:
    """What our upstream gets: the caller's own body, but for what says nothing and what chooses the bill."""
    messages = [{k: v for k, v in message.items() if v is not None or k == "content"} for message in sent["messages"]]
    silent = {"n": 1, "response_format": {"type": "text"}}
    kept = {name: value for name, value in sent.items() if silent.get(name, ...) != value}
    kept.pop("service_tier", None)
    if isinstance(kept.get("stop"), str):
        kept["stop"] = [kept["stop"]]
    return {**kept, "messages": messages}


def test_there_are_enough_shapes() -> None:
    """Counted, because emerge_core/api/README.md states the number."""
    assert len({shape.name for shape in SHAPES}) == len(SHAPES)
    assert (len(SHAPES), len(CASES)) >= (60, 160)
    print(f"{len(SHAPES)} shapes, {len(CASES)} with their kinds, each whole and streamed")
