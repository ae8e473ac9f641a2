"""The W3C trace context of a request's headers, for requests whose spans are exported."""

from __future__ import annotations

from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send


class BeginSpan(Protocol):
    def __call__(self, traceparent: str = "", tracestate: str = "") -> None:
        """Begins the span of the request that is handled in the current context."""


class TraceContextMiddleware:
    """ASGI middleware. What is read or checked without a model, by GET and HEAD, has no span."""

    def __init__(self, app: ASGIApp, begin: BeginSpan) -> None:
        self.app = app
        self._begin = begin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            headers = dict(scope["headers"])
            given = (headers.get(name, b"").decode("latin-1") for name in (b"traceparent", b"tracestate"))
            self._begin(*given)
        await self.app(scope, receive, send)
