"""POST /v1/embeddings: one call to an embedder of the config, passed through."""

from __future__ import annotations

import array
import base64
import sys
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from emerge_core.api.chat.parse import read
from emerge_core.api.choices import Choice
from emerge_core.api.endpoint import (
    Engine,
    answered,
    check_content_type,
    limits_of,
    read_body,
    trace_level,
)
from emerge_core.api.errors import invalid, json_response
from emerge_core.api.fields import Body, integer, one_of, shown, text
from emerge_core.api.trace_object import emerge_object, headers_of
from emerge_core.types import Decision, EmbeddingRequest, Sink, Trace

MAX_INPUTS = 2048
MAX_DIMENSIONS = 2**16
_OWN = frozenset({"model", "input", "dimensions", "encoding_format"})


class AskedEmbeddings(NamedTuple):
    model: str
    request: EmbeddingRequest
    base64: bool


class EmbeddingsEndpoint:
    """The endpoint, bound to its engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def __call__(self, http: Request) -> Response:
        check_content_type(http)
        asked = await read(await read_body(http), read_embeddings)
        limits, level = limits_of(http), trace_level(http, self.engine.config)
        vectors: list[list[float]] = []

        async def work(_: Sink | None) -> Trace:
            nonlocal vectors
            request_id = http.scope["state"]["request_id"]
            trace, vectors = await self.engine.embed(asked.request, asked.model, limits=limits, request_id=request_id)
            return trace

        def reply(trace: Trace, decision: Decision) -> Response:
            picked = [Choice(decision.message, decision.selected)]
            body = embeddings_json(asked, vectors, trace)
            emerge = emerge_object(trace, level, picked)
            if emerge is not None:
                body["emerge"] = emerge
            return json_response(body, headers=headers_of(trace, picked))

        return await answered(work, http, level, reply)


def read_embeddings(body: Body) -> AskedEmbeddings:
    """Raises RequestError, a 400 with `param`, at the first fault."""
    encoding = body.get("encoding_format")
    if encoding is not None:
        one_of(encoding, ("float", "base64"), "encoding_format")
    request = EmbeddingRequest(
        inputs=_inputs(body.get("input")),
        dimensions=integer(body, "dimensions", 1, MAX_DIMENSIONS),
        extra={name: value for name, value in body.items() if name not in _OWN and value is not None},
    )
    return AskedEmbeddings(text(body, "model", "model"), request, encoding == "base64")


def embeddings_json(asked: AskedEmbeddings, vectors: list[list[float]], trace: Trace) -> dict[str, Any]:
    encode = _base64 if asked.base64 else list
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": encode(vector)} for index, vector in enumerate(vectors)
        ],
        "model": asked.model,
        "usage": {"prompt_tokens": trace.usage.input_tokens, "total_tokens": trace.usage.input_tokens},
    }


def _inputs(value: Any) -> tuple[str | tuple[int, ...], ...]:
    """One text, one list of token ids, or a list of either."""
    if value is None:
        raise invalid("input", "`input` is missing: send a string or a list of strings.")
    if isinstance(value, str) or _is_tokens(value):
        return (_input(value, "input"),)
    if not isinstance(value, list) or not value:
        raise invalid("input", f"`input` must be a string or a list of strings that is not empty, not {shown(value)}.")
    if len(value) > MAX_INPUTS:
        raise invalid("input", f"`input` must hold at most {MAX_INPUTS} texts, not {len(value)}: send it in parts.")
    return tuple(_input(item, f"input[{index}]") for index, item in enumerate(value))


def _input(value: Any, place: str) -> str | tuple[int, ...]:
    if isinstance(value, str) and value:
        return value
    if _is_tokens(value):
        return tuple(value)
    raise invalid(place, f"`{place}` must be a text that is not empty, or a list of token ids, not {shown(value)}.")


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(item) is int and item >= 0 for item in value)


def _base64(vector: list[float]) -> str:
    """Little-endian float32, as OpenAI's clients read it."""
    floats = array.array("f", vector)
    if sys.byteorder == "big":
        floats.byteswap()
    return base64.b64encode(floats.tobytes()).decode()
