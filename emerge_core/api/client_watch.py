"""Runs a request's work beside a watch on its client, and cancels the work when the client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from starlette.types import Receive, Scope

from emerge_core.types import Delta, Sink, Trace

Work = Callable[[Sink | None], Coroutine[Any, Any, Trace]]  # passes deltas of the answer to the sink as they come


class ClientGoneError(Exception):
    """The client disconnected before the reply was ready. The work was cancelled."""


class ServerStoppingError(Exception):
    """The server stops before the reply is ready. The work was cancelled."""


class DeltaQueue:
    """Carries deltas from the engine, which calls it as its `Sink`, to the stream, which takes them in batches. `news`
    is set with every delta."""

    def __init__(self, news: asyncio.Event) -> None:
        self._deltas: list[Delta] = []
        self._news = news

    def __call__(self, delta: Delta) -> None:
        self._deltas.append(delta)
        self._news.set()

    def take(self) -> list[Delta]:
        taken, self._deltas = self._deltas, []
        return taken


class WatchedWork:
    """Work in progress whose client is watched."""

    def __init__(self, task: asyncio.Task[Trace], disconnection: asyncio.Task[None], news: asyncio.Event) -> None:
        self._task = task
        self._disconnection = disconnection
        self._news = news
        for watched in (task, disconnection):
            watched.add_done_callback(lambda _: news.set())

    async def wait(self, timeout_s: float) -> bool:
        """Whether the work has ended. Returns at the latest after the timeout, and as soon as there is news. Raises
        ClientGoneError and ServerStoppingError."""
        timer = asyncio.get_running_loop().call_later(timeout_s, self._news.set)
        try:
            await self._news.wait()
        finally:
            timer.cancel()
        self._news.clear()
        if self._disconnection.done() and not self._task.done():
            self._disconnection.result()
            raise ClientGoneError
        return self._task.done()

    def result(self) -> Trace:
        if self._task.cancelled():
            raise _cancelled_by_nobody()
        return self._task.result()


@asynccontextmanager
async def watch_client(
    work: Coroutine[Any, Any, Trace], scope: Scope, receive: Receive, news: asyncio.Event
) -> AsyncIterator[WatchedWork]:
    """However the block is left, the work and the watch have ended afterwards. `news` is set when either ends, and when
    the server probes a client that has closed its sending side."""
    tasks = asyncio.create_task(work), asyncio.create_task(_disconnected(scope, receive, news.set))
    try:
        yield WatchedWork(*tasks, news)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def run_watched(work: Coroutine[Any, Any, Trace], scope: Scope, receive: Receive) -> Trace:
    """Runs the work in the caller's own task and returns its result: a task of its own would cost turns of the event
    loop, for which every reply would wait. The work is cancelled as `asyncio.timeout` cancels. Raises ClientGoneError
    and ServerStoppingError."""
    caller = asyncio.current_task()
    assert caller is not None  # noqa: S101  (a coroutine runs in a task)
    cancelling = caller.cancelling()
    cause: BaseException | None = None
    working = True

    def interrupt(why: BaseException) -> None:
        nonlocal cause
        if working and cause is None:
            cause = why
            caller.cancel()

    with _watching(scope, receive, interrupt):
        try:
            return await work
        except asyncio.CancelledError:
            if cause is not None and caller.cancelling() - 1 <= cancelling:
                raise cause from None
            if caller.cancelling() <= cancelling:
                raise _cancelled_by_nobody() from None
            raise
        finally:
            working = False
            if cause is not None:
                caller.uncancel()


@contextmanager
def _watching(scope: Scope, receive: Receive, interrupt: Callable[[BaseException], None]) -> Iterator[None]:
    """Calls `interrupt` when the client leaves or the server stops. `emerge serve` reports both by the connection; with
    other servers a task waits for the disconnection."""
    connection = scope.get("emerge.connection")
    if connection is None:

        def ended(watch: asyncio.Task[None]) -> None:
            if not watch.cancelled():
                interrupt(watch.exception() or ClientGoneError())

        watch = asyncio.create_task(_disconnected(scope, receive, None))
        watch.add_done_callback(ended)
        try:
            yield
        finally:
            watch.cancel()
        return

    def changed() -> None:
        if connection.stopping:
            interrupt(ServerStoppingError())
        elif connection.lost:
            interrupt(ClientGoneError())

    connection.on_change = changed
    changed()
    try:
        yield
    finally:
        connection.on_change = None


def _cancelled_by_nobody() -> RuntimeError:
    return RuntimeError("the engine cancelled a request that nothing else had cancelled")


async def _disconnected(scope: Scope, receive: Receive, on_probe: Callable[[], None] | None) -> None:
    """Raises ServerStoppingError. Between the end of the body and the disconnection, `emerge serve` makes `receive`
    return when its state of the connection changes; other servers do not."""
    connection = scope.get("emerge.connection")
    while (await receive())["type"] != "http.disconnect":
        if connection is not None and connection.stopping:
            raise ServerStoppingError
        if on_probe is not None:
            on_probe()
