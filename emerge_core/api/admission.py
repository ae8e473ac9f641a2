"""Refuses requests beyond the number that are answered at once, so that those in progress keep their speed."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from emerge_core.api.errors import OVERLOADED_CODE, error_response
from emerge_core.errors import RequestError

OVERLOADED = RequestError(
    "The server is answering as many requests as it can. Ask again in a moment.",
    status=503,
    type="server_error",
    code=OVERLOADED_CODE,
    retry_after_s=1,
    should_retry=True,
)
ALWAYS_ANSWERED = "/healthz"


class AdmissionMiddleware:
    """ASGI middleware. `most` requests are in progress at once; None: as many as come."""

    def __init__(self, app: ASGIApp, most: int | None) -> None:
        self.app = app
        self._most = most
        self._in_progress = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == ALWAYS_ANSWERED:
            await self.app(scope, receive, send)
            return
        if "emerge.overloaded" in scope or (self._most is not None and self._in_progress >= self._most):
            await error_response(scope, OVERLOADED)(scope, receive, send)
            return
        self._in_progress += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._in_progress -= 1
