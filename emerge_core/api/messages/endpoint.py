"""The endpoint of messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from emerge_core.api.choices import choices
from emerge_core.api.client_watch import Work
from emerge_core.api.endpoint import Endpoint
from emerge_core.api.errors import json_response
from emerge_core.api.fields import Body
from emerge_core.api.messages.encode import message_id, message_json
from emerge_core.api.messages.events import MessageStream
from emerge_core.api.messages.parse import MessageParams, read_message
from emerge_core.api.trace_object import TraceLevel, response_headers
from emerge_core.types import Decision, Trace

_PASSED_ON = ("anthropic-beta", "anthropic-version")


def with_headers(params: MessageParams, http: Request) -> MessageParams:
    """The parameters with the headers that Anthropic members get, beside the body as it came."""
    native = params.request.native
    headers = {name: http.headers[name] for name in _PASSED_ON if name in http.headers}
    if native is None or not headers:
        return params
    return params._replace(request=replace(params.request, native=replace(native, headers=headers)))


class MessagesEndpoint(Endpoint[MessageParams]):
    def parse(self, body: Body) -> MessageParams:
        return read_message(body)

    def prepare(self, params: MessageParams, http: Request) -> MessageParams:
        return with_headers(params, http)

    def reply(self, trace: Trace, decision: Decision, params: MessageParams, level: TraceLevel) -> Response:
        message = message_json(message_id(), trace, decision, params, level)
        return json_response(message, headers=response_headers(trace, choices(trace, decision, 1)))

    def stream(self, work: Work, params: MessageParams, level: TraceLevel, headers: Mapping[str, str]) -> Response:
        return MessageStream(params, work=work, level=level, keepalive_s=self.keepalive_s, headers=headers)
