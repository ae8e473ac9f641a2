"""Answers to a new connection's first request that need neither the application nor a turn of the event loop.

Under load every step of a request waits for one turn of the loop. A health check would take five of them, and so would
each refusal, while it holds a descriptor. A client sends its request as soon as the kernel has accepted the
connection, so most requests can be read when the connection is taken from the listener's queue.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from enum import Enum, auto
from functools import lru_cache
from http import HTTPStatus
from typing import Any

import httptools
from starlette.responses import Response

from emerge_core.api.admission import HEALTH_CHECK, is_refusable, refusal
from emerge_core.api.errors import speaks_anthropic
from emerge_core.api.middleware import id_headers, route_path

MAX_READ = 65_536  # bytes of a request that is answered here


class Look(Enum):
    """What was found on a new connection."""

    NOTHING_YET = auto()
    REQUEST = auto()  # the beginning of one, at least
    ANSWERED = auto()


class FirstRequests:
    def __init__(self, *, health: Callable[[], Response], overloaded: Callable[[], bool]) -> None:
        self._health = health
        self._overloaded = overloaded

    def answer(self, accepted: socket.socket) -> Look:
        """Answers the request that waits on a connection and closes it, if the whole request is there and is not for
        the application. Otherwise the connection stays as it was."""
        try:
            data = accepted.recv(MAX_READ, socket.MSG_PEEK)
            if not data:
                return Look.NOTHING_YET
            if not self._overloaded() and not data.startswith(b"GET "):
                return Look.REQUEST
            response = self._response(_Request(data))
            if response is None:
                return Look.REQUEST
            accepted.recv(len(data))  # bytes that were not read would reset the connection
            accepted.send(response)
            accepted.close()
        except OSError:  # nothing has come yet, or the client left
            return Look.NOTHING_YET
        return Look.ANSWERED

    def _response(self, request: _Request) -> bytes | None:
        scope = request.scope
        if not request.complete or scope["query_string"]:
            return None
        if scope["method"] == "GET" and route_path(scope["path"]) == HEALTH_CHECK:
            return _with_id(*_raw(self._health(), close=True), scope)
        if self._overloaded() and is_refusable(scope):
            return raw_refusal(scope, close=True)
        return None


class _Request:
    """A request's head as an ASGI scope has it, if the whole request is in `data` and nothing else."""

    def __init__(self, data: bytes) -> None:
        self.scope: dict[str, Any] = {"method": "", "path": "", "query_string": b"", "headers": []}
        self.complete = False
        self._url = b""
        parser = httptools.HttpRequestParser(self)
        try:
            parser.feed_data(data)
            url = httptools.parse_url(self._url) if self.complete else None
        except (httptools.HttpParserError, httptools.HttpParserInvalidURLError, httptools.HttpParserUpgrade):
            self.complete = False
            return
        if url is not None:
            method, path = parser.get_method().decode("latin-1"), (url.path or b"").decode("latin-1")
            self.scope |= {"method": method, "path": path, "query_string": url.query or b""}

    def on_message_begin(self) -> None:
        self.complete = False
        self._url = b""
        self.scope["headers"] = []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.scope["headers"].append((name.lower(), value))

    def on_message_complete(self) -> None:
        self.complete = True


def raw_refusal(scope: Mapping[str, Any], *, close: bool) -> bytes:
    """The bytes of the reply to a request that the server has no room for."""
    return _with_id(*_raw_refusal(speaks_anthropic(route_path(scope["path"])), close), scope)


@lru_cache
def _raw_refusal(anthropic: bool, close: bool) -> tuple[bytes, bytes]:
    return _raw(refusal({"path": "/v1/messages" if anthropic else "/"}), close=close)


def _with_id(head: bytes, body: bytes, scope: Mapping[str, Any]) -> bytes:
    return b"".join([head, *(b"%b: %b\r\n" % header for header in id_headers(scope)), b"\r\n", body])


def _raw(response: Response, *, close: bool) -> tuple[bytes, bytes]:
    """The status line and headers of a reply, without the empty line, and its body."""
    status = response.status_code
    lines = [b"HTTP/1.1 %d %b" % (status, _phrase(status)), *(b"%b: %b" % each for each in response.raw_headers)]
    return b"\r\n".join([*lines, *([b"connection: close"] if close else []), b""]), bytes(response.body)


def _phrase(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:  # Anthropic's 529
        return b""
