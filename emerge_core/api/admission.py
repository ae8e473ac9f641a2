"""Refuses requests beyond the number that are answered at once, so that those in progress keep their speed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from emerge_core.api.errors import OVERLOADED_CODE, error_response
from emerge_core.api.middleware import route_path
from emerge_core.errors import RequestError

OVERLOADED = RequestError(
    "The server is answering as many requests as it can. Ask again in a moment.",
    status=503,
    type="server_error",
    code=OVERLOADED_CODE,
    retry_after_s=1,
    should_retry=True,
)
HEALTH_CHECK = "/healthz"


def is_refusable(scope: Mapping[str, Any]) -> bool:
    """Whether a server that is overloaded may refuse the request without the application. Health checks are answered
    under any load, and the reply to a web page needs the headers that the application adds."""
    return route_path(scope["path"]) != HEALTH_CHECK and all(name != b"origin" for name, _ in scope["headers"])


def refusal(scope: Mapping[str, Any]) -> Response:
    return error_response({"path": route_path(scope["path"])}, OVERLOADED)


class AdmissionMiddleware:
    """ASGI middleware. `most` requests are in progress at once; None: as many as come."""

    def __init__(self, app: ASGIApp, most: int | None) -> None:
        self.app = app
        self._most = most
        self._in_progress = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == HEALTH_CHECK:
            await self.app(scope, receive, send)
            return
        if self._most is not None and self._in_progress >= self._most:
            await refusal(scope)(scope, receive, send)
            return
        self._in_progress += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._in_progress -= 1
