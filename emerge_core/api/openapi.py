"""The OpenAPI document. Written by hand, because bodies are checked by hand: what stands here is what
`parse` accepts and `encode` writes."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

JsonSchema = dict[str, Any]

_TEXT: JsonSchema = {"type": "string"}
_NAMES: JsonSchema = {"type": "array", "items": {"type": "string"}}
_COUNT: JsonSchema = {"type": "integer", "minimum": 0}


@cache
def document() -> dict[str, Any]:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "emerge",
            "version": _version(),
            "description": "An OpenAI-compatible proxy: `model` names an ensemble of models, or one model.",
        },
        "paths": {
            "/v1/chat/completions": {"post": _chat()},
            "/v1/models": {"get": _operation("List ensembles and models", "ModelList", "401", "503")},
            "/v1/models/{id}": {
                "get": {
                    **_operation("Describe an ensemble or a model", "Model", "401", "404", "503"),
                    "parameters": [{"name": "id", "in": "path", "required": True, "schema": _TEXT}],
                }
            },
            "/v1/emerge/status": {
                "get": {
                    "summary": "What serves here, and from which config",
                    "responses": {"200": _json_content("The state", "Status"), "401": _json_content("No key", "Error")},
                }
            },
            "/healthz": {
                "get": {
                    "summary": "Whether this server can answer",
                    "security": [],
                    "responses": {
                        status: _json_content(text, "Health") for status, text in (("200", "Yes"), ("503", "No"))
                    },
                }
            },
        },
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}, {}],
    }


def _chat() -> dict[str, Any]:
    errors = ("400", "401", "404", "413", "415", "429", "500", "502", "503", "504")
    operation = _operation("Answer a conversation", "ChatCompletion", *errors)
    operation["responses"]["200"]["content"]["text/event-stream"] = {"schema": _TEXT}
    operation["parameters"] = [
        _header("x-emerge-trace", {"enum": ["off", "summary", "full"]}, "How much the `emerge` object tells"),
        _header("x-emerge-max-cost", {"type": "number", "exclusiveMinimum": 0}, "Lowers the cost ceiling, in USD"),
        _header("x-emerge-deadline", {"type": "number", "exclusiveMinimum": 0}, "Lowers the deadline, in seconds"),
    ]
    operation["requestBody"] = {
        "required": True,
        "content": {"application/json": {"schema": _ref("ChatRequest")}},
    }
    return operation


def _schemas() -> dict[str, JsonSchema]:
    return {
        "ChatRequest": {
            "type": "object",
            "required": ["model", "messages"],
            "additionalProperties": True,
            "description": "Fields that are not named here are passed on to the providers that know them.",
            "properties": {
                "model": {"type": "string", "minLength": 1, "description": "An ensemble's or a model's name"},
                "messages": {"type": "array", "minItems": 1, "items": _ref("Message")},
                "stream": _nullable("boolean"),
                "stream_options": {"type": ["object", "null"], "properties": {"include_usage": _nullable("boolean")}},
                "tools": {"type": ["array", "null"], "maxItems": 128, "items": _ref("Tool")},
                "tool_choice": {"type": ["string", "object", "null"]},
                "parallel_tool_calls": _nullable("boolean"),
                "response_format": {"type": ["object", "null"], "required": ["type"]},
                "max_tokens": _nullable("integer", minimum=1),
                "max_completion_tokens": _nullable("integer", minimum=1),
                "temperature": _nullable("number", minimum=0, maximum=2),
                "top_p": _nullable("number", minimum=0, maximum=1),
                "presence_penalty": _nullable("number", minimum=-2, maximum=2),
                "frequency_penalty": _nullable("number", minimum=-2, maximum=2),
                "stop": {"type": ["string", "array", "null"], "maxItems": 4, "items": _TEXT},
                "seed": _nullable("integer"),
                "n": _nullable("integer", minimum=1, maximum=128),
                "logprobs": _nullable("boolean"),
                "top_logprobs": _nullable("integer", minimum=0, maximum=20),
            },
        },
        "Message": {
            "type": "object",
            "required": ["role"],
            "properties": {
                "role": {"enum": ["system", "developer", "user", "assistant", "tool"]},
                "content": {"type": ["string", "array", "null"], "items": {"type": "object"}},
                "tool_calls": {"type": ["array", "null"], "items": {"type": "object"}},
                "tool_call_id": _TEXT,
            },
        },
        "Tool": {
            "type": "object",
            "required": ["type", "function"],
            "properties": {
                "type": {"const": "function"},
                "function": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {
                        "name": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
                        "description": _nullable("string"),
                        "parameters": {"type": ["object", "null"]},
                        "strict": _nullable("boolean"),
                    },
                },
            },
        },
        "ChatCompletion": _object(
            id=_TEXT,
            object={"const": "chat.completion"},
            created={"type": "integer"},
            model=_TEXT,
            choices={"type": "array", "minItems": 1, "items": {"type": "object"}},
            usage=_object(prompt_tokens=_COUNT, completion_tokens=_COUNT, total_tokens=_COUNT),
        ),
        "ModelList": _object(object={"const": "list"}, data={"type": "array", "items": _ref("Model")}),
        "Model": _object(id=_TEXT, object={"const": "model"}, created={"type": "integer"}, owned_by=_TEXT),
        "Status": _object(status={"enum": ["ok", "degraded"]}, ensembles=_NAMES, models=_NAMES),
        "Health": _object(status={"enum": ["ok", "degraded"]}),
        "Error": _object(
            error=_object(message=_TEXT, type=_TEXT, param=_nullable("string"), code=_nullable("string")),
        ),
    }


def _operation(summary: str, reply: str, *errors: str) -> dict[str, Any]:
    return {
        "summary": summary,
        "responses": {
            "200": _json_content("Done", reply),
            **{status: _json_content("Error", "Error") for status in errors},
        },
    }


def _json_content(description: str, schema: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": _ref(schema)}}}


def _header(name: str, schema: JsonSchema, description: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "schema": schema, "description": description}


def _object(**properties: JsonSchema) -> JsonSchema:
    return {"type": "object", "required": list(properties), "properties": properties}


def _nullable(kind: str, **bounds: float) -> JsonSchema:
    return {"type": [kind, "null"], **bounds}


def _ref(name: str) -> JsonSchema:
    return {"$ref": f"#/components/schemas/{name}"}


def _version() -> str:
    try:
        return version("emerge")
    except PackageNotFoundError:  # run from an artifact without the package's metadata
        return "0"
