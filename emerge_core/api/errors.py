"""Error replies, in the shape of the API that the client speaks.

OpenAI's is `{"error": {"message", "type", "param", "code"}}`. Anthropic's is the same with `"type": "error"` beside it
and error types of its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from emerge_core.errors import INTERNAL, ConfigError, EmergeError, RequestError

__all__ = [
    "INTERNAL",
    "OVERLOADED_CODE",
    "STOPPING",
    "THREAD_NOT_FOUND",
    "THREAD_UNSUPPORTED",
    "anthropic_error_body",
    "as_request_error",
    "encode_json",
    "error_body",
    "error_response",
    "invalid",
    "json_response",
    "speaks_anthropic",
]

OVERLOADED_CODE = "overloaded"
THREAD_NOT_FOUND = "thread_not_found"
THREAD_UNSUPPORTED = "thread_unsupported_request"
_MESSAGES = "/v1/messages"
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
}

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


def anthropic_error_body(error: RequestError, emerge: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The error in Anthropic's shape, with the `emerge` object beside it."""
    fields: dict[str, Any] = {"type": _anthropic_type(error), "message": error.message}
    fields |= {"code": error.code, "param": error.param}
    if error.code in (THREAD_NOT_FOUND, THREAD_UNSUPPORTED):  # Anthropic's own codes, where its clients look for them
        fields["details"] = {"error_code": error.code}
    body: dict[str, Any] = {"type": "error", "error": fields}
    return body if emerge is None else {**body, "emerge": emerge}


def speaks_anthropic(path: str) -> bool:
    """Whether the clients of a path (as `route_path` returns it) expect Anthropic's errors."""
    return path == _MESSAGES or path.startswith(f"{_MESSAGES}/")


def error_response(
    scope: Mapping[str, Any],
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
    if speaks_anthropic(scope["path"]):
        status = 529 if error.code == OVERLOADED_CODE else error.status
        return json_response(anthropic_error_body(error, emerge), status=status, headers=headers)
    return json_response(error_body(error, emerge), status=error.status, headers=headers)


def _anthropic_type(error: RequestError) -> str:
    if error.code == OVERLOADED_CODE:
        return "overloaded_error"
    return _ANTHROPIC_TYPES.get(error.status, "api_error" if error.status >= 500 else "invalid_request_error")


def json_response(body: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(encode_json(body), status_code=status, headers=headers, media_type="application/json")


def encode_json(body: Mapping[str, Any]) -> bytes:
    """Compact UTF-8. Half of a surrogate pair, which a model may have written, becomes "?"."""
    return _encoder.encode(body).encode("utf-8", "replace")


_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
