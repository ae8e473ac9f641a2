"""From the bytes of a request to its JSON object.

Bodies come from strangers, so they are bounded before they are parsed, and a large one is parsed in a thread:
the event loop stays free for other requests.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from starlette.requests import Request

from emerge_core.api.errors import invalid
from emerge_core.api.fields import Body, shown
from emerge_core.api.limits import MAX_BODY, MAX_DEPTH, bound_request, bound_structure, too_large
from emerge_core.errors import RequestError

T = TypeVar("T")

_MAX_DRAINED = 4 * MAX_BODY
PART_S = 15.0  # for the next part of a body
BODY_S = 120.0  # for the whole body
_INLINE = 32_000  # bytes; a larger body is parsed in a thread
_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}  # by their first bytes
_BOM = b"\xef\xbb\xbf"


def check_content_type(http: Request) -> None:
    """Accepts JSON, no content type, and the form type that `curl -d` sends. A browser must declare JSON: a form
    needs no preflight, so any web page could otherwise spend this server's money."""
    kind = http.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        return
    if kind not in ("", "application/x-www-form-urlencoded") or "origin" in http.headers:
        raise RequestError(
            f"The content type is {kind[:80] or 'missing'}: send JSON, as application/json.",
            status=415,
            param="content-type",
            code="unsupported_content_type",
            should_retry=False,
        )


async def receive_body(http: Request) -> bytes:
    """The whole body. Raises RequestError: 408 if it stops coming, 413 if it is too large, after reading it up to a
    point: a client that writes everything before it reads would otherwise see a broken connection instead."""
    encoding = http.headers.get("content-encoding", "").strip().lower()
    parts: list[bytes] = []
    size = 0
    loop = asyncio.get_running_loop()
    end = loop.time() + BODY_S
    try:
        async with asyncio.timeout_at(min(loop.time() + PART_S, end)) as limit:
            async for part in http.stream():
                limit.reschedule(min(loop.time() + PART_S, end))
                size += len(part)
                if size <= MAX_BODY:
                    parts.append(part)
                elif size > _MAX_DRAINED:
                    break
    except TimeoutError:
        raise RequestError(
            f"The body did not arrive in time: {size} bytes did.", status=408, code="request_timeout"
        ) from None
    if encoding not in ("", "identity"):
        raise _compressed(encoding)
    if size > MAX_BODY:
        raise too_large()
    return b"".join(parts)


async def parse_body(raw: bytes, parse: Callable[[Body], T]) -> T:
    """What `parse` makes of the body's object. Raises RequestError as `parse_json`, `bound_request` and `parse` do."""

    def parsed() -> T:
        body = parse_json(raw)
        bound_request(body)
        return parse(body)

    return parsed() if len(raw) <= _INLINE else await asyncio.to_thread(parsed)


def parse_json(raw: bytes) -> dict[str, Any]:
    """The JSON object in a body. Raises RequestError for anything else, and for NaN, infinity, unpaired
    surrogates and nesting beyond the bound."""
    for magic, encoding in _COMPRESSED.items():
        if raw.startswith(magic):
            raise _compressed(encoding)
    if raw.startswith(_BOM):
        raise invalid("body", "The body begins with a byte order mark: send JSON in UTF-8 without one.")
    bound_structure(raw)
    try:
        body = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant, parse_float=_finite)
        if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and _depth_exceeds(body, MAX_DEPTH):
            raise RecursionError
        if b"\\ud" in raw or b"\\uD" in raw:
            json.dumps(body, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise invalid("body", f"The body is nested too deeply: at most {MAX_DEPTH} levels.") from None
    except UnicodeError:
        raise invalid("body", "The body is not valid Unicode: send JSON in UTF-8.") from None
    except ValueError as error:
        raise invalid("body", f"The body is not valid JSON: {str(error)[:200]}.") from None
    if not isinstance(body, dict):
        raise invalid("body", f"The body must be a JSON object, not {shown(body)}.")
    return body


def _compressed(encoding: str) -> RequestError:
    return RequestError(
        f"The body is compressed ({encoding[:40]}): send it uncompressed, without `content-encoding`.",
        status=415,
        param="content-encoding",
        code="unsupported_content_encoding",
        should_retry=False,
    )


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"the number {digits[:40]} is too large")
    return value


def _depth_exceeds(body: Any, limit: int) -> bool:
    level = [body]
    for _ in range(limit):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return False
    return True
