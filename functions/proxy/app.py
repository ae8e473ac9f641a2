"""The Lambda handler: a REST API proxy event in, a whole reply out."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from typing import Any

import logs
from environment import Environment, event_loop
from gateway import body_of, reply_of, scope_of
from mangum import Mangum

from emerge_core.api.errors import encode_json, error_body
from emerge_core.errors import RequestError

MAX_REPLY = 6_000_000  # bytes: Lambda's limit for a reply, its body escaped as a JSON string, less some room

_loop: asyncio.AbstractEventLoop | None = None
_environment: Environment | None = None


class RestApi:
    """How Mangum reads an event and writes its reply: as the streaming loop does."""

    def __init__(self, event: Any, context: Any, config: Any) -> None:
        self._event, self._context = event, context

    @classmethod
    def infer(cls, event: Any, context: Any, config: Any) -> bool:
        return True

    @property
    def scope(self) -> dict[str, Any]:
        return {**scope_of(self._event), "aws.context": self._context}

    @property
    def body(self) -> bytes:
        return body_of(self._event)

    def __call__(self, response: Any) -> dict[str, Any]:
        return reply_of(response["status"], response["headers"], response["body"])


def handler(event: Any, context: Any) -> dict[str, Any]:
    loop, environment = _started()
    environment.enter(event, context)
    loop.run_until_complete(environment.begin())
    try:
        mangum = Mangum(environment.application, lifespan="off", custom_handlers=[RestApi])
        reply = mangum(event, context)
    finally:
        loop.run_until_complete(environment.end())
    return reply if _fits(reply) else _too_large(reply)


def _started() -> tuple[asyncio.AbstractEventLoop, Environment]:
    """Raises RuntimeError, without the cause's own text: Lambda logs what a handler raises."""
    global _loop, _environment
    if _loop is None or _environment is None:
        loop = event_loop()
        try:
            _environment = Environment()
        except Exception as error:
            loop.close()
            raise RuntimeError(f"init failed: {logs.describe(type(error), error.__traceback__)}") from None
        _loop = loop
    return _loop, _environment


def _fits(reply: dict[str, Any]) -> bool:
    if len(reply["body"]) < MAX_REPLY // 7:  # an escape takes 6 bytes at most
        return True
    return len(json.dumps(reply, ensure_ascii=False).encode(errors="surrogatepass")) <= MAX_REPLY  # as the runtime does


def _too_large(reply: dict[str, Any]) -> dict[str, Any]:
    error = RequestError(
        "The reply is larger than the 6 MB that a buffered Lambda reply may have. Lower `n` or `max_tokens`, "
        "or deploy with ResponseMode=stream.",
        status=502,
        type="upstream_error",
        code="reply_too_large",
        should_retry=False,
    )
    kept = {name: value for name, value in reply["headers"].items() if name.startswith("x-")}
    logging.getLogger("emerge").error("reply too large", extra={"request_id": kept.get("x-request-id")})
    return {
        **reply,
        "statusCode": error.status,
        "headers": {**kept, "content-type": "application/json", "x-should-retry": "false"},
        "body": encode_json(error_body(error)).decode(),
        "isBase64Encoded": False,
    }


if (kind := os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")) != "on-demand":
    from prime import prime_for

    prime_for(kind)
