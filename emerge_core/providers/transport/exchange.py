"""One exchange with an upstream: a JSON body out, a JSON object or a stream of events back.

Everything that can go wrong becomes an `UpstreamError`. The event loop stays free: a long stream yields to other
tasks, and a large request or reply is encoded or parsed in a thread by the interpreter, which can be interrupted, not
in one call of C.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from time import perf_counter
from typing import Any, NamedTuple, Protocol, TypeVar

from emerge_core.providers.errors import (
    Scrubber,
    bad_response,
    connection_failed,
    http_failure,
    json_object,
    not_encodable,
)
from emerge_core.providers.rate_limits import rate_limits
from emerge_core.providers.transport.client import MAX_REPLY, HttpClient, Response
from emerge_core.providers.transport.connection import TransportError
from emerge_core.providers.transport.content import Content
from emerge_core.providers.transport.sse import drain, events
from emerge_core.types import Delta, JsonObject, RateLimits, Sink

SLICE_S = 0.01  # for which a stream that arrives in one piece may hold the event loop
LARGE = 65_536  # bytes from which a JSON text may be worth a thread
MANY = 60_000  # values that C parses in about 20 ms
_NODE = 16  # bytes that a value counts for
SOME = 5_000  # values whose translation takes about 10 ms
TOO_MANY = 2_000_000

Cut = Callable[[AsyncIterator[bytes]], AsyncGenerator[bytes]]
Read = TypeVar("Read")


class Reply(NamedTuple):
    """An upstream's whole reply and the rate limits that it reports. A `large` one is translated off the loop."""

    body: dict[str, Any]
    rate_limits: RateLimits
    large: bool = False


class Assembler(Protocol):
    """Puts a streamed reply together."""

    content: Content

    def take(self, data: bytes | dict[str, Any]) -> bool:
        """Takes the data of an event, parsed already if it is large. Returns True if it was the last one."""
        ...


async def post(
    client: HttpClient,
    path: str,
    body: JsonObject,
    *,
    scrub: Scrubber,
    headers: Mapping[str, str] | None = None,
    limit: int = MAX_REPLY,
) -> Reply:
    """The JSON object of a reply with status 200. Raises UpstreamError."""
    try:
        response = await _send(client, path, body, scrub=scrub, headers=headers)
        content = await response.read(limit)
    except TransportError as error:
        raise connection_failed(str(error), sent=error.sent, scrub=scrub) from None
    large = _values(content) >= SOME
    return Reply(await parsed(content), rate_limits(response.headers), large)


async def stream(
    client: HttpClient,
    path: str,
    body: JsonObject,
    *,
    scrub: Scrubber,
    into: Assembler,
    headers: Mapping[str, str] | None = None,
    cut: Cut = events,
) -> RateLimits:
    """Hands the data of each event to `into`, until that has the last one. A reply that does not stream is one event.
    Raises UpstreamError."""
    try:
        response = await _send(client, path, body, scrub=scrub, headers=headers)
        try:
            if cut is events and "event-stream" not in response.headers.get("content-type", ""):
                await _take(await response.read(), into)
                return rate_limits(response.headers)
            received = _bounded(response.chunks(), into.content)
            await _each(cut(received), into)
            await drain(received)
            return rate_limits(response.headers)
        finally:
            await response.aclose()
    except TransportError as error:
        raise connection_failed(str(error), sent=error.sent, scrub=scrub) from None


async def _bounded(received: AsyncIterator[bytes], content: Content) -> AsyncGenerator[bytes]:
    size = 0
    async for chunk in received:
        size += len(chunk)
        content.check_wire(size)
        yield chunk


async def _each(pieces: AsyncGenerator[bytes], into: Assembler) -> None:
    since = perf_counter()
    async with aclosing(pieces) as found:
        async for data in found:
            if data.strip() and await _take(data, into):
                return
            if perf_counter() - since > SLICE_S:
                await asyncio.sleep(0)
                since = perf_counter()


async def _send(
    client: HttpClient, path: str, body: JsonObject, *, scrub: Scrubber, headers: Mapping[str, str] | None
) -> Response:
    """A reply of status 200."""
    try:
        encoded = await asyncio.to_thread(_encoded, body) if _is_large(body) else _encoded_at_once(body)
    except (ValueError, TypeError, RecursionError) as error:
        raise not_encodable(error) from None
    response = await client.post(path, encoded, headers)
    if response.status != 200:
        content = await response.read()
        raise http_failure(response.status, response.headers, content, scrub=scrub)
    return response


_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _encoded_at_once(body: JsonObject) -> bytes:
    return _encoder.encode(body).encode()


def _encoded(body: JsonObject) -> bytes:
    return "".join(_encoder.iterencode(body)).encode()


def _is_large(body: JsonObject) -> bool:
    """Whether encoding the body takes so long that other requests would notice."""
    left, nodes = LARGE, [body]
    while nodes and left > 0:
        node: Any = nodes.pop()
        if isinstance(node, str):
            left -= len(node)
        elif isinstance(node, dict):
            left -= _NODE * len(node)
            nodes.extend(node.values())
        elif isinstance(node, (list, tuple)):
            left -= _NODE * len(node)
            nodes.extend(node)
    return left <= 0


async def _take(data: bytes, into: Assembler) -> bool:
    """Lets a thread take a large event, whose translation would hold the event loop."""
    values = _values(data)
    if values < SOME:
        return into.take(data)
    return await asyncio.to_thread(into.take, data if values < MANY else await parsed(data))


async def parsed(content: bytes) -> dict[str, Any]:
    """The object in a reply. The time of the C parser, which no other thread can interrupt, grows with the number of
    values; the time of the interpreter's own is longer, but others run meanwhile."""
    values = _values(content)
    if values < MANY:
        return json_object(content)
    if values > TOO_MANY:
        raise bad_response("the upstream's reply has too many values", provoked=True)
    return await asyncio.to_thread(json_object, content, _interruptible.decode)


def _values(content: bytes) -> int:
    if len(content) < LARGE:
        return 0
    return content.count(b"{") + content.count(b"[") + content.count(b",") // 4


def on_loop(emit: Sink) -> Sink:
    """The same sink for an assembler that runs in a thread at times: deltas reach it on the running loop, in order."""
    loop, thread = asyncio.get_running_loop(), threading.get_ident()

    def emit_on_loop(delta: Delta) -> None:
        if threading.get_ident() == thread:
            emit(delta)
        else:
            loop.call_soon_threadsafe(emit, delta)

    return emit_on_loop


async def off_loop(large: bool, read: Callable[[], Read]) -> Read:
    """The result of `read`, which is called in a thread if what it reads is large."""
    return await asyncio.to_thread(read) if large else read()


class _Interruptible(json.JSONDecoder):
    """The interpreter's own parser; only strings and numbers are read by C."""

    def __init__(self) -> None:
        super().__init__()
        from json.decoder import JSONObject  # type: ignore[attr-defined]

        self.parse_object = JSONObject
        self.scan_once = json.scanner.py_make_scanner(self)  # type: ignore[attr-defined]


_interruptible = _Interruptible()
