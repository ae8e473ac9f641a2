"""POST /v1/chat/completions."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from emerge_core.api.chat.events import ChunkStream
from emerge_core.api.chat.parse import Asked, read_chat
from emerge_core.api.client_watch import Work
from emerge_core.api.endpoint import Endpoint
from emerge_core.api.errors import json_response
from emerge_core.api.fields import Body
from emerge_core.api.trace_object import TraceLevel, completion_json, encode, headers_of
from emerge_core.types import Decision, Trace


class Chat(Endpoint[Asked]):
    def read(self, body: Body) -> Asked:
        return read_chat(body)

    def reply(self, trace: Trace, decision: Decision, asked: Asked, level: TraceLevel) -> Response:
        encoded = encode(trace, decision, asked.request, level)
        return json_response(completion_json(encoded, asked.request), headers=headers_of(trace, encoded.choices))

    def stream(self, work: Work, asked: Asked, level: TraceLevel, headers: Mapping[str, str]) -> Response:
        return ChunkStream(asked, work=work, level=level, keepalive_s=self.keepalive_s, headers=headers)
