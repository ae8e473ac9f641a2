"""The Lambda handler: a REST API proxy event in, a whole reply out."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

from environment import Environment, event_loop
from mangum import Mangum

from emerge_core.api.errors import encode_json, error_body
from emerge_core.errors import RequestError

MAX_REPLY = 6_000_000  # bytes: Lambda's limit for a reply, its body escaped as a JSON string, less some room

_loop: asyncio.AbstractEventLoop | None = None
_environment: Environment | None = None


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    global _loop, _environment
    if _loop is None or _environment is None:
        _loop, _environment = event_loop(), Environment()
    _loop.run_until_complete(_environment.begin(event, context))
    try:
        reply = Mangum(_environment.application, lifespan="off")(event, context)  # type: ignore[arg-type]
    finally:
        _loop.run_until_complete(_environment.end())
    return reply if _fits(reply) else _too_large(reply)


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
    return {
        **reply,
        "statusCode": error.status,
        "headers": {**kept, "content-type": "application/json", "x-should-retry": "false"},
        "body": encode_json(error_body(error)).decode(),
    }


if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
    from prime import prime

    prime()
