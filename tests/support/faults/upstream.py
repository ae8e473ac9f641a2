"""An upstream that fails as it is told, over real sockets and in three wire formats.

The model's name says what happens: `reset_in_body|The answer is 42.` is the fault `reset_in_body` in a
call that would have been answered so; `0.1|The answer is 42.` has some fault in a tenth of its calls.
One asyncio server serves all faults and formats at once, so thousands of cases run in one event loop;
what no server can do (refusing a connection, never accepting one) has addresses of its own.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from tests.support.faults import wire
from tests.support.faults.catalogue import FAULTS, Fault, Kind

BY_NAME = {fault.name: fault for fault in FAULTS}
WELL = Fault(name="well")
_SSE = Fault(name="well", headers=(("content-type", "text/event-stream"),))
_EVENTS = {
    "openai": _SSE,
    "anthropic": _SSE,
    "ollama": Fault(name="well", headers=(("content-type", "application/x-ndjson"),)),
    "bedrock": Fault(name="well", headers=(("content-type", "application/vnd.amazon.eventstream"),)),
}
PATHS: dict[str, tuple[Kind, bool]] = {  # (wire format, whether it is for embeddings)
    "/v1/chat/completions": ("openai", False),
    "/v1/embeddings": ("openai", True),
    "/v1/messages": ("anthropic", False),
    "/api/chat": ("ollama", False),
    "/api/embed": ("ollama", True),
}
BASE = {"openai": "/v1", "anthropic": "", "ollama": "", "bedrock": ""}


def model(fault: Fault | None, text: str, case: str = "") -> str:
    """The name of a model that has this fault, or none, and answers so. `case` keeps names apart."""
    return "|".join([(fault or WELL).name, text, case])


@dataclass
class FaultyUpstream:
    """`calls` counts the requests that arrived, by the model's name; `open` the connections."""

    calls: Counter[str] = field(default_factory=Counter)
    open: int = 0
    address: str = ""
    closed: str = ""  # refuses connections
    deaf: str = ""  # never accepts one
    among: tuple[Fault, ...] = FAULTS  # those of a model that has some fault now and then
    says: Callable[[str], str] = str  # what is answered, from what the model's name says
    provoked: Callable[[dict[str, Any]], tuple[int, bytes] | None] = lambda asked: None  # instead, by a request itself
    chance: random.Random = field(default_factory=lambda: random.Random(1))

    def url(self, kind: Kind, fault: Fault | None = None) -> str:
        """The base URL of a provider of that kind whose models may have this fault."""
        hosts = {"refuse": self.closed, "ignore": self.deaf}
        return hosts.get((fault and fault.does) or "", self.address) + BASE[kind]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, OSError):  # the client has hung up
            pass
        finally:
            writer.transport.abort()
            self.open -= 1

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection may be used again."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        start, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        asked = json.loads(await reader.readexactly(int(headers["content-length"])))
        path = start.split(" ")[1]
        kind: Kind
        if path.startswith("/model/"):  # Bedrock names the model and asks for a stream in the path
            _, _, model_id, operation = path.split("/")
            kind, embeds = "bedrock", False
            asked |= {"model": unquote(model_id), "stream": operation == "converse-stream"}
        else:
            kind, embeds = PATHS[path]
        self.calls[asked["model"]] += 1
        if found := self.provoked(asked):
            writer.write(_head(Fault(name="provoked", status=found[0]), len(found[1])) + found[1])
            await writer.drain()
            return True
        name, text, *_ = asked["model"].split("|")
        fault = BY_NAME.get(name) or self._sometimes(name, kind, embeds)
        key = headers.get("x-api-key") or headers.get("authorization", "")
        return await self._act(fault, kind, self.says(text), asked, embeds, key, reader, writer)

    def _sometimes(self, name: str, kind: Kind, embeds: bool) -> Fault:
        if not name[0].isdigit() or self.chance.random() >= float(name):
            return WELL
        able = [fault for fault in self.among if kind in fault.only and fault.does not in ("refuse", "ignore")]
        return self.chance.choice([fault for fault in able if fault.embeds or not embeds])

    async def _act(
        self,
        fault: Fault,
        kind: Kind,
        text: str,
        asked: dict[str, Any],
        embeds: bool,
        key: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        if fault.does == "reset":
            _reset(writer)
            return False
        if fault.does == "close":
            return False
        if fault.does == "hang":
            await reader.read(1)  # until the client hangs up
            return False
        streamed = bool(asked.get("stream")) and not wire.is_raw(kind, fault.body)
        if fault.does == "endless":
            parts = wire.endless(kind) if streamed else [b" " * 1_000_000]
            writer.write(_head(_EVENTS[kind] if streamed else WELL, None))
            while True:  # until the client hangs up
                writer.write(b"".join(parts))
                await writer.drain()
        if streamed:
            parts = [b"%x\r\n%b\r\n" % (len(part), part) for part in wire.events(kind, fault.body, text)]
            writer.write(_head(_EVENTS[kind], None, (("transfer-encoding", "chunked"),)))
            body, half = b"".join(parts) + b"0\r\n\r\n", len(b"".join(parts[:4]))
        else:
            texts = len(asked["input"]) if embeds else 0
            body = wire.body(kind, fault.body, text, texts=texts, key=key)
            half = len(body) // 2
            writer.write(_head(fault, len(body)))
        if fault.does is None:
            writer.write(body)
            await writer.drain()
            return True
        writer.write(body[:half])
        await writer.drain()
        if fault.does == "reset_body":
            await asyncio.sleep(0.01)  # else the client sees the reset before the first half
            _reset(writer)
        elif fault.does == "stall":
            await reader.read(1)
        elif fault.does == "drip":
            for byte in body[half:]:
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await reader.read(1)  # nothing comes but the client's good-bye
                        return False
                writer.write(bytes([byte]))
        return False


def _head(fault: Fault, length: int | None, more: tuple[tuple[str, str], ...] = ()) -> bytes:
    headers = {"content-type": "application/json", **dict(fault.headers), **dict(more)}
    if length is not None:
        headers["content-length"] = str(length)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {fault.status} Scripted\r\n{lines}\r\n".encode()


def _reset(writer: asyncio.StreamWriter) -> None:
    """RST instead of FIN, unless the client was quicker and has hung up."""
    with suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def faulty_upstream() -> AsyncIterator[FaultyUpstream]:
    """Listens while the block runs, and afterwards waits until every client has hung up."""
    upstream = FaultyUpstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0, backlog=1024)
    upstream.address = _url(server.sockets[0])
    with socket.socket() as closed, socket.socket() as deaf, socket.socket() as first:
        closed.bind(("127.0.0.1", 0))
        upstream.closed = _url(closed)
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        first.connect(deaf.getsockname())  # fills its queue: from now on connections are neither made nor refused
        upstream.deaf = _url(deaf)
        try:
            yield upstream
        finally:
            server.close()
            async with asyncio.timeout(10):  # longer than any client needs to hang up
                while upstream.open:
                    await asyncio.sleep(0.005)


def _url(listener: Any) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{host}:{port}"
