"""The shapes of bodies and replies in the OpenAPI document."""

from __future__ import annotations

from typing import Any

JsonSchema = dict[str, Any]

TEXT: JsonSchema = {"type": "string"}
NAMES: JsonSchema = {"type": "array", "items": TEXT}
COUNT: JsonSchema = {"type": "integer", "minimum": 0}
_TOKENS: JsonSchema = {"type": "array", "minItems": 1, "items": COUNT}
_OUTPUT_ITEM: JsonSchema = {"enum": ["reasoning", "message", "function_call", "custom_tool_call"]}
_FORMAT: JsonSchema = {
    "type": ["object", "null"],
    "required": ["type"],
    "properties": {"type": {"enum": ["text", "json_object", "json_schema"]}},
}


def schemas() -> dict[str, JsonSchema]:
    return {
        "ChatRequest": {
            "type": "object",
            "required": ["model", "messages"],
            "additionalProperties": True,
            "description": "Fields that are not named here are passed on to the providers that know them.",
            "properties": {
                "model": {"type": "string", "minLength": 1, "description": "An ensemble's or a model's name"},
                "messages": {"type": "array", "minItems": 1, "items": ref("Message")},
                "stream": nullable("boolean"),
                "stream_options": {"type": ["object", "null"], "properties": {"include_usage": nullable("boolean")}},
                "tools": {"type": ["array", "null"], "maxItems": 128, "items": ref("Tool")},
                "tool_choice": {"type": ["string", "object", "null"]},
                "parallel_tool_calls": nullable("boolean"),
                "response_format": _FORMAT,
                "max_tokens": nullable("integer", minimum=1),
                "max_completion_tokens": nullable("integer", minimum=1),
                "temperature": nullable("number", minimum=0, maximum=2),
                "top_p": nullable("number", minimum=0, maximum=1),
                "presence_penalty": nullable("number", minimum=-2, maximum=2),
                "frequency_penalty": nullable("number", minimum=-2, maximum=2),
                "stop": {"type": ["string", "array", "null"], "maxItems": 4, "items": TEXT},
                "seed": nullable("integer"),
                "n": nullable("integer", minimum=1, maximum=128),
                "logprobs": nullable("boolean"),
                "top_logprobs": nullable("integer", minimum=0, maximum=20),
            },
        },
        "Message": {
            "type": "object",
            "required": ["role"],
            "properties": {
                "role": {"enum": ["system", "developer", "user", "assistant", "tool"]},
                "content": {"type": ["string", "array", "null"], "items": {"type": "object"}},
                "tool_calls": {"type": ["array", "null"], "items": {"type": "object"}},
                "tool_call_id": TEXT,
            },
        },
        "Tool": {
            "type": "object",
            "required": ["type", "function"],
            "properties": {
                "type": {"const": "function"},
                "function": {"type": "object", "required": ["name"], "properties": _function()},
            },
        },
        "ChatCompletion": record(
            id=TEXT,
            object={"const": "chat.completion"},
            created={"type": "integer"},
            model=TEXT,
            choices={"type": "array", "minItems": 1, "items": {"type": "object"}},
            usage=record(prompt_tokens=COUNT, completion_tokens=COUNT, total_tokens=COUNT),
        ),
        "ResponseRequest": {
            "type": "object",
            "required": ["model", "input"],
            "additionalProperties": True,
            "description": "Nothing is stored: what refers to something stored is refused. Fields that are not "
            "named here are passed on to the providers that know them.",
            "properties": {
                "model": {"type": "string", "minLength": 1, "description": "An ensemble's or a model's name"},
                "input": {"type": ["string", "array"], "minItems": 1, "items": ref("Item")},
                "instructions": nullable("string"),
                "stream": nullable("boolean"),
                "tools": {"type": ["array", "null"], "maxItems": 128, "items": ref("FunctionTool")},
                "tool_choice": {"type": ["string", "object", "null"]},
                "parallel_tool_calls": nullable("boolean"),
                "text": {
                    "type": ["object", "null"],
                    "properties": {
                        "format": _FORMAT,
                        "verbosity": nullable("string"),
                    },
                },
                "reasoning": {"type": ["object", "null"], "properties": {"effort": nullable("string")}},
                "max_output_tokens": nullable("integer", minimum=1),
                "temperature": nullable("number", minimum=0, maximum=2),
                "top_p": nullable("number", minimum=0, maximum=1),
                "top_logprobs": nullable("integer", minimum=0, maximum=20),
                "include": {"type": ["array", "null"], "items": TEXT},
                "metadata": nullable("object"),
                "store": nullable("boolean"),
                "truncation": {"enum": ["auto", "disabled", None]},
                "background": {"enum": [False, None]},
                "previous_response_id": {"type": "null"},
                "conversation": {"type": "null"},
                "prompt": {"type": "null"},
            },
        },
        "Item": {
            "type": "object",
            "properties": {
                "type": {"type": "string"},
                "role": {"enum": ["user", "assistant", "system", "developer"]},
                "content": {"type": ["string", "array"], "items": {"type": "object"}},
                "call_id": TEXT,
                "name": TEXT,
                "arguments": TEXT,
                "output": {"type": ["string", "array"], "items": {"type": "object"}},
            },
        },
        "FunctionTool": {
            "type": "object",
            "required": ["type"],
            "description": "Tools of other types would run at the provider: they are left out, and named.",
            "properties": {"type": {"type": "string", "examples": ["function", "custom", "namespace"]}, **_function()},
        },
        "Response": record(
            id=TEXT,
            object={"const": "response"},
            created_at={"type": "integer"},
            model=TEXT,
            status={"enum": ["completed", "incomplete"]},
            output={
                "type": "array",
                "minItems": 1,
                "items": record(type=_OUTPUT_ITEM),
            },
            usage=record(input_tokens=COUNT, output_tokens=COUNT, total_tokens=COUNT),
        ),
        "MessageRequest": {
            "type": "object",
            "required": ["model", "max_tokens", "messages"],
            "additionalProperties": True,
            "description": "Fields that are not named here reach members that speak Anthropic's API.",
            "properties": {**_message_fields(), "max_tokens": {"type": "integer", "minimum": 1}},
        },
        "CountRequest": {
            "type": "object",
            "required": ["model", "messages"],
            "additionalProperties": True,
            "properties": _message_fields(),
        },
        "MessageReply": record(
            id=TEXT,
            type={"const": "message"},
            role={"const": "assistant"},
            model=TEXT,
            content={"type": "array", "items": record(type=TEXT)},
            stop_reason=nullable("string"),
            stop_sequence=nullable("string"),
            usage=record(input_tokens=COUNT, output_tokens=COUNT),
        ),
        "TokenCount": record(input_tokens=COUNT),
        "EmbeddingRequest": {
            "type": "object",
            "required": ["model", "input"],
            "additionalProperties": True,
            "properties": {
                "model": {"type": "string", "minLength": 1, "description": "An embedder's name"},
                "input": {
                    "description": "A text, a list of token ids, or a list of either",
                    "anyOf": [
                        {"type": "string", "minLength": 1},
                        _TOKENS,
                        {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": 2048,
                            "items": {"anyOf": [{"type": "string", "minLength": 1}, _TOKENS]},
                        },
                    ],
                },
                "dimensions": nullable("integer", minimum=1, maximum=65536),
                "encoding_format": {"enum": ["float", "base64", None]},
            },
        },
        "EmbeddingList": record(
            object={"const": "list"},
            data={
                "type": "array",
                "items": record(
                    object={"const": "embedding"},
                    index=COUNT,
                    embedding={"type": ["array", "string"], "items": {"type": "number"}},
                ),
            },
            model=TEXT,
            usage=record(prompt_tokens=COUNT, total_tokens=COUNT),
        ),
        "ModelList": record(object={"const": "list"}, data={"type": "array", "items": ref("Model")}),
        "Model": record(id=TEXT, object={"const": "model"}, created={"type": "integer"}, owned_by=TEXT),
        "Status": {
            "type": "object",
            "required": ["status"],
            "properties": {
                "status": {"enum": ["ok", "degraded"]},
                "ensembles": NAMES,
                "models": NAMES,
                "embedders": NAMES,
                "breakers": {"type": "object"},
                "refused_params": {"type": "object"},
                "refusals": {
                    "type": "array",
                    "items": record(
                        provider=TEXT,
                        model=TEXT,
                        param=TEXT,
                        reason=TEXT,
                        status=nullable("integer"),
                        forgotten_in_s={"type": "number"},
                    ),
                },
            },
        },
        "Health": record(status={"enum": ["ok", "degraded"]}),
        "Error": record(
            error=record(message=TEXT, type=TEXT, param=nullable("string"), code=nullable("string")),
        ),
    }


def _message_fields() -> dict[str, JsonSchema]:
    blocks = {"type": ["string", "array"], "items": {"type": "object", "required": ["type"]}}
    turn = {"role": {"enum": ["user", "assistant", "system"]}, "content": blocks}
    return {
        "model": {"type": "string", "minLength": 1, "description": "An ensemble's or a model's name"},
        "messages": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "object", "required": list(turn), "properties": turn},
        },
        "system": {"type": ["string", "array", "null"], "items": {"type": "object"}},
        "stream": nullable("boolean"),
        "tools": {"type": ["array", "null"], "maxItems": 128, "items": {"type": "object"}},
        "tool_choice": nullable("object"),
        "temperature": nullable("number", minimum=0, maximum=2),
        "top_p": nullable("number", minimum=0, maximum=1),
        "top_k": nullable("integer", minimum=0),
        "stop_sequences": {"type": ["array", "null"], "items": TEXT},
        "metadata": nullable("object"),
        "output_config": nullable("object"),
    }


def _function() -> dict[str, JsonSchema]:
    return {
        "name": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
        "description": nullable("string"),
        "parameters": {"type": ["object", "null"]},
        "strict": nullable("boolean"),
    }


def record(**properties: JsonSchema) -> JsonSchema:
    return {"type": "object", "required": list(properties), "properties": properties}


def nullable(kind: str, **bounds: float) -> JsonSchema:
    return {"type": [kind, "null"], **bounds}


def ref(name: str) -> JsonSchema:
    return {"$ref": f"#/components/schemas/{name}"}
