"""The endpoint of chat completions."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from emerge_core.api.chat.encode import completion_json, encode
from emerge_core.api.chat.events import ChunkStream
from emerge_core.api.chat.parse import ChatParams, read_chat
from emerge_core.api.client_watch import Work
from emerge_core.api.endpoint import Endpoint
from emerge_core.api.errors import json_response
from emerge_core.api.fields import Body
from emerge_core.api.trace_object import TraceLevel, response_headers
from emerge_core.types import Decision, Trace


class ChatEndpoint(Endpoint[ChatParams]):
    def parse(self, body: Body) -> ChatParams:
        return read_chat(body)

    def reply(self, trace: Trace, decision: Decision, params: ChatParams, level: TraceLevel) -> Response:
        encoded = encode(trace, decision, params.request, level)
        return json_response(completion_json(encoded, params.request), headers=response_headers(trace, encoded.choices))

    def stream(self, work: Work, params: ChatParams, level: TraceLevel, headers: Mapping[str, str]) -> Response:
        return ChunkStream(params, work=work, level=level, keepalive_s=self.keepalive_s, headers=headers)
