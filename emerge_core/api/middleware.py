"""What every request passes through: path prefixes, hosts, keys, request ids, timing, the last error handler."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Collection, Mapping
from secrets import token_hex
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emerge_core.api.auth import Keyring
from emerge_core.api.errors import INTERNAL, error_response, speaks_anthropic
from emerge_core.api.hosts import HostCheck

log = logging.getLogger(__name__)

_SANE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_OPEN = "/healthz"
_ROOTS = (_OPEN, "/openapi.json")


def route_path(path: str) -> str:
    """The path without what precedes `/v1/`: an API Gateway stage, or a reverse proxy's mount point."""
    if path.startswith("/v1/"):
        return path
    start = path.find("/v1/")
    if start > 0:
        return path[start:]
    return next((root for root in _ROOTS if path.endswith(root)), path)


def id_headers(scope: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
    """The headers with the request's id, for a reply that does not come from the application."""
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), None)
    return _id_headers(route_path(scope["path"]), _request_id(given))


def _request_id(given: bytes | None) -> str:
    """The client's own id for its request if it is harmless, else a new one."""
    return given.decode() if given and _SANE_ID.fullmatch(given) else f"req_{token_hex(16)}"


def _id_headers(path: str, request_id: str) -> list[tuple[bytes, bytes]]:
    value = request_id.encode()
    return [(b"x-request-id", value), *([(b"request-id", value)] if speaks_anthropic(path) else ())]


class RequestMiddleware:
    """ASGI middleware. The key is checked for the same path that the router then matches."""

    def __init__(
        self, app: ASGIApp, keyring: Keyring, hosts: HostCheck | None = None, open_paths: Collection[str] = ()
    ) -> None:
        """`hosts` is None if every `Host` header is accepted. `open_paths` need no key; their host is checked."""
        self.app = app
        self.keyring = keyring
        self.hosts = hosts
        self.open_paths = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        given_id = authorization = api_key = host = None
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                given_id = value
            elif name == b"authorization":
                authorization = value
            elif name == b"x-api-key":
                api_key = value
            elif name == b"host":
                host = value
        request_id = _request_id(given_id)
        path = route_path(scope["path"])
        scope = {**scope, "path": path, "root_path": "", "state": {"request_id": request_id}}
        responding = False

        async def send_with_headers(message: Message) -> None:
            nonlocal responding
            if message["type"] == "http.response.start":
                responding = True
                elapsed_ms = int((time.perf_counter() - began) * 1000)
                message["headers"] = [
                    *message.get("headers", ()),
                    *_id_headers(path, request_id),
                    (b"openai-processing-ms", b"%d" % elapsed_ms),
                ]
            await send(message)

        if path != _OPEN:
            response = self._refusal(scope, host, authorization, api_key)
            if response is not None:
                await response(scope, receive, send_with_headers)
                return
        try:
            await self.app(scope, receive, send_with_headers)
        except ClientDisconnect:
            log.info("client disconnected while it sent its request", extra={"request_id": request_id})
        except Exception:
            log.exception("unhandled error", extra={"request_id": request_id})
            if responding:
                raise  # too late for an error reply: the server must cut the connection
            await error_response(scope, INTERNAL)(scope, receive, send_with_headers)

    def _refusal(
        self, scope: Scope, host: bytes | None, authorization: bytes | None, api_key: bytes | None
    ) -> Response | None:
        if self.hosts and (refusal := self.hosts.refusal(host)):
            return error_response(scope, refusal)
        if scope["path"] in self.open_paths:
            return None
        if refusal := self.keyring.refusal(authorization, api_key):
            return error_response(scope, refusal, headers={"www-authenticate": "Bearer"})
        return None
