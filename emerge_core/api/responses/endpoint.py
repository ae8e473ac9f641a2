"""The endpoint: responses as a form of what `Endpoint` does."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from emerge_core.api.choices import choices
from emerge_core.api.client_watch import Work
from emerge_core.api.endpoint import Endpoint
from emerge_core.api.errors import json_response
from emerge_core.api.fields import Body
from emerge_core.api.responses.encode import finished, frame_of
from emerge_core.api.responses.events import ResponseStream
from emerge_core.api.responses.parse import AskedResponse, read_response
from emerge_core.api.trace_object import TraceLevel, headers_of
from emerge_core.types import Decision, Trace


class Responses(Endpoint[AskedResponse]):
    def read(self, body: Body) -> AskedResponse:
        return read_response(body)

    def reply(self, trace: Trace, decision: Decision, asked: AskedResponse, level: TraceLevel) -> Response:
        headers = headers_of(trace, choices(trace, decision, 1))
        return json_response(finished(frame_of(asked), trace, decision, level), headers=headers)

    def stream(self, work: Work, asked: AskedResponse, level: TraceLevel, headers: Mapping[str, str]) -> Response:
        return ResponseStream(frame_of(asked), work=work, level=level, keepalive_s=self.keepalive_s, headers=headers)
