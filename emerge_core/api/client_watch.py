"""Runs a request's work beside a watch on its client, so that nobody pays for an answer nobody waits for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import Receive

from emerge_core.types import Delta, Sink, Trace

Work = Callable[[Sink | None], Coroutine[Any, Any, Trace]]  # tells the sink of the answer's text as it is written


class ClientGoneError(Exception):
    """The client left before the reply was ready. The work was cancelled."""


class Heard:
    """The deltas on their way from the engine to the client: a `Sink` for the one, `take` for the other."""

    def __init__(self) -> None:
        self._deltas: list[Delta] = []
        self.news: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __call__(self, delta: Delta) -> None:
        self._deltas.append(delta)
        if not self.news.done():
            self.news.set_result(None)

    def take(self) -> list[Delta]:
        taken, self._deltas = self._deltas, []
        if self.news.done():
            self.news = asyncio.get_running_loop().create_future()
        return taken


class Attended:
    """The work under way. `result` also says, by ClientGoneError, that it is no longer wanted."""

    def __init__(self, task: asyncio.Task[Trace], departure: asyncio.Task[None]) -> None:
        self._task = task
        self._departure = departure

    async def done(self, timeout_s: float | None = None, *, or_: asyncio.Future[None] | None = None) -> bool:
        """Whether the work ended within the time, or before the other thing happened. Raises ClientGoneError."""
        awaited = {self._task, self._departure} | ({or_} if or_ else set())
        await asyncio.wait(awaited, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
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
