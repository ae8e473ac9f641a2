"""One client's connection: uvicorn's protocol, with time limits on the client and an answer for half-closed ones.

uvicorn waits for ever for the rest of a request's head, and for a client to read its reply. It also takes a client
that closes only its sending side for one that is gone. Until the reply begins, both look the same from here; so a
probe is sent, which a client skips if it is there and which resets the connection if it is not.

A request beyond those that the process answers at once is refused here, before the application sees it, so that the
requests in progress keep their speed.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from emerge_core.api.admission import is_refusable
from emerge_core.api.server.first_request import raw_refusal
from emerge_core.types import Call, Progress, Role

MAX_HEAD = 64 * 1024  # bytes of a request line and headers, and of a chunked body's trailers
MAX_REFUSED_BODY = 1 << 20  # bytes that are read of a request that is refused anyway
IDLE_S = 5.0  # after which a connection without a request may be closed for a new one
FIRST_PROBE_S = 0.05
LAST_PROBE_S = 5.0

PROBE = b"HTTP/1.1 100 Continue\r\n\r\n"  # every HTTP client skips it
TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


@dataclass
class ConnectionEvents:
    """What the server tells the application of a request's connection. When a field changes, `receive` wakes up and
    `on_change` is called."""

    stopping: bool = False
    lost: bool = False
    on_change: Callable[[], None] | None = None
    progress: Progress | None = None  # what watches the upstream calls of its requests

    def tell(self) -> None:
        if self.on_change is not None:
            self.on_change()


class BetweenCalls:
    """Gives clients that wait to be accepted their turn whenever an upstream call ends: under load hundreds of calls
    end in one turn of the event loop."""

    def __init__(self, state: State) -> None:
        self._state = state

    def began(self, call_id: str, role: Role, model: str) -> None:
        pass

    def ended(self, call: Call) -> None:
        self._state.between_requests()


class State(ServerState):
    """What the connections of one server share."""

    def __init__(self, *, requests: int, served: int, head_s: float, unread_s: float) -> None:
        super().__init__()
        self.requests = requests  # at once; those beyond are told that the server is overloaded
        self.served = served  # connections that stay open after a reply
        self.head_s = head_s  # seconds for a client to send the head of a request
        self.unread_s = unread_s  # seconds for a client to read what was written to it
        self.arriving = 0  # requests that were seen on connections that are still being set up
        self.between_requests: Callable[[], None] = lambda: None  # called often while the process is busy
        self.between_calls = BetweenCalls(self)

    @property
    def overloaded(self) -> bool:
        return len(self.tasks) + self.arriving >= self.requests


class Connection(HttpToolsProtocol):
    server_state: State
    _arriving = False

    def expect_request(self) -> None:
        """Counts the request that was seen on the connection as one of those in progress."""
        self._arriving = True
        self.server_state.arriving += 1

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._half_closed = False
        self._head_size = 0
        self._head_done = False
        self._refused: RequestResponseCycle | None = None  # its request is read to its end and then refused
        self._refused_size = 0
        self._idle_since = self.loop.time()
        self._events = ConnectionEvents(progress=self.server_state.between_calls)
        self._unread_timer: asyncio.TimerHandle | None = None
        self._probe_timer: asyncio.TimerHandle | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._arrived()
        if self.transport is None:
            return  # it was never made
        for timer in (self._head_timer, self._unread_timer, self._probe_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        self._events.lost = True
        self._events.tell()

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        self._arrived()
        super().data_received(data)
        self.server_state.between_requests()
        if self.cycle is before and self._idle and not self.transport.is_closing():
            self._expect_head()
            self._head_size += len(data)
            if self._head_size > MAX_HEAD:
                self._refuse(TOO_LONG)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_done = False
        self._head_size = 0
        self.scope["emerge.connection"] = self._events  # type: ignore[typeddict-unknown-key]

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_size += len(name) + len(value)
        if self._head_size > MAX_HEAD:
            self._refuse(TOO_LONG)
        elif not self._head_done:  # else it is a trailer
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_done = True
        if self.transport.is_closing():
            return
        self._stop_timer("_head_timer")
        super().on_headers_complete()
        self.cycle.transport = _HeadWithBody(self.transport)  # type: ignore[assignment]
        if len(self.connections) > self.server_state.served or self.parser.should_upgrade():
            self.cycle.keep_alive = False  # frees the descriptor; after an upgrade the parser cannot go on

    def on_body(self, body: bytes) -> None:
        if self._refused is None:
            if self.cycle is not None:
                super().on_body(body)
            return
        self._refused_size += len(body)
        if self._refused_size > MAX_REFUSED_BODY:
            self._refused.keep_alive = False
            self._send_refusal(self._refused)

    def on_message_complete(self) -> None:
        if self.cycle is None:
            return
        super().on_message_complete()
        if self._refused is not None and not self._refused.more_body:
            self._send_refusal(self._refused)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if not self.server_state.overloaded or not is_refusable(cycle.scope):
            super()._start_asgi_task(cycle, app)
            return
        self._refused = cycle
        self._refused_size = 0
        if cycle.more_body:
            self._expect_head()  # its body has as long
        else:
            self._send_refusal(cycle)

    def _send_refusal(self, cycle: RequestResponseCycle) -> None:
        self._refused = None
        self._stop_timer("_head_timer")
        if cycle.response_complete or self.transport.is_closing():
            return
        self.transport.write(raw_refusal(cycle.scope, close=not cycle.keep_alive))
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Whether the connection stays open for writing: while a whole request waits for its reply."""
        if self._idle or self.cycle.more_body:
            return None
        self._half_closed = True
        self._probe(FIRST_PROBE_S)
        return True

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_timer("_unread_timer")

    def on_response_complete(self) -> None:
        self._idle_since = self.loop.time()
        super().on_response_complete()
        self.server_state.between_requests()
        self._head_size = 0
        if self._half_closed:
            self.transport.close()
        if self.transport.get_write_buffer_size():
            self._expect_reading()

    def stop(self) -> None:
        """Tells the application that the server stops now."""
        self._events.stopping = True
        if not self._idle:
            self.cycle.message_event.set()
        self._events.tell()

    def abort(self) -> None:
        self.transport.abort()

    def close_if_idle(self) -> bool:
        """Closes the connection if its client has sent nothing for a while. Returns whether it did."""
        idle = self._idle and not self._head_size and self.loop.time() - self._idle_since > IDLE_S
        if not idle or self.transport.is_closing() or self._readable():
            return False
        self.transport.close()
        return True

    def _should_upgrade(self) -> bool:
        return False  # no WebSocket is served: the application answers

    def _unsupported_upgrade_warning(self) -> None:
        pass

    @property
    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _arrived(self) -> None:
        if self._arriving:
            self._arriving = False
            self.server_state.arriving -= 1

    def _readable(self) -> bool:
        """Whether bytes have come that the event loop has not handed over yet."""
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def _expect_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.server_state.head_s, self._refuse, TOO_LATE)

    def _expect_reading(self) -> None:
        if self._unread_timer is None:
            self._unread_timer = self.loop.call_later(self.server_state.unread_s, self._abort_if_unread)

    def _abort_if_unread(self) -> None:
        self._unread_timer = None
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    def _refuse(self, reply: bytes) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            if self._head_size:
                self.transport.write(reply)
            self.transport.close()

    def _probe(self, wait_s: float) -> None:
        if self._idle or self.transport.is_closing():
            return
        if self.cycle.response_started:
            self.cycle.message_event.set()  # the stream writes a comment
        else:
            self.transport.write(PROBE)
        self._probe_timer = self.loop.call_later(wait_s, self._probe, min(wait_s * 2, LAST_PROBE_S))

    def _stop_timer(self, name: str) -> None:
        timer: asyncio.TimerHandle | None = getattr(self, name)
        if timer is not None:
            timer.cancel()
            setattr(self, name, None)


class _HeadWithBody:
    """A reply's way to the transport, which sends its head together with the first part of its body."""

    __slots__ = ("_head", "_transport", "is_closing")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head: bytes | None = b""
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        if self._head is None:
            self._transport.write(data)
        elif self._head:
            head, self._head = self._head, None
            self._transport.write(head + data)
        else:
            self._head = data
            asyncio.get_running_loop().call_soon(self._flush)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, None
            self._transport.write(head)


def make_connection(config: Any, state: State, app_state: dict[str, Any]) -> Connection:
    return Connection(config=config, server_state=state, app_state=app_state)
