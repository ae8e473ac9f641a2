"""Server-sent events: the transport of every streamed reply, whichever API its events speak.

A request that fails at once gets an ordinary error reply, as it would without streaming. After a short wait the
headers and a comment are sent, so that clients and gateways see a live connection; from then on an error can
only be an event of the stream.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from time import perf_counter
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from emerge_core.api.client_watch import ClientGoneError, DeltaQueue, ServerStoppingError, Work, watch_client
from emerge_core.api.errors import INTERNAL, STOPPING, as_request_error, encode_json, error_response
from emerge_core.api.trace_object import TraceLevel, emerge_object, response_headers
from emerge_core.errors import EmergeError, RequestError
from emerge_core.types import Decision, Delta, Trace

log = logging.getLogger(__name__)

KEEPALIVE = b": keepalive\n\n"
HOLD_S = 0.5  # before the headers are sent: an upstream's refusal within it still gets its own status
SLICE_S = 0.01  # for which deltas that have piled up may hold the event loop
PIECES = 8  # into which a text is split that is whole before it is streamed


class EventStream(Response, ABC):
    """Streams deltas as they come, then the decision, with comments in between. Cancels the work when the client
    disconnects. A subclass writes the events of its API."""

    def __init__(self, work: Work, *, level: TraceLevel, keepalive_s: float, headers: Mapping[str, str]) -> None:
        self.work = work
        self.level = level
        self.keepalive_s = keepalive_s
        self.status_code = 200
        self.background = None
        self.body = b""
        self.init_headers(
            {
                "content-type": "text/event-stream; charset=utf-8",
                "cache-control": "no-cache",
                "x-accel-buffering": "no",
                **headers,
            }
        )
        del self.headers["content-length"]

    def opening_events(self) -> Iterable[bytes]:
        """The events that precede all others."""
        return ()

    def keepalive(self) -> bytes:
        """What is sent while there is nothing else to send."""
        return KEEPALIVE

    @abstractmethod
    def delta_events(self, delta: Delta) -> Iterator[bytes]:
        """The events for a part of the answer that arrived while it is being written."""

    @abstractmethod
    def final_events(self, trace: Trace, decision: Decision) -> Iterator[bytes]:
        """The events for the answer, less what the deltas carried, and for the end of the stream."""

    @abstractmethod
    def error_events(self, error: RequestError, emerge: Mapping[str, Any] | None) -> Iterator[bytes]:
        """The events for an error after the first byte."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._respond(scope, receive, _Connection(self, scope, receive, send))
        except (ClientGoneError, OSError):
            log.info("client disconnected during the stream", extra=scope.get("state"))

    async def _respond(self, scope: Scope, receive: Receive, connection: _Connection) -> None:
        try:
            await self._stream(scope, receive, connection)
        except ServerStoppingError:
            await connection.fail(STOPPING, None, {})

    async def _stream(self, scope: Scope, receive: Receive, connection: _Connection) -> None:
        news = asyncio.Event()
        deltas = DeltaQueue(news)
        async with watch_client(self.work(deltas), scope, receive, news) as watched:
            wait_s = min(HOLD_S, self.keepalive_s)
            while True:
                done = await watched.wait(wait_s)
                events: list[bytes] = []
                since = perf_counter()
                for delta in deltas.take():
                    events += self.delta_events(delta)
                    if perf_counter() - since > SLICE_S:
                        await connection.write(b"".join(events))
                        await asyncio.sleep(0)
                        events, since = [], perf_counter()
                if events or not done:
                    await connection.write(b"".join(events) or self.keepalive())
                if done:
                    break
                wait_s = self.keepalive_s
            await self._finish(watched.result, connection)

    async def _finish(self, result: Callable[[], Trace], connection: _Connection) -> None:
        error, emerge, headers = INTERNAL, None, {}
        try:
            trace = result()
            headers = response_headers(trace)
            if trace.decision is not None:
                events = b"".join(self.final_events(trace, trace.decision))
                await connection.write(events, headers)
                await connection.close()
                return
            error, emerge = trace.failure or INTERNAL, emerge_object(trace, self.level)
        except EmergeError as fault:
            error = as_request_error(fault)
        except (ClientGoneError, OSError):
            raise
        except Exception:
            log.exception("unhandled error in a stream")
        await connection.fail(error, emerge, headers)


class _Connection:
    """Sends the reply, which begins with the first event or as an error reply."""

    def __init__(self, stream: EventStream, scope: Scope, receive: Receive, send: Send) -> None:
        self._stream = stream
        self._asgi = scope, receive, send
        self._send = send
        self._begun = False

    async def write(self, events: bytes, headers: Mapping[str, str] | None = None) -> None:
        if not self._begun:
            self._begun = True
            self._stream.headers.update(headers or {})
            start = {"type": "http.response.start", "status": 200, "headers": self._stream.raw_headers}
            await self._send(start)
            events = b"".join(self._stream.opening_events()) + events
        await self._send({"type": "http.response.body", "body": events, "more_body": True})

    async def fail(self, error: RequestError, emerge: Mapping[str, Any] | None, headers: Mapping[str, str]) -> None:
        if self._begun:
            await self.write(b"".join(self._stream.error_events(error, emerge)))
            await self.close()
        else:
            await error_response(self._asgi[0], error, emerge=emerge, headers=headers)(*self._asgi)

    async def close(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def pieces(text: str, count: int = PIECES) -> Iterator[str]:
    """The text in at most `count` parts of about equal length, cut after white space where possible."""
    size = max(1, -(-len(text) // count))
    start = 0
    while start < len(text):
        end = start + size
        while end < len(text) and not text[end - 1].isspace() and end < start + 2 * size:
            end += 1
        yield text[start:end]
        start = end


def data(body: Mapping[str, Any]) -> bytes:
    return b"data: " + encode_json(body) + b"\n\n"
