"""Accepts connections, and pauses while there are as many as the process has descriptors for.

asyncio's own server logs a traceback for each attempt when descriptors run out, and lets clients take those that
upstream calls need. Under load a turn of the event loop takes long, so the server looks at the listener in between.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable

log = logging.getLogger("emerge.server")

BATCH = 64  # connections per look, so that others get their turn
SLICE_S = 0.02  # for which connections are answered at once per look
TURN_S = 0.01  # after which `accept_if_due` looks again
PAUSE_S = 0.02
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Acceptor:
    def __init__(
        self,
        listener: socket.socket,
        make: Callable[[socket.socket], asyncio.Protocol | None],
        *,
        open_connections: Callable[[], int],
        most: int,
        close_idle: Callable[[], bool] = lambda: False,
    ) -> None:
        """`make` returns the protocol of an accepted connection, or None if it has answered and closed it.
        `close_idle` is called when `most` connections are open and another client waits; it returns whether it has
        closed some."""
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._make = make
        self._open = open_connections
        self._most = most
        self._close_idle = close_idle
        self._connecting: set[asyncio.Task[None]] = set()
        self._resume: asyncio.TimerHandle | None = None
        self._accepting = False
        self._due = 0.0

    def start(self) -> None:
        self._listener.setblocking(False)
        self._loop.add_reader(self._listener, self._accept)
        self._accepting = True

    def stop(self) -> None:
        self._accepting = False
        if self._resume is not None:
            self._resume.cancel()
        self._loop.remove_reader(self._listener)

    def accept_if_due(self) -> None:
        if self._accepting and self._loop.time() > self._due:
            self._accept()

    def _accept(self) -> None:
        end = self._loop.time() + SLICE_S
        connecting = 0
        while connecting < BATCH and self._loop.time() < end:
            if self._open() + len(self._connecting) >= self._most:
                if connecting:
                    break  # called again if another client waits
                if not self._close_idle():
                    log.warning("accepting pauses: as many clients are connected as descriptors allow")
                self._pause()
                break
            try:
                accepted, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                break  # another worker was faster, or the client left
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                log.warning("accepting pauses: no descriptor is left for another client")
                self._pause()
                break
            accepted.setblocking(False)
            if protocol := self._make(accepted):
                connecting += 1
                task = self._loop.create_task(self._connect(accepted, protocol))
                self._connecting.add(task)
                task.add_done_callback(self._connecting.discard)
        self._due = self._loop.time() + TURN_S

    async def _connect(self, accepted: socket.socket, protocol: asyncio.Protocol) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: protocol, accepted)
        except OSError as error:  # the client left at once
            accepted.close()
            protocol.connection_lost(error)

    def _pause(self) -> None:
        self._accepting = False
        self._loop.remove_reader(self._listener)
        self._resume = self._loop.call_later(PAUSE_S, self.start)
