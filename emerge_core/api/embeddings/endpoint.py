"""The endpoint of embeddings."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from emerge_core.api.body import check_content_type, parse_body, receive_body
from emerge_core.api.choices import Choice
from emerge_core.api.embeddings.encode import embeddings_json
from emerge_core.api.embeddings.parse import read_embeddings
from emerge_core.api.endpoint import Engine, respond
from emerge_core.api.errors import json_response
from emerge_core.api.request_headers import limits_of, trace_level
from emerge_core.api.trace_object import emerge_object, response_headers
from emerge_core.types import Decision, Sink, Trace


class EmbeddingsEndpoint:
    """The endpoint, bound to its engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def __call__(self, http: Request) -> Response:
        check_content_type(http)
        params = await parse_body(await receive_body(http), read_embeddings)
        limits, level = limits_of(http), trace_level(http, self.engine.config)
        vectors: list[list[float]] = []

        async def work(_: Sink | None) -> Trace:
            nonlocal vectors
            request_id = http.scope["state"]["request_id"]
            trace, vectors = await self.engine.embed(params.request, params.model, limits=limits, request_id=request_id)
            return trace

        def reply(trace: Trace, decision: Decision) -> Response:
            picked = [Choice(decision.message, decision.selected)]
            body = embeddings_json(params, vectors, trace)
            emerge = emerge_object(trace, level, picked)
            if emerge is not None:
                body["emerge"] = emerge
            return json_response(body, headers=response_headers(trace, picked))

        return await respond(work, http, level, reply)
