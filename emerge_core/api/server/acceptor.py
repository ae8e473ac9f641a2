"""Accepts connections, and pauses while there are as many as the process has descriptors for.

asyncio's own server logs a traceback for each attempt when descriptors run out, and lets clients take those that
upstream calls need.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable

log = logging.getLogger("emerge.server")

BATCH = 64  # connections per wake-up, so that others get their turn
PAUSE_S = 0.02
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Acceptor:
    def __init__(
        self,
        listener: socket.socket,
        make: Callable[[], asyncio.Protocol],
        *,
        open_connections: Callable[[], int],
        most: int,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._make = make
        self._open = open_connections
        self._most = most
        self._connecting: set[asyncio.Task[None]] = set()
        self._resume: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._listener.setblocking(False)
        self._loop.add_reader(self._listener, self._accept)

    def stop(self) -> None:
        if self._resume is not None:
            self._resume.cancel()
        self._loop.remove_reader(self._listener)

    def _accept(self) -> None:
        for _ in range(BATCH):
            if self._open() + len(self._connecting) >= self._most:
                self._pause("as many clients are connected as descriptors allow")
                return
            try:
                accepted, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return  # another worker was faster, or the client left
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                self._pause("no descriptor is left for another client")
                return
            accepted.setblocking(False)
            task = self._loop.create_task(self._connect(accepted))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make, accepted)
        except OSError:  # the client left at once
            accepted.close()

    def _pause(self, why: str) -> None:
        log.warning("accepting pauses: %s", why)
        self._loop.remove_reader(self._listener)
        self._resume = self._loop.call_later(PAUSE_S, self.start)
