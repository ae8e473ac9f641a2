"""The transport of a streamed reply: server-sent events, whatever form of the API they speak.

A reply that fails at once is an ordinary error reply, as it would be without streaming. After a short
wait headers and a comment leave, so that clients and gateways see a live connection; from then on a
failure can only be told inside the stream.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from emerge_core.api.client_watch import ClientGoneError, Heard, Work, attended
from emerge_core.api.errors import INTERNAL, as_request_error, encode_json, error_response
from emerge_core.api.trace_object import TraceLevel, emerge_object, headers_of
from emerge_core.errors import EmergeError, RequestError
from emerge_core.types import Decision, Delta, Trace

log = logging.getLogger(__name__)

KEEPALIVE = b": keepalive\n\n"
HOLD_S = 0.5  # in which a refusal by an upstream still gets its own status
PIECES = 8  # of a text that is whole before it is streamed


class EventStream(Response, ABC):
    """Streams the answer's text as it is heard, the decision as soon as it is there, and comments in between.
    Cancels the work when the client leaves. A form of the API says which events tell of it."""

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

    def opening(self) -> Iterable[bytes]:
        """The events that precede all others."""
        return ()

    @abstractmethod
    def heard(self, delta: Delta) -> Iterator[bytes]:
        """A part of the answer, while it is written."""

    @abstractmethod
    def answer(self, trace: Trace, decision: Decision) -> Iterator[bytes]:
        """The answer, or what of it was not heard yet, and the end of the stream."""

    @abstractmethod
    def failure(self, error: RequestError, emerge: Mapping[str, Any] | None) -> Iterator[bytes]:
        """An error after the first byte."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._respond(receive, _Wire(self, scope, receive, send))
        except (ClientGoneError, OSError):
            log.info("client left during the stream", extra=scope.get("state"))

    async def _respond(self, receive: Receive, wire: _Wire) -> None:
        heard = Heard()
        async with attended(self.work(heard), receive) as running:
            wait_s = min(HOLD_S, self.keepalive_s)
            while True:
                done = await running.done(wait_s, or_=heard.news)
                events = [event for delta in heard.take() for event in self.heard(delta)]
                if events or not done:
                    await wire.write(b"".join(events) or KEEPALIVE)
                if done:
                    break
                wait_s = self.keepalive_s
            await self._conclude(running.result, wire)

    async def _conclude(self, result: Callable[[], Trace], wire: _Wire) -> None:
        error, emerge, headers = INTERNAL, None, {}
        try:
            trace = result()
            headers = headers_of(trace)
            if trace.decision is not None:
                events = b"".join(self.answer(trace, trace.decision))
                await wire.write(events, headers)
                await wire.close()
                return
            error, emerge = trace.failure or INTERNAL, emerge_object(trace, self.level)
        except EmergeError as fault:
            error = as_request_error(fault)
        except (ClientGoneError, OSError):
            raise
        except Exception:
            log.exception("unhandled error in a stream")
        await wire.fail(error, emerge, headers)


class _Wire:
    """The reply's way to the client. It begins with the first event, or with an error reply."""

    def __init__(self, stream: EventStream, scope: Scope, receive: Receive, send: Send) -> None:
        self._stream = stream
        self._asgi = scope, receive, send
        self._send = send
        self._open = False

    async def write(self, events: bytes, headers: Mapping[str, str] | None = None) -> None:
        if not self._open:
            self._open = True
            self._stream.headers.update(headers or {})
            start = {"type": "http.response.start", "status": 200, "headers": self._stream.raw_headers}
            await self._send(start)
            events = b"".join(self._stream.opening()) + events
        await self._send({"type": "http.response.body", "body": events, "more_body": True})

    async def fail(self, error: RequestError, emerge: Mapping[str, Any] | None, headers: Mapping[str, str]) -> None:
        if self._open:
            await self.write(b"".join(self._stream.failure(error, emerge)))
            await self.close()
        else:
            await error_response(error, emerge=emerge, headers=headers)(*self._asgi)

    async def close(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def pieces(text: str, count: int = PIECES) -> Iterator[str]:
    """The text in at most `count` parts of about equal length, cut after white space where there is some."""
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
