"""Runs a request's work beside a watch on its client, so that nobody pays for an answer nobody waits for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import Receive

from emerge_core.types import Trace


class ClientGoneError(Exception):
    """The client left before the reply was ready. The work was cancelled."""


class Attended:
    """The work under way. `result` also says, by ClientGoneError, that it is no longer wanted."""

    def __init__(self, task: asyncio.Task[Trace], departure: asyncio.Task[None]) -> None:
        self._task = task
        self._departure = departure

    async def done(self, timeout_s: float | None = None) -> bool:
        """Whether the work ended within the time. Raises ClientGoneError."""
        await asyncio.wait((self._task, self._departure), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if self._departure.done() and not self._task.done():
            raise ClientGoneError
        return self._task.done()

    def result(self) -> Trace:
        if self._task.cancelled():
            raise RuntimeError("the engine gave up a request that nobody had cancelled")
        return self._task.result()


@asynccontextmanager
async def attended(work: Coroutine[Any, Any, Trace], receive: Receive) -> AsyncIterator[Attended]:
    """However the block is left, the work and the watch are finished afterwards."""
    tasks = asyncio.create_task(work), asyncio.create_task(_departure(receive))
    try:
        yield Attended(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _departure(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
