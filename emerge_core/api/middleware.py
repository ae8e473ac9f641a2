"""What surrounds every route: path prefixes, keys, request ids, timing, and the last resort for errors."""

from __future__ import annotations

import logging
import re
import time
import uuid

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emerge_core.api.auth import Keyring
from emerge_core.api.errors import INTERNAL, error_response

log = logging.getLogger(__name__)

_SANE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_OPEN = "/healthz"
_ROOTS = (_OPEN, "/openapi.json")


def routed(path: str) -> str:
    """The path that is routed: what precedes `/v1/` (an API Gateway stage, a proxy's mount point) is dropped."""
    if path.startswith("/v1/"):
        return path
    start = path.find("/v1/")
    if start > 0:
        return path[start:]
    return next((root for root in _ROOTS if path.endswith(root)), path)


class Surface:
    """ASGI middleware. The key is checked against the very path that the router then sees."""

    def __init__(self, app: ASGIApp, keyring: Keyring) -> None:
        self.app = app
        self.keyring = keyring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        given_id = authorization = None
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                given_id = value
            elif name == b"authorization":
                authorization = value
        sane = given_id is not None and _SANE_ID.fullmatch(given_id)
        request_id = given_id.decode() if given_id and sane else f"req_{uuid.uuid4().hex}"
        path = routed(scope["path"])
        scope = {**scope, "path": path, "root_path": "", "state": {"request_id": request_id}}
        underway = False

        async def send_named(message: Message) -> None:
            nonlocal underway
            if message["type"] == "http.response.start":
                underway = True
                elapsed_ms = int((time.perf_counter() - started) * 1000)
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode()),
                    (b"openai-processing-ms", b"%d" % elapsed_ms),
                ]
            await send(message)

        refusal = None if path == _OPEN else self.keyring.refusal(authorization)
        if refusal:
            response = error_response(refusal, headers={"www-authenticate": "Bearer"})
            await response(scope, receive, send_named)
            return
        try:
            await self.app(scope, receive, send_named)
        except ClientDisconnect:
            log.info("client left before its request was read", extra={"request_id": request_id})
        except Exception:
            log.exception("unhandled error", extra={"request_id": request_id})
            if underway:
                raise  # too late for an error reply: the server must cut the connection
            await error_response(INTERNAL)(scope, receive, send_named)
