"""What API Gateway's REST proxy integration says, in ASGI's terms: an event as a scope and a body, the
start of a response as the prelude of a streamed reply. Standard library only.

The scope is the one that Mangum makes in buffered mode, but for a header given several times, which
stays several headers.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote, urlencode

HOP_BY_HOP = ("connection", "content-length", "keep-alive", "transfer-encoding")


class EventError(ValueError):
    """The event is none of a REST API's proxy integration."""


def scope_of(event: Any) -> dict[str, Any]:
    """Raises EventError."""
    if not isinstance(event, Mapping) or not isinstance(event.get("httpMethod"), str):
        raise EventError("no `httpMethod`: the event is none of a REST API's proxy integration (payload version 1.0)")
    path = event.get("path") or "/"
    headers = list(_headers(event))
    given = dict(headers)
    host, _, port = given.get("host", "localhost").partition(":")
    query = event.get("multiValueQueryStringParameters") or event.get("queryStringParameters") or {}
    address = ((event.get("requestContext") or {}).get("identity") or {}).get("sourceIp")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": event["httpMethod"],
        "scheme": given.get("x-forwarded-proto", "https"),
        "path": unquote(path),
        "raw_path": quote(path, safe="/%!$&'()*+,;=:@~").encode(),
        "root_path": "",
        "query_string": urlencode(query, doseq=True).encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers],
        "client": (address, 0) if address else None,
        "server": (host, int(port or given.get("x-forwarded-port") or 443)),
        "aws.event": event,
    }


def body_of(event: Mapping[str, Any]) -> bytes:
    """Raises EventError."""
    body = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return str(body).encode()
    try:
        return base64.b64decode(body, validate=True)
    except ValueError as error:
        raise EventError("`body` is not the Base64 that `isBase64Encoded` says") from error


def prelude_of(start: Mapping[str, Any]) -> dict[str, Any]:
    """Of an `http.response.start` message. The length and the connection are API Gateway's own affair."""
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for raw_name, raw_value in start.get("headers", ()):
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name == "set-cookie":
            cookies.append(value)
        elif name not in HOP_BY_HOP:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return {"statusCode": start["status"], "headers": headers, "cookies": cookies}


def _headers(event: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    single, multiple = event.get("headers") or {}, event.get("multiValueHeaders") or {}
    known = {name.lower() for name in multiple}
    for name, value in single.items():
        if name.lower() not in known:
            yield name.lower(), str(value)
    for name, values in multiple.items():
        for value in values:
            yield name.lower(), str(value)
