"""Servers for a measurement: the replayed upstreams in a process of their own, the proxy in this one, so that the
upstreams' work does not slow what is measured."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import socket
import threading
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from emerge_core.errors import EmergeError

START_S = 120.0


@contextmanager
def replaying(directory: Path, *tasks: str, models: Collection[str], speed: float) -> Iterator[str]:
    """The URL of a replay server for the tasks, which it answers at one address; it ends with the block."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_replay, args=(theirs, directory, tasks, sorted(models), speed), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(START_S):
            raise EmergeError("the replay server did not start")
        started: int | str = ours.recv()
        if isinstance(started, str):
            raise EmergeError(started)
        yield f"http://127.0.0.1:{started}"
    except EOFError as error:
        raise EmergeError("the replay server ended while it started") from error
    finally:
        ours.close()  # which ends it, as our own end would
        process.join(10)
        if process.is_alive():
            process.terminate()
            process.join()
        process.close()


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[str]:
    """Yields the URL of an app served on this event loop, which ends with the block."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else each reply waits for an ACK
        server = _Quiet(_config(app))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            while not server.started:
                if task.done():
                    raise EmergeError("the proxy did not start")
                await asyncio.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


class _Quiet(uvicorn.Server):
    """Leaves signals to the process that runs the measurement."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(app: ASGIApp) -> uvicorn.Config:
    # An idle connection outlives the run: none may be closed at the moment when a client reuses it.
    return uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        lifespan="off",
        timeout_keep_alive=600,
        timeout_graceful_shutdown=2,
    )


def _replay(
    pipe: Connection[Any, Any], directory: Path, tasks: tuple[str, ...], models: list[str], speed: float
) -> None:
    """The other process: sends its port, or why it has none, and ends with the pipe."""
    from emerge_core.evals.recordings.mixture import Mixture
    from emerge_core.evals.recordings.recording import Recordings
    from emerge_core.evals.replay.server import replay_app

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that measures decides when to end
    try:
        recordings = Recordings(directory)
        served = recordings if len(tasks) == 1 else Mixture(recordings, tasks)
        app = replay_app(served, tasks[0] if len(tasks) == 1 else None, speed=speed, models=models)
    except EmergeError as error:
        pipe.send(str(error))
        return
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else each reply waits for an ACK
        server = _Quiet(_config(app))
        threading.Thread(target=_end_with, args=(pipe, server), daemon=True).start()
        pipe.send(listener.getsockname()[1])
        server.run(sockets=[listener])


def _end_with(pipe: Connection[Any, Any], server: uvicorn.Server) -> None:
    try:
        pipe.recv()
    except (EOFError, OSError):
        server.should_exit = True
