"""API Gateway's REST proxy integration in ASGI's terms: an event as a scope and a body, a reply as the
event's result (buffered) or as the prelude of a streamed reply. Standard library only.

Both response modes read events here, so that they answer alike. Reading never fails: whatever an event
lacks or garbles gets a default, and `refusal_of` says which events are no requests that may be served.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlencode

HOP_BY_HOP = ("connection", "content-length", "keep-alive", "transfer-encoding")
HOST = re.compile(r"([A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::(\d{1,5}))?")
HEALTH = "/healthz"

RawHeaders = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An event that is not handed to the app, and the reply to it."""

    status: int
    code: str
    message: str
    is_request: bool = True  # of a client: it is then counted

    @property
    def body(self) -> bytes:
        error = {"message": self.message, "type": "invalid_request_error", "param": None, "code": self.code}
        return json.dumps({"error": error}).encode()


NO_REQUEST = Refusal(
    400, "unsupported_event", "The event is not a request of a REST API's proxy integration (version 1.0).", False
)
OTHER_GATEWAY = Refusal(
    403, "unsupported_event", "This function is reached through its REST API only, not by a function URL or HTTP API."
)
NOT_AUTHORIZED = Refusal(401, "invalid_api_key", "The request did not come through the API's authorizer.")
NOT_BASE64 = Refusal(400, "invalid_body", "The body is not the Base64 that the event says it is.")


def refusal_of(event: Any, *, authorized_only: bool, allows_preflight: bool = False) -> Refusal | None:
    """`authorized_only`: a request must bear the authorizer's key id, except for GET /healthz and, with
    `allows_preflight`, a browser's preflight."""
    if not isinstance(event, Mapping):
        return NO_REQUEST
    request = mapping(event.get("requestContext"))
    if event.get("version") == "2.0" or "http" in request:
        return OTHER_GATEWAY
    if not isinstance(event.get("httpMethod"), str) or not event["httpMethod"]:
        return NO_REQUEST
    is_health = event["httpMethod"] == "GET" and text_of(event.get("path")).endswith(HEALTH)
    is_open = is_health or (allows_preflight and event["httpMethod"] == "OPTIONS")
    if authorized_only and not is_open and key_id_of(event) is None:
        return NOT_AUTHORIZED
    return NOT_BASE64 if event.get("isBase64Encoded") and _decoded(event.get("body")) is None else None


def key_id_of(event: Any) -> str | None:
    authorizer = mapping(mapping(mapping(event).get("requestContext")).get("authorizer"))
    found = authorizer.get("keyId") or authorizer.get("principalId")
    return text_of(found) if isinstance(found, str) and found else None


def scope_of(event: Any) -> dict[str, Any]:
    """The ASGI scope of any event at all; the event itself is in `aws.event`."""
    given = mapping(event)
    path = text_of(given.get("path")) or "/"
    headers = [pair for pair in _headers(given) if pair[0] != "host" or HOST.fullmatch(pair[1])]
    named = dict(headers)
    host = HOST.fullmatch(named.get("host", "localhost"))
    forwarded = named.get("x-forwarded-port", "")
    port = (host and host[2]) or (forwarded if forwarded.isascii() and forwarded.isdigit() else "443")
    address = mapping(mapping(given.get("requestContext")).get("identity")).get("sourceIp")
    scheme = named.get("x-forwarded-proto", "https")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": text_of(given.get("httpMethod")) or "GET",
        "scheme": scheme if scheme in ("http", "https") else "https",
        "path": unquote(path),
        "raw_path": quote(path, safe="/%!$&'()*+,;=:@~").encode(),
        "root_path": "",
        "query_string": _query(given),
        "headers": [(name.encode(), value.encode()) for name, value in headers],
        "client": (address, 0) if isinstance(address, str) and address else None,
        "server": (host[1] if host else "localhost", min(int(port[:6]), 65535)),
        "aws.event": event,
    }


def body_of(event: Any) -> bytes:
    """What cannot be decoded is empty: `refusal_of` has refused it."""
    given = mapping(event)
    if given.get("isBase64Encoded"):
        return _decoded(given.get("body")) or b""
    return text_of(given.get("body")).encode()


def reply_of(status: int, headers: RawHeaders, body: bytes) -> dict[str, Any]:
    """The result of a buffered invocation."""
    single, cookies = _joined(headers)
    reply: dict[str, Any] = {"statusCode": status, "headers": single}
    if cookies:
        reply["multiValueHeaders"] = {"set-cookie": cookies}
    try:
        return {**reply, "body": body.decode(), "isBase64Encoded": False}
    except UnicodeDecodeError:
        return {**reply, "body": base64.b64encode(body).decode(), "isBase64Encoded": True}


def prelude_of(start: Mapping[str, Any]) -> dict[str, Any]:
    """Of an `http.response.start` message."""
    headers, cookies = _joined(start.get("headers", ()))
    return {"statusCode": start["status"], "headers": headers, "cookies": cookies}


def request_id_of(event: Any) -> str | None:
    found = mapping(mapping(event).get("requestContext")).get("requestId")
    return text_of(found) if isinstance(found, str) and found else None


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def text_of(value: Any) -> str:
    """Any JSON value as text that UTF-8 can encode: a lone surrogate becomes "?"."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "replace").decode()


def _joined(raw: RawHeaders) -> tuple[dict[str, str], list[str]]:
    """Headers by lower-case name, and cookies. API Gateway itself sets the length and handles the connection."""
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for raw_name, raw_value in raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name == "set-cookie":
            cookies.append(value)
        elif name not in HOP_BY_HOP:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers, cookies


def _headers(event: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    single, multiple = mapping(event.get("headers")), mapping(event.get("multiValueHeaders"))
    known = {name.lower() for name, values in multiple.items() if values}
    for name, value in single.items():
        if name.lower() not in known and value is not None:
            yield text_of(name).lower(), text_of(value)
    for name, values in multiple.items():
        for value in _list(values):
            yield text_of(name).lower(), text_of(value)


def _query(event: Mapping[str, Any]) -> bytes:
    given = mapping(event.get("multiValueQueryStringParameters")) or mapping(event.get("queryStringParameters"))
    pairs = [(text_of(name), text_of(value)) for name, values in given.items() for value in _list(values)]
    return urlencode(pairs).encode()


def _list(value: Any) -> list[Any]:
    return [each for each in value if each is not None] if isinstance(value, list) else [value or ""]


def _decoded(body: Any) -> bytes | None:
    try:
        return base64.b64decode(text_of(body), validate=True)
    except ValueError:
        return None
