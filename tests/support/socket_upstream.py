"""An HTTP upstream on loopback, in the test's own event loop, that writes its scripted replies byte by byte and
records what it was sent."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Reply:
    body: Any = None  # bytes and str as they are, anything else as JSON
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    does: str = "answer"  # or "hang", or "close" without an answer; or "stall" after the last read
    keep_alive: bool = True
    reads: Sequence[bytes] | None = None  # a streamed body, as the client's reads will get it
    ends: bool = True  # else the connection is cut after the last read

    async def write(self, writer: asyncio.StreamWriter) -> None:
        if self.reads is None:
            writer.write(self.encode())
            await writer.drain()
            return
        headers = {"content-type": "text/event-stream", "transfer-encoding": "chunked", **self.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {self.status} Scripted\r\n{head}\r\n".encode())
        for read in filter(None, self.reads):
            writer.write(b"%x\r\n%b\r\n" % (len(read), read))
            await writer.drain()
            await asyncio.sleep(0.001)
        if self.does == "stall":
            return
        if self.ends:
            writer.write(b"0\r\n\r\n")
            await writer.drain()

    def encode(self) -> bytes:
        content = self.body if isinstance(self.body, (bytes, str)) else json.dumps(self.body)
        content = content.encode() if isinstance(content, str) else content
        headers = {"content-type": "application/json", "content-length": str(len(content)), **self.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"HTTP/1.1 {self.status} Scripted\r\n{head}\r\n".encode() + content


@dataclass
class Sent:
    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Upstream:
    replies: list[Reply]  # the last one repeats
    sent: list[Sent] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    hung_up: int = 0  # connections that the client closed before an answer
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self.open -= 1

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        start, *lines = head.strip().split("\r\n")
        method, path, _ = start.split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        content = await reader.readexactly(int(headers.get("content-length", 0)))
        self.sent.append(Sent(method, path, headers, json.loads(content) if content else None))
        reply = self.replies[min(len(self.sent), len(self.replies)) - 1]
        if reply.does == "hang":
            self.hung_up += not await reader.read(1)
            return False
        if reply.does == "close":
            return False
        await reply.write(writer)
        if reply.does == "stall":
            self.hung_up += not await reader.read(1)
        return reply.keep_alive and reply.ends


@asynccontextmanager
async def listening(*replies: Reply, tls: ssl.SSLContext | None = None) -> AsyncIterator[Upstream]:
    upstream = Upstream(list(replies))
    handshake_s = 1.0 if tls else None  # asyncio's server notices late that a client left in the middle of it
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0, ssl=tls, ssl_handshake_timeout=handshake_s)
    host, port = server.sockets[0].getsockname()
    upstream.url = f"{'https' if tls else 'http'}://{host}:{port}"
    try:
        yield upstream
    finally:
        server.close()
        async with asyncio.timeout(10):  # which a client that leaves a connection open does not keep
            while upstream.open:
                await asyncio.sleep(0.001)
