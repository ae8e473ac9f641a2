"""Requests as OpenAI's clients say them, beside what boto3's user would ask Converse for."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from emerge_core.types import ChatRequest

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PDF = b"%PDF-1.4\n%%EOF"
SONNET = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
HAIKU_3 = "anthropic.claude-3-haiku-20240307-v1:0"
NOVA = "us.amazon.nova-lite-v1:0"
NOVA_2 = "us.amazon.nova-2-lite-v1:0"
LLAMA = "us.meta.llama3-3-70b-instruct-v1:0"
GPT_OSS = "openai.gpt-oss-20b-1:0"
ADD: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
    "required": ["a", "b"],
}
CITY: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@dataclass(frozen=True)
class Shape:
    name: str
    request: ChatRequest
    converse: dict[str, Any]  # the arguments of boto3's `converse`, without `modelId`
    model: str = LLAMA
    dropped: tuple[str, ...] = ()
    extras: dict[str, Any] = field(default_factory=dict)


def data_url(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def tool(name: str, parameters: dict[str, Any] | None = None, description: str | None = None) -> dict[str, Any]:
    function: dict[str, Any] = {"name": name}
    if parameters is not None:
        function["parameters"] = parameters
    if description is not None:
        function["description"] = description
    return {"type": "function", "function": function}


def spec(name: str, schema: dict[str, Any], description: str | None = None) -> dict[str, Any]:
    said = {"description": description} if description is not None else {}
    return {"toolSpec": {"name": name, "inputSchema": {"json": schema}, **said}}


def image(media_type: str = "image/png") -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": data_url(media_type, PIXEL)}}


def file(name: str, media_type: str, data: bytes) -> dict[str, Any]:
    return {"type": "file", "file": {"filename": name, "file_data": data_url(media_type, data)}}


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content}


HELLO = user("Hello")
HELLO_TURN = {"role": "user", "content": [{"text": "Hello"}]}


def turns(*blocks: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(blocks)}]


def shape(
    name: str,
    converse: dict[str, Any],
    *messages: dict[str, Any],
    model: str = LLAMA,
    dropped: tuple[str, ...] = (),
    extras: dict[str, Any] | None = None,
    **request: Any,
) -> Shape:
    asked = ChatRequest(messages=messages or (HELLO,), **request)
    return Shape(name, asked, {"messages": [HELLO_TURN], **converse}, model, dropped, extras or {})


def schema_format(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "place", "schema": schema}}


_CALLED = (
    user("What is 1 + 2?"),
    {"role": "assistant", "content": None, "tool_calls": [call("call_1", "add", '{"a": 1, "b": 2}')]},
    {"role": "tool", "tool_call_id": "call_1", "content": "3"},
)
_CALLED_TURNS = [
    {"role": "user", "content": [{"text": "What is 1 + 2?"}]},
    {"role": "assistant", "content": [{"toolUse": {"toolUseId": "call_1", "name": "add", "input": {"a": 1, "b": 2}}}]},
    {"role": "user", "content": [{"toolResult": {"toolUseId": "call_1", "content": [{"text": "3"}]}}]},
]
_ADD_TOOL = spec("add", ADD, "Adds.")
_TOOLS = (tool("add", ADD, "Adds."),)

SHAPES = [
    shape("a question", {}),
    shape("a system prompt", {"system": [{"text": "Be brief."}]}, {"role": "system", "content": "Be brief."}, HELLO),
    shape(
        "a developer prompt", {"system": [{"text": "Be brief."}]}, {"role": "developer", "content": "Be brief."}, HELLO
    ),
    shape(
        "two system prompts",
        {"system": [{"text": "One."}, {"text": "Two."}]},
        {"role": "system", "content": "One."},
        {"role": "system", "content": [text("Two.")]},
        HELLO,
    ),
    shape(
        "only a system prompt", {"messages": turns({"text": "Say hello."})}, {"role": "system", "content": "Say hello."}
    ),
    shape("text parts", {"messages": turns({"text": "One"}, {"text": "Two"})}, user([text("One"), text("Two")])),
    shape("neighbours of one role", {"messages": turns({"text": "One"}, {"text": "Two"})}, user("One"), user("Two")),
    shape("a blank part", {"messages": turns({"text": "One"})}, user([text("One"), text("  ")])),
    shape(
        "several turns",
        {"messages": [HELLO_TURN, {"role": "assistant", "content": [{"text": "Hi."}]}, *turns({"text": "Bye"})]},
        HELLO,
        {"role": "assistant", "content": "Hi."},
        user("Bye"),
    ),
    shape(
        "a prefilled answer",
        {"messages": [HELLO_TURN, {"role": "assistant", "content": [{"text": "Hi, I"}]}]},
        HELLO,
        {"role": "assistant", "content": "Hi, I "},
    ),
    shape("not only ASCII", {"messages": turns({"text": "Wie geht’s? 你好 🙂"})}, user("Wie geht’s? 你好 🙂")),
    shape("max_tokens", {"inferenceConfig": {"maxTokens": 50}}, max_tokens=50),
    shape("temperature", {"inferenceConfig": {"temperature": 0.5}}, temperature=0.5),
    shape(
        "temperature beyond the scale",
        {"inferenceConfig": {"temperature": 1.0}},
        temperature=1.5,
        dropped=("temperature",),
    ),
    shape("top_p", {"inferenceConfig": {"topP": 0.9}}, top_p=0.9),
    shape("stop", {"inferenceConfig": {"stopSequences": ["END", "\n\nQ:"]}}, stop=("END", "\n\nQ:")),
    shape("a blank stop", {"inferenceConfig": {"stopSequences": ["END"]}}, stop=("END", "\n"), dropped=("stop",)),
    shape(
        "all of sampling",
        {"inferenceConfig": {"maxTokens": 9, "temperature": 0.0, "topP": 1.0, "stopSequences": ["."]}},
        max_tokens=9,
        temperature=0.0,
        top_p=1.0,
        stop=(".",),
    ),
    shape(
        "what Converse lacks",
        {},
        seed=1,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        logprobs=True,
        top_logprobs=2,
        dropped=("presence_penalty", "frequency_penalty", "seed", "logprobs", "top_logprobs"),
    ),
    shape("top_k of Claude", {"additionalModelRequestFields": {"top_k": 5}}, model=HAIKU_3, extra={"top_k": 5}),
    shape(
        "top_k of Nova",
        {"additionalModelRequestFields": {"inferenceConfig": {"topK": 5}}},
        model=NOVA,
        extra={"top_k": 5},
    ),
    shape("top_k of another", {}, extra={"top_k": 5}, dropped=("top_k",)),
    shape(
        "effort of Claude",
        {"outputConfig": {"effort": "high"}},
        model="anthropic.claude-opus-4-6-v1",
        extra={"reasoning_effort": "high"},
    ),
    shape(
        "effort of gpt-oss",
        {"additionalModelRequestFields": {"reasoning_effort": "low"}},
        model=GPT_OSS,
        extra={"reasoning_effort": "minimal"},
    ),
    shape(
        "effort of Nova 2",
        {"additionalModelRequestFields": {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}}},
        model=NOVA_2,
        extra={"reasoning_effort": "medium"},
    ),
    shape("effort of another", {}, extra={"reasoning_effort": "low"}, dropped=("reasoning_effort",)),
    shape(
        "fields that nobody knows", {}, extra={"metadata": {"a": "b"}, "store": False}, dropped=("metadata", "store")
    ),
    shape(
        "an image",
        {"messages": turns({"text": "What?"}, {"image": {"format": "png", "source": {"bytes": PIXEL}}})},
        user([text("What?"), image()]),
        model=NOVA,
    ),
    shape(
        "a JPEG",
        {"messages": turns({"image": {"format": "jpeg", "source": {"bytes": PIXEL}}})},
        user([image("image/jpeg")]),
        model=NOVA,
    ),
    shape(
        "an image in S3",
        {"messages": turns({"image": {"format": "webp", "source": {"s3Location": {"uri": "s3://bucket/a.webp"}}}})},
        user([{"type": "image_url", "image_url": {"url": "s3://bucket/a.webp"}}]),
        model=NOVA,
    ),
    shape(
        "a document",
        {
            "messages": turns(
                {"text": "Sum up"}, {"document": {"format": "pdf", "name": "Q3-report", "source": {"bytes": PDF}}}
            )
        },
        user([text("Sum up"), file("Q3_report.pdf", "application/pdf", PDF)]),
        model=NOVA,
    ),
    shape(
        "two documents of one name",
        {
            "messages": turns(
                {"text": "Compare"},
                {"document": {"format": "txt", "name": "a", "source": {"bytes": b"1"}}},
                {"document": {"format": "txt", "name": "a (2)", "source": {"bytes": b"2"}}},
            )
        },
        user([text("Compare"), file("a.txt", "text/plain", b"1"), file("a.txt", "text/plain", b"2")]),
        model=NOVA,
    ),
    shape(
        "a document without a text",
        {
            "messages": turns(
                {"document": {"format": "csv", "name": "t", "source": {"bytes": b"a,b"}}},
                {"text": "Use the attached document."},
            )
        },
        user([file("t.csv", "text/csv", b"a,b")]),
        model=NOVA,
    ),
    shape("a tool", {"toolConfig": {"tools": [_ADD_TOOL]}}, tools=_TOOLS),
    shape(
        "a tool without parameters", {"toolConfig": {"tools": [spec("now", {"type": "object"})]}}, tools=(tool("now"),)
    ),
    shape("tool_choice auto", {"toolConfig": {"tools": [_ADD_TOOL]}}, tools=_TOOLS, tool_choice="auto"),
    shape(
        "tool_choice required",
        {"toolConfig": {"tools": [_ADD_TOOL], "toolChoice": {"any": {}}}},
        tools=_TOOLS,
        tool_choice="required",
    ),
    shape(
        "tool_choice by name",
        {"toolConfig": {"tools": [_ADD_TOOL], "toolChoice": {"tool": {"name": "add"}}}},
        tools=_TOOLS,
        tool_choice={"type": "function", "function": {"name": "add"}},
    ),
    shape("tool_choice none", {}, tools=_TOOLS, tool_choice="none"),
    shape(
        "no parallel calls",
        {"toolConfig": {"tools": [_ADD_TOOL]}},
        tools=_TOOLS,
        parallel_tool_calls=False,
        dropped=("parallel_tool_calls",),
    ),
    shape("a tool's result", {"messages": _CALLED_TURNS, "toolConfig": {"tools": [_ADD_TOOL]}}, *_CALLED, tools=_TOOLS),
    shape(
        "a result without tools",
        {"messages": _CALLED_TURNS, "toolConfig": {"tools": [spec("add", {"type": "object"})]}},
        *_CALLED,
    ),
    shape(
        "a result where no call is wanted",
        {"messages": _CALLED_TURNS, "toolConfig": {"tools": [spec("add", {"type": "object"})]}},
        *_CALLED,
        tools=_TOOLS,
        tool_choice="none",
        dropped=("tool_choice",),
    ),
    shape(
        "two calls and their results",
        {
            "messages": [
                HELLO_TURN,
                {
                    "role": "assistant",
                    "content": [
                        {"text": "Both."},
                        {"toolUse": {"toolUseId": "a", "name": "add", "input": {"a": 1, "b": 2}}},
                        {"toolUse": {"toolUseId": "b", "name": "add", "input": {"a": 3, "b": 4}}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"toolResult": {"toolUseId": "a", "content": [{"text": "3"}]}},
                        {"toolResult": {"toolUseId": "b", "content": [{"text": "(empty)"}]}},
                        {"text": "And?"},
                    ],
                },
            ],
            "toolConfig": {"tools": [_ADD_TOOL]},
        },
        HELLO,
        {
            "role": "assistant",
            "content": "Both.",
            "tool_calls": [call("a", "add", '{"a": 1, "b": 2}'), call("b", "add", '{"a": 3, "b": 4}')],
        },
        {"role": "tool", "tool_call_id": "a", "content": "3"},
        {"role": "tool", "tool_call_id": "b", "content": ""},
        user("And?"),
        tools=_TOOLS,
    ),
    shape(
        "a result that is an image",
        {
            "messages": [
                HELLO_TURN,
                {"role": "assistant", "content": [{"toolUse": {"toolUseId": "a", "name": "draw", "input": {}}}]},
                {
                    "role": "user",
                    "content": [
                        {
                            "toolResult": {
                                "toolUseId": "a",
                                "content": [{"image": {"format": "png", "source": {"bytes": PIXEL}}}],
                            }
                        }
                    ],
                },
            ],
            "toolConfig": {"tools": [spec("draw", {"type": "object"})]},
        },
        HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call("a", "draw", "{}")]},
        {"role": "tool", "tool_call_id": "a", "content": [image()]},
        tools=(tool("draw"),),
        model=NOVA,
    ),
    shape(
        "a schema that the model enforces",
        {
            "outputConfig": {
                "textFormat": {
                    "type": "json_schema",
                    "structure": {
                        "jsonSchema": {
                            "schema": json.dumps(CITY),
                            "name": "place",
                        }
                    },
                }
            }
        },
        model=SONNET,
        response_format=schema_format(CITY),
    ),
    shape(
        "a schema by a tool",
        {
            "toolConfig": {
                "tools": [spec("reply", CITY, "Give the whole answer.")],
                "toolChoice": {"tool": {"name": "reply"}},
            }
        },
        model=NOVA,
        response_format=schema_format(CITY),
    ),
    shape(
        "JSON without a schema",
        {"system": [{"text": "Reply with one JSON object and nothing else: no code fence, no text around it."}]},
        model=NOVA,
        response_format={"type": "json_object"},
    ),
    shape(
        "marks for the cache",
        {
            "system": [{"text": "Long."}, {"cachePoint": {"type": "default"}}],
            "messages": turns({"text": "One"}, {"cachePoint": {"type": "default", "ttl": "1h"}}, {"text": "Two"}),
        },
        {"role": "system", "content": [{**text("Long."), "cache_control": {"type": "ephemeral"}}]},
        user([{**text("One"), "cache_control": {"type": "ephemeral", "ttl": "1h"}}, text("Two")]),
        model=SONNET,
    ),
    shape(
        "thinking of an earlier step",
        {
            "messages": [
                HELLO_TURN,
                {
                    "role": "assistant",
                    "content": [
                        {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}},
                        {"reasoningContent": {"redactedContent": b"hidden"}},
                        {"toolUse": {"toolUseId": "a", "name": "now", "input": {}}},
                    ],
                },
                {"role": "user", "content": [{"toolResult": {"toolUseId": "a", "content": [{"text": "12"}]}}]},
            ],
            "toolConfig": {"tools": [spec("now", {"type": "object"})]},
            "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        },
        HELLO,
        {
            "role": "assistant",
            "content": None,
            "thinking_blocks": [
                {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                {"type": "redacted_thinking", "data": base64.b64encode(b"hidden").decode()},
            ],
            "tool_calls": [call("a", "now", "{}")],
        },
        {"role": "tool", "tool_call_id": "a", "content": "12"},
        tools=(tool("now"),),
        model=SONNET,
        extra={"thinking": {"type": "enabled", "budget_tokens": 1024}},
    ),
    shape(
        "no thinking after another model's step",
        {
            "messages": [
                HELLO_TURN,
                {"role": "assistant", "content": [{"toolUse": {"toolUseId": "a", "name": "now", "input": {}}}]},
                {"role": "user", "content": [{"toolResult": {"toolUseId": "a", "content": [{"text": "12"}]}}]},
            ],
            "toolConfig": {"tools": [spec("now", {"type": "object"})]},
        },
        HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call("a", "now", "{}")]},
        {"role": "tool", "tool_call_id": "a", "content": "12"},
        tools=(tool("now"),),
        model=SONNET,
        extra={"thinking": {"type": "enabled", "budget_tokens": 1024}},
        dropped=("thinking",),
    ),
    shape(
        "instructions in the middle stay there",
        {"messages": turns({"text": "Hello"}, {"text": "Be brief."}, {"text": "Bye"})},
        HELLO,
        {"role": "system", "content": "Be brief."},
        user("Bye"),
    ),
    shape(
        "a guardrail",
        {"guardrailConfig": {"guardrailIdentifier": "gr1", "guardrailVersion": "3"}},
        extras={"guardrail_id": "gr1", "guardrail_version": "3"},
    ),
    shape("a service tier", {"serviceTier": {"type": "flex"}}, extras={"service_tier": "flex"}),
]
