"""The result of a buffered invocation: a whole reply as one JSON object, at most as large as Lambda takes it."""

from __future__ import annotations

import json
import logging
from typing import Any

from gateway import RawHeaders, reply_of

from emerge_core.api.errors import encode_json, error_body
from emerge_core.errors import RequestError

MAX_REPLY = 6_000_000  # bytes: Lambda's limit for a reply, its body escaped as a JSON string, less some room


def result_of(status: int, headers: RawHeaders, body: bytes) -> dict[str, Any]:
    """The reply, or an error reply if it is too large for Lambda."""
    reply = reply_of(status, headers, body)
    return reply if _fits(reply) else _too_large(reply)


def encode_result(reply: dict[str, Any]) -> bytes:
    """As the managed runtime encodes what a handler returns."""
    return json.dumps(reply, ensure_ascii=False).encode(errors="surrogatepass")


def _fits(reply: dict[str, Any]) -> bool:
    if len(reply["body"]) < MAX_REPLY // 7:  # an escape takes 6 bytes at most
        return True
    return len(encode_result(reply)) <= MAX_REPLY


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
