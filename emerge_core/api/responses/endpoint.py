"""The endpoint of responses."""

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
from emerge_core.api.responses.parse import ResponseParams, read_response
from emerge_core.api.trace_object import TraceLevel, response_headers
from emerge_core.types import Decision, Trace


class ResponsesEndpoint(Endpoint[ResponseParams]):
    def parse(self, body: Body) -> ResponseParams:
        return read_response(body)

    def reply(self, trace: Trace, decision: Decision, params: ResponseParams, level: TraceLevel) -> Response:
        headers = response_headers(trace, choices(trace, decision, 1))
        return json_response(finished(frame_of(params), trace, decision, level), headers=headers)

    def stream(self, work: Work, params: ResponseParams, level: TraceLevel, headers: Mapping[str, str]) -> Response:
        return ResponseStream(frame_of(params), work=work, level=level, keepalive_s=self.keepalive_s, headers=headers)
