"""Cross-origin requests from web applications, for the origins that the operator lists. Closed by default.

A browser's preflight carries no key, so it is answered before the key is checked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emerge_core.errors import ConfigError

_METHODS = b"GET, POST, OPTIONS"
_MAX_AGE_S = b"600"
_EXPOSED = (
    b"x-request-id, request-id, retry-after, x-should-retry, x-emerge-ensemble, x-emerge-selected, "
    b"x-emerge-agreement, x-emerge-cost-usd, x-emerge-degraded"
)
_HEADER_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, -]{0,2000}")


def read_origins(text: str) -> tuple[str, ...]:
    """The origins of a comma-separated list. Raises ConfigError for one that is not `scheme://host[:port]`."""
    origins = tuple(origin.strip().lower() for origin in text.split(",") if origin.strip())
    for origin in origins:
        parts = urlsplit(origin)
        if origin != "*" and (not parts.scheme or not parts.netloc or f"{parts.scheme}://{parts.netloc}" != origin):
            raise ConfigError(f"{origin!r} is not an origin: write https://app.example.com, without a path, or *")
    return origins


class CorsMiddleware:
    """ASGI middleware, outside of the one that checks keys."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self.app = app
        self._origins = frozenset(origin.encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"]) if scope["type"] == "http" and self._origins else {}
        origin = headers.get(b"origin")
        if origin is None or not ({origin.lower(), b"*"} & self._origins):
            await self.app(scope, receive, send)
            return
        allowed = [(b"access-control-allow-origin", origin), (b"vary", b"origin")]
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            wanted = headers.get(b"access-control-request-headers", b"")
            preflight = [
                *allowed,
                (b"access-control-allow-methods", _METHODS),
                (b"access-control-allow-headers", wanted if _HEADER_NAMES.fullmatch(wanted) else b""),
                (b"access-control-max-age", _MAX_AGE_S),
                (b"content-length", b"0"),
            ]
            await send({"type": "http.response.start", "status": 204, "headers": preflight})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return

        async def send_allowed(message: Message) -> None:
            if message["type"] == "http.response.start":
                exposed = (b"access-control-expose-headers", _EXPOSED)
                message["headers"] = [*message.get("headers", ()), *allowed, exposed]
            await send(message)

        await self.app(scope, receive, send_allowed)
