"""Work that runs in the request's own task, and is cancelled when the client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, cast

import pytest

from emerge_core.api.client_watch import ClientGoneError, ServerStoppingError, run_watched
from emerge_core.api.server.connection import ConnectionEvents
from emerge_core.types import Trace

TRACE = cast("Trace", object())
Leave = Callable[[], None]


class OtherServer:
    """A server that tells of the client by `receive` alone."""

    def __init__(self) -> None:
        self.scope: dict[str, Any] = {"type": "http"}
        self._left = asyncio.Event()
        self.leave: Leave = self._left.set

    async def receive(self) -> dict[str, Any]:
        await self._left.wait()
        return {"type": "http.disconnect"}


class OwnServer(OtherServer):
    """`emerge serve`, which tells by the connection."""

    def __init__(self) -> None:
        super().__init__()
        self.events = ConnectionEvents()
        self.scope["emerge.connection"] = self.events
        self.leave = lambda: self._tell(lost=True)

    def stop(self) -> None:
        self._tell(stopping=True)

    def _tell(self, **changes: bool) -> None:
        for name, value in changes.items():
            setattr(self.events, name, value)
        self.events.tell()


SERVERS = pytest.mark.parametrize("server_kind", [OtherServer, OwnServer])


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())


@SERVERS
def test_the_work_s_result(server_kind: type[OtherServer]) -> None:
    async def main() -> None:
        server = server_kind()

        async def work() -> Trace:
            await turns()
            return TRACE

        assert await run_watched(work(), server.scope, server.receive) is TRACE
        server.leave()  # afterwards: nothing is left to cancel
        await turns()

    run(main)


@SERVERS
@pytest.mark.parametrize("after", range(4))
def test_the_client_leaves(server_kind: type[OtherServer], after: int) -> None:
    cancelled = []

    async def main() -> None:
        server = server_kind()

        async def work() -> Trace:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(True)
                raise
            return TRACE

        async def leave() -> None:
            await turns(after)
            server.leave()

        leaving = asyncio.create_task(leave())
        with pytest.raises(ClientGoneError):
            await run_watched(work(), server.scope, server.receive)
        await leaving
        await turns()  # the request's task goes on, for example to log
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()

    run(main)
    assert cancelled == [True]


@SERVERS
@pytest.mark.parametrize("after", range(8))
def test_the_client_leaves_while_the_work_ends(server_kind: type[OtherServer], after: int) -> None:
    """In whichever turn of the loop it is: the request has its trace or is cancelled, and its task can go on."""

    async def main() -> None:
        server = server_kind()

        async def work() -> Trace:
            await turns(4)
            return TRACE

        async def leave() -> None:
            await turns(after)
            server.leave()

        leaving = asyncio.create_task(leave())
        with suppress(ClientGoneError):
            assert await run_watched(work(), server.scope, server.receive) is TRACE
        await leaving
        await turns()
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()

    run(main)


def test_the_client_had_left_before() -> None:
    async def main() -> None:
        server = OwnServer()
        server.leave()

        async def work() -> Trace:
            await asyncio.Event().wait()
            return TRACE

        with pytest.raises(ClientGoneError):
            await run_watched(work(), server.scope, server.receive)

    run(main)


def test_the_server_stops() -> None:
    async def main() -> None:
        server = OwnServer()

        async def work() -> Trace:
            asyncio.get_running_loop().call_soon(server.stop)
            await asyncio.Event().wait()
            return TRACE

        with pytest.raises(ServerStoppingError):
            await run_watched(work(), server.scope, server.receive)

    run(main)


@SERVERS
def test_a_cancellation_from_outside_is_passed_on(server_kind: type[OtherServer]) -> None:
    async def main() -> None:
        server = server_kind()

        async def work() -> Trace:
            await asyncio.Event().wait()
            return TRACE

        request = asyncio.create_task(run_watched(work(), server.scope, server.receive))
        await turns()
        request.cancel()
        await asyncio.wait({request})
        assert request.cancelled()

    run(main)


@SERVERS
def test_work_that_cancels_itself_is_a_fault_of_ours(server_kind: type[OtherServer]) -> None:
    async def main() -> None:
        server = server_kind()

        async def work() -> Trace:
            raise asyncio.CancelledError

        with pytest.raises(RuntimeError, match="nothing else had cancelled"):
            await run_watched(work(), server.scope, server.receive)

    run(main)
