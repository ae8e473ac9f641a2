"""The OpenAPI document. It is written by hand because bodies are parsed by hand: it states what the parsers accept
and the encoders write. The shapes of the bodies are in `schemas`."""

from __future__ import annotations

from functools import cache
from typing import Any

from emerge_core.about import VERSION
from emerge_core.api.openapi.schemas import TEXT, JsonSchema, ref, schemas

_ANSWERING = ("400", "401", "403", "404", "408", "413", "415", "429", "500", "502", "503", "504", "529")


@cache
def document() -> dict[str, Any]:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "emerge",
            "version": VERSION,
            "description": "A proxy that speaks OpenAI's and Anthropic's APIs: `model` names an ensemble or a model.",
        },
        "paths": {
            "/v1/chat/completions": {"post": _asking("Answer a conversation", "ChatRequest", "ChatCompletion")},
            "/v1/responses": {"post": _asking("Answer a conversation, in items", "ResponseRequest", "Response")},
            "/v1/messages": {"post": _asking("Answer as Anthropic's API does", "MessageRequest", "MessageReply")},
            "/v1/messages/count_tokens": {
                "post": _asking("Count a request's tokens", "CountRequest", "TokenCount", streams=False),
            },
            "/v1/embeddings": {
                "post": _asking("Embed texts", "EmbeddingRequest", "EmbeddingList", streams=False),
            },
            "/v1/models": {"get": _operation("List ensembles, models and embedders", "ModelList", "401", "503")},
            "/v1/models/{id}": {
                "get": {
                    **_operation("Describe one of them", "Model", "401", "404", "503"),
                    "parameters": [
                        {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
                    ],
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
            "schemas": schemas(),
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
        "security": [{"key": []}, {"x-api-key": []}, {}],
    }


def _asking(summary: str, body: str, reply: str, *, streams: bool = True) -> dict[str, Any]:
    operation = _operation(summary, reply, *_ANSWERING)
    if streams:
        operation["responses"]["200"]["content"]["text/event-stream"] = {"schema": TEXT}
    operation["parameters"] = [
        _header("x-emerge-trace", {"enum": ["off", "summary", "full"]}, "How much the `emerge` object tells"),
        _header("x-emerge-max-cost", {"type": "number", "exclusiveMinimum": 0}, "Lowers the cost ceiling, in USD"),
        _header("x-emerge-deadline", {"type": "number", "exclusiveMinimum": 0}, "Lowers the deadline, in seconds"),
    ]
    operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": ref(body)}}}
    return operation


def _operation(summary: str, reply: str, *errors: str) -> dict[str, Any]:
    return {
        "summary": summary,
        "responses": {
            "200": _json_content("Done", reply),
            **{status: _json_content("Error", "Error") for status in errors},
        },
    }


def _json_content(description: str, schema: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": ref(schema)}}}


def _header(name: str, schema: JsonSchema, description: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "schema": schema, "description": description}
