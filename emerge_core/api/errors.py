"""Error replies in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from emerge_core.errors import INTERNAL, ConfigError, EmergeError, RequestError

__all__ = [
    "INTERNAL",
    "STOPPING",
    "as_request_error",
    "encode_json",
    "error_body",
    "error_response",
    "invalid",
    "json_response",
]

STOPPING = RequestError(
    "The server is stopping. Ask again: another one, or this one after its restart, will answer.",
    status=503,
    type="server_error",
    code="server_stopping",
    retry_after_s=1,
    should_retry=True,
)


def invalid(param: str | None, message: str, *, code: str | None = None) -> RequestError:
    """A 400 that names the faulty field as the client wrote it."""
    return RequestError(message, param=param, code=code)


def as_request_error(error: EmergeError) -> RequestError:
    if isinstance(error, RequestError):
        return error
    kind = "config_error" if isinstance(error, ConfigError) else "server_error"
    return RequestError(str(error), status=503, type=kind, code=kind)


def error_body(error: RequestError, emerge: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The error in OpenAI's shape."""
    fields: dict[str, Any] = {
        "message": error.message,
        "type": error.type,
        "param": error.param,
        "code": error.code,
    }
    if emerge is not None:
        fields["emerge"] = emerge
    return {"error": fields}


def error_response(
    error: RequestError,
    *,
    emerge: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    headers = dict(headers or {})
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(0, math.ceil(error.retry_after_s)))
    if error.should_retry is not None:
        headers["x-should-retry"] = "true" if error.should_retry else "false"
    return json_response(error_body(error, emerge), status=error.status, headers=headers)


def json_response(body: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(encode_json(body), status_code=status, headers=headers, media_type="application/json")


def encode_json(body: Mapping[str, Any]) -> bytes:
    """Compact UTF-8. Half of a surrogate pair, which a model may have written, becomes "?"."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
