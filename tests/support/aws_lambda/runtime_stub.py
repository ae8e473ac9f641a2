"""Lambda's side of a function: a stub of its Runtime API, and in front of it what API Gateway does in stream
mode. An invocation goes to whichever `/next` has waited longest, so that one process may have many at once, as on
Lambda Managed Instances."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

Headers = dict[str, str]


@dataclass
class PostedReply:
    """What the stub got of one invocation's reply."""

    id: str
    parts: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)  # of the body; None at its end
    headers: Headers = field(default_factory=dict)
    prelude: Any = None
    body: bytes = b""
    times: list[float] = field(default_factory=list)  # when each part of the body came
    trailers: Headers = field(default_factory=dict)
    error: Any = None  # what was posted to /error
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    writer: asyncio.StreamWriter | None = None

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def trailed(self) -> Any:
        """The error in the trailers."""
        return json.loads(base64.b64decode(self.trailers["lambda-runtime-function-error-body"]))

    def leave(self) -> None:
        """What Lambda does where it ends a reply early."""
        self.left.set()
        if self.writer is not None:
            self.writer.transport.abort()


@dataclass
class RuntimeStub:
    """`faults` decide, per event's `fault`, what goes wrong on Lambda's side. `concurrency` is the most invocations
    that may be asked for or open at once; more is counted in `excess`, also if a reply that was cut is not yet read."""

    deadline_s: float = 30.0
    concurrency: int | None = None
    keeps: bool = True  # a connection for more than one exchange
    next_faults: list[str] = field(default_factory=list)  # for /next, one each: a status, "cut", "junk" or "chunked"
    arn: str = "arn:aws:lambda:us-east-1:123456789012:function:proxy:stream"
    taken: dict[str, PostedReply] = field(default_factory=dict)
    init_errors: list[Any] = field(default_factory=list)
    port: int = 0

    def __post_init__(self) -> None:
        self._waiting: asyncio.Queue[tuple[str, Any, str | None, float]] = asyncio.Queue()
        self._faults: dict[str, str] = {}
        self.connections = 0
        self.asked = 0
        self.asking = 0  # now
        self._open: set[str] = set()
        self.most_open = 0
        self.excess = 0
        self.snapshot, self.restore = asyncio.Event(), asyncio.Event()

    @property
    def open(self) -> int:
        """Invocations that are handed out and not answered."""
        return len(self._open)

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.port}"

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[RuntimeStub]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    def invoke(
        self, event: Any, *, fault: str = "", trace_id: str | None = None, deadline_s: float | None = None
    ) -> PostedReply:
        """Puts an event in line. `fault`: a status for the reply's refusal, "cut" after the first part,
        "slow" to read it slowly, "deaf" to never read it."""
        taken = PostedReply(str(uuid.uuid4()))
        self.taken[taken.id] = taken
        self._faults[taken.id] = fault
        self._waiting.put_nowait((taken.id, event, trace_id, deadline_s or self.deadline_s))
        return taken

    async def call(self, event: Any, **options: Any) -> PostedReply:
        taken = self.invoke(event, **options)
        await asyncio.wait_for(taken.done.wait(), 60)
        return taken

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        answered = False
        try:
            while self.keeps or not answered:
                line, headers = await _head(reader)
                method, path, _ = line.split(" ")
                assert path.startswith("/2018-06-01/runtime/")
                await self._answer(method, path.removeprefix("/2018-06-01/runtime/"), headers, reader, writer)
                answered = True
        except (EOFError, OSError):
            pass
        finally:
            writer.close()

    async def _answer(
        self, method: str, path: str, headers: Headers, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if (method, path) == ("GET", "invocation/next"):
            await self._next(reader, writer)
            return
        if path == "restore/next":  # the snapshot is taken here
            self.snapshot.set()
            await self.restore.wait()
            await self._respond(writer, 200)
            return
        if path == "init/error":
            self.init_errors.append(json.loads(await reader.readexactly(int(headers["content-length"]))))
            await self._respond(writer, 202)
            return
        _, invocation, kind = path.split("/")
        taken, fault = self.taken[invocation], self._faults[invocation]
        taken.writer, taken.headers = writer, headers
        taken.begun.set()
        try:
            if kind == "error":
                taken.error = json.loads(await reader.readexactly(int(headers["content-length"])))
            elif fault == "deaf":
                await taken.left.wait()
                raise EOFError
            elif fault.isdigit():
                self._ended(invocation)
                await self._respond(writer, int(fault))
                await reader.read()
                return
            elif "content-length" in headers:  # a buffered reply
                taken.body = await reader.readexactly(int(headers["content-length"]))
            else:
                await self._take(taken, fault, reader)
            self._ended(invocation)
            await self._respond(writer, 202)
        finally:
            self._ended(invocation)
            taken.parts.put_nowait(None)
            taken.done.set()

    def _ended(self, invocation: str) -> None:
        self._open.discard(invocation)

    async def _next(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        fault = self.next_faults.pop(0) if self.next_faults else ""
        if fault.isdigit():
            await self._respond(writer, int(fault))
            return
        if fault in ("cut", "junk"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12" if fault == "cut" else b"what?\r\n\r\n")
            raise EOFError
        self.asking += 1
        self.excess += self.concurrency is not None and self.asking + self.open > self.concurrency
        waiting = asyncio.ensure_future(self._waiting.get())
        gone = asyncio.ensure_future(reader.read(1))
        await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
        self.asking -= 1
        if not waiting.done():
            waiting.cancel()
            raise EOFError
        if not gone.done():
            gone.cancel()
            await asyncio.wait({gone})
        invocation, event, trace_id, deadline_s = waiting.result()
        self._open.add(invocation)
        self.most_open = max(self.most_open, self.open)
        headers = {
            "Lambda-Runtime-Aws-Request-Id": invocation,
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + deadline_s) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": self.arn,
            "Content-Type": "application/json",
            **({"Lambda-Runtime-Trace-Id": trace_id} if trace_id else {}),
        }
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        await self._respond(writer, 200, headers, body, chunked=fault == "chunked")

    async def _respond(
        self,
        writer: asyncio.StreamWriter,
        status: int,
        headers: Headers | None = None,
        body: bytes = b"",
        *,
        chunked: bool = False,
    ) -> None:
        framing = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(len(body))}
        if not self.keeps:
            framing["Connection"] = "close"
        lines = [f"HTTP/1.1 {status} OK", *(f"{name}: {value}" for name, value in ((headers or {}) | framing).items())]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        middle = len(body) // 2
        parts = [body[:middle], body[middle:]]
        writer.write(
            b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts if part) + b"0\r\n\r\n" if chunked else body
        )
        await writer.drain()

    async def _take(self, taken: PostedReply, fault: str, reader: asyncio.StreamReader) -> None:
        start = b""
        async for part in _chunks(reader, taken.trailers):
            if taken.prelude is None:
                start += part
                if bytes(8) not in start:
                    continue
                text, part = start.split(bytes(8), 1)
                taken.prelude = json.loads(text)
            if part:
                taken.body += part
                taken.times.append(time.perf_counter())
                taken.parts.put_nowait(part)
            if fault == "cut" and part:
                taken.leave()
                raise EOFError
            if fault == "slow":
                await asyncio.sleep(0.005)


async def _head(reader: asyncio.StreamReader) -> tuple[str, Headers]:
    line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    pairs = (each.partition(":") for each in lines if each)
    return line, {name.lower(): value.strip() for name, _, value in pairs}


async def _chunks(reader: asyncio.StreamReader, trailers: Headers) -> AsyncIterator[bytes]:
    while size := int(await reader.readuntil(b"\r\n"), 16):
        yield await reader.readexactly(size)
        assert await reader.readexactly(2) == b"\r\n"
    while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
        name, _, value = line.decode().partition(":")
        trailers[name.lower()] = value.strip()


@asynccontextmanager
async def front_door(stub: RuntimeStub) -> AsyncIterator[str]:
    """API Gateway with a streamed proxy integration, over the stub: yields its URL."""

    async def invoke(scope: Any, receive: Any, send: Any) -> None:
        taken = stub.invoke(await proxy_event(Request(scope, receive)))
        first = await taken.parts.get()
        if taken.prelude is None:
            response: Response = JSONResponse({"message": "Internal server error"}, status_code=502)
        else:
            headers = taken.prelude["headers"]
            response = StreamingResponse(parts(taken, first), taken.prelude["statusCode"], headers)
        await response(scope, receive, send)

    async def parts(taken: PostedReply, first: bytes | None) -> AsyncIterator[bytes]:
        part = first
        try:
            while part is not None:
                yield part
                part = await taken.parts.get()
        finally:
            if not taken.done.is_set():
                taken.leave()

    server = uvicorn.Server(uvicorn.Config(invoke, port=0, log_level="error", lifespan="off"))
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await running


async def proxy_event(request: Request) -> dict[str, Any]:
    body = await request.body()
    multiple: dict[str, list[str]] = {}
    for name, value in request.headers.items():
        multiple.setdefault(name, []).append(value)
    return {
        "resource": "/{proxy+}",
        "path": request.url.path,
        "httpMethod": request.method,
        "headers": dict(request.headers),
        "multiValueHeaders": multiple,
        "multiValueQueryStringParameters": {name: request.query_params.getlist(name) for name in request.query_params},
        "requestContext": {
            "requestId": str(uuid.uuid4()),
            "stage": "prod",
            "identity": {"sourceIp": "192.0.2.1"},
            "authorizer": {"keyId": "0123456789ab", "principalId": "0123456789ab"},
        },
        "body": base64.b64encode(body).decode() if body else None,
        "isBase64Encoded": bool(body),
    }
