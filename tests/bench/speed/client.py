"""The load of the speed bench: HTTP clients that cost next to nothing beside the servers they measure."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import httptools

from tests.bench.speed.upstream import WORD


class Reply(NamedTuple):
    status: int
    body: bytes
    first_s: float  # from the request to the first event that carries text, or to the end
    last_s: float  # to the end
    closed: bool  # whether the server closes the connection after it


class Client(asyncio.Protocol):
    """One connection. `ask` sends a request and returns its reply."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    async def ask(self, request: bytes) -> Reply:
        """Raises ConnectionError if the server closes the connection before the reply ends."""
        if self._transport is None or self.lost:
            raise ConnectionResetError("closed")
        self._parser = httptools.HttpResponseParser(self)
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._body: list[bytes] = []
        self._first = 0.0
        began = time.perf_counter()
        self._transport.write(request)
        await self._done
        ended = time.perf_counter()
        keep = self._parser.should_keep_alive()
        status = self._parser.get_status_code()
        return Reply(status, b"".join(self._body), (self._first or ended) - began, ended - began, not keep)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        if not self._first and WORD in data:
            self._first = time.perf_counter()
        self._body.append(data)

    def on_message_complete(self) -> None:
        if not self._done.done() and self._parser.get_status_code() >= 200:
            self._done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if hasattr(self, "_done") and not self._done.done():
            self._done.set_exception(ConnectionResetError(str(exc or "closed by the server")))


async def connect(port: int) -> Client:
    _, client = await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", port)
    return client


@asynccontextmanager
async def clients(port: int, count: int) -> AsyncIterator[list[Client]]:
    made = [await connect(port) for _ in range(count)]
    try:
        yield made
    finally:
        for client in made:
            client.close()


def post(path: str, body: bytes) -> bytes:
    return (
        b"POST %b HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nauthorization: Bearer none\r\n"
        b"content-length: %d\r\n\r\n%b" % (path.encode(), len(body), body)
    )


def get(path: str) -> bytes:
    return b"GET %b HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n" % path.encode()


async def ask_many(connections: Sequence[Client], request: bytes, count: int) -> list[Reply]:
    """`count` replies, asked for by all connections at once, each one request at a time. Raises RuntimeError at the
    first that is not a 200."""
    left = count
    replies: list[Reply] = []

    async def run(client: Client) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            reply = await client.ask(request)
            if reply.status != 200:
                raise RuntimeError(f"{reply.status}: {reply.body[:500]!r}")
            replies.append(reply)

    await asyncio.gather(*(run(client) for client in connections))
    return replies
