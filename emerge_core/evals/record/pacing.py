"""The pace at which one provider is asked: concurrent calls, calls per second, and pauses that it asks for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Gate:
    """The gate of one provider. Calls start in the order in which they come."""

    def __init__(self, concurrency: int, per_second: float | None = None) -> None:
        self.concurrency = concurrency
        self._interval_s = 1 / per_second if per_second else 0.0
        self._slots = asyncio.Semaphore(concurrency)
        self._turn = asyncio.Lock()
        self._next = 0.0  # on the loop's clock: when the next call may start

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[None]:
        """Hold the gate for one attempt."""
        async with self._slots:
            async with self._turn:
                await self._wait()
                self._next = asyncio.get_running_loop().time() + self._interval_s
            yield

    def pause(self, seconds: float) -> None:
        """Start no call for so many seconds, as after a 429."""
        self._next = max(self._next, asyncio.get_running_loop().time() + seconds)

    async def _wait(self) -> None:
        wait_s = self._next - asyncio.get_running_loop().time()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
            await self._wait()  # a pause may have come meanwhile
