"""One serving process: from its listening socket to its shutdown.

At SIGTERM or SIGINT it accepts no more, gives the requests in progress a grace period, and then ends what is left:
streams with an error event, other requests with a 503.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn
from starlette.responses import Response

from emerge_core.api.server.acceptor import Acceptor
from emerge_core.api.server.connection import Connection, State, make_connection
from emerge_core.api.server.descriptors import Capacity
from emerge_core.api.server.first_request import FirstRequests, Look

GRACE_S = 10.0  # for requests in progress when the server is told to stop
ENDING_S = 2.0  # after it, for their last bytes
# Longer than clients keep an idle connection (httpx: 5 s), so that none is closed while it is being reused.
KEEP_ALIVE_S = 75
HEAD_S = 10.0
UNREAD_S = 30.0


class Server(uvicorn.Server):
    """`health` returns the answer to a health check. `reload` is awaited at each SIGHUP."""

    def __init__(
        self,
        app: Any,
        listener: socket.socket,
        *,
        capacity: Capacity,
        health: Callable[[], Response],
        reload: Callable[[], Awaitable[None]] | None = None,
        head_s: float = HEAD_S,
        unread_s: float = UNREAD_S,
        grace_s: float = GRACE_S,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                ws="none",
                lifespan="on",
            )
        )
        self.stopped_by: signal.Signals | None = None
        self._listener = listener
        self._capacity = capacity
        self._health = health
        self._reload = reload
        self._reloading: set[asyncio.Task[None]] = set()
        self._grace_s = grace_s
        self.server_state: State = State(
            requests=capacity.requests, served=capacity.served, head_s=head_s, unread_s=unread_s
        )

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        signals = (signal.SIGINT, signal.SIGTERM)
        for number in signals:
            loop.add_signal_handler(number, self._stop, number)
        if self._reload is not None:
            loop.add_signal_handler(signal.SIGHUP, self._begin_reload, self._reload)
        try:
            await self._serve(sockets)
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            raise RuntimeError("the application did not start")
        connections = self.server_state.connections
        first = FirstRequests(health=self._health, overloaded=lambda: self.server_state.overloaded)

        def make(accepted: socket.socket) -> Connection | None:
            look = first.answer(accepted)
            if look is Look.ANSWERED:
                return None
            connection = make_connection(self.config, self.server_state, self.lifespan.state)
            if look is Look.REQUEST:
                connection.expect_request()
            return connection

        self._acceptor = Acceptor(
            self._listener,
            make,
            open_connections=lambda: len(connections),
            most=self._capacity.accepted,
            close_idle=self._close_idle,
        )
        self._acceptor.start()
        self.server_state.between_requests = self._acceptor.accept_if_due
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._acceptor.stop()
        self._listener.close()
        for connection in self._connections():
            connection.shutdown()
        await self._requests_end(self._grace_s)
        for connection in self._connections():
            connection.stop()
        await self._requests_end(ENDING_S)
        for task in list(self.server_state.tasks):
            task.cancel()
        for connection in self._connections():
            connection.abort()
        await asyncio.sleep(0)
        await self.lifespan.shutdown()

    def _close_idle(self) -> bool:
        closed = [connection for connection in self._connections() if connection.close_if_idle()]
        return bool(closed)

    def _connections(self) -> list[Connection]:
        return [each for each in self.server_state.connections if isinstance(each, Connection)]

    async def _requests_end(self, timeout_s: float) -> None:
        """Returns when no request is in progress and all replies are sent, or after the timeout."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        while (self.server_state.tasks or self.server_state.connections) and not self.force_exit and loop.time() < end:  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    def _stop(self, number: signal.Signals) -> None:
        self.force_exit = self.should_exit and number == signal.SIGINT
        self.stopped_by = self.stopped_by or number
        self.should_exit = True

    def _begin_reload(self, reload: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            await reload()

        task = asyncio.get_running_loop().create_task(run())
        self._reloading.add(task)
        task.add_done_callback(self._reloading.discard)
