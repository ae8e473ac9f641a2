"""One client's connection: uvicorn's protocol, with time limits on the client and an answer for half-closed ones.

uvicorn waits for ever for the rest of a request's head, and for a client to read its reply. It also takes a client
that closes only its sending side for one that is gone. Until the reply begins, both look the same from here; so a
probe is sent, which a client skips if it is there and which resets the connection if it is not.

The parser is h11: httptools measured 3 to 8 % less CPU per request, and has no bound on the size of a head.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

MAX_HEAD = 64 * 1024  # bytes of a request line and headers
FIRST_PROBE_S = 0.05
LAST_PROBE_S = 5.0

PROBE = b"HTTP/1.1 100 Continue\r\n\r\n"  # every HTTP client skips it
TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


@dataclass
class ConnectionEvents:
    """What the server tells the application of a request's connection: `receive` wakes up when a field changes."""

    stopping: bool = False


class State(ServerState):
    """What the connections of one server share."""

    def __init__(self, *, served: int, head_s: float, unread_s: float) -> None:
        super().__init__()
        self.served = served  # connections; those beyond are told that the server is overloaded
        self.head_s = head_s  # seconds for a client to send the head of a request
        self.unread_s = unread_s  # seconds for a client to read what was written to it


class Connection(H11Protocol):
    server_state: State

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._half_closed = False
        self._head_size = 0
        self._events = ConnectionEvents()
        self._unread_timer: asyncio.TimerHandle | None = None
        self._probe_timer: asyncio.TimerHandle | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._head_timer, self._unread_timer, self._probe_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._begin_request()
        elif self._idle and not self.transport.is_closing():
            self._expect_head()
            self._head_size += len(data)
            if self._head_size > MAX_HEAD:
                self._refuse(TOO_LONG)

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
        super().on_response_complete()
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

    def abort(self) -> None:
        self.transport.abort()

    def _should_upgrade(self) -> bool:
        return False  # no WebSocket is served: the application answers

    @property
    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _begin_request(self) -> None:
        self._stop_timer("_head_timer")
        self._head_size = 0
        self.scope["emerge.connection"] = self._events  # type: ignore[typeddict-unknown-key]
        if len(self.server_state.connections) > self.server_state.served:
            self.scope["emerge.overloaded"] = True  # type: ignore[typeddict-unknown-key]
            self.headers.append(CLOSE_HEADER)  # as if the client had asked for it: frees the descriptor

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


def make_connection(config: Any, state: State, app_state: dict[str, Any]) -> Connection:
    return Connection(config=config, server_state=state, app_state=app_state)
