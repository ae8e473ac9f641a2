"""The server process under clients that are slow, leave early, or are too many."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest

from emerge_core.api import body as api_body
from emerge_core.api import create_app
from emerge_core.api.health import health
from emerge_core.api.server import connection
from emerge_core.api.server.acceptor import Acceptor
from emerge_core.api.server.descriptors import Capacity, capacity
from emerge_core.api.server.server import Server
from emerge_core.types import Delta

ROOMY = Capacity(requests=100, served=100, accepted=100)


@dataclass
class Running:
    server: Server
    port: int

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def exchange(self, raw: bytes) -> bytes:
        """The reply to a request on a connection of its own, to the end of the connection."""
        reader, writer = await self.open()
        writer.write(raw)
        reply = await reader.read()
        writer.close()
        return reply


@asynccontextmanager
async def running(engine: Any, *, capacity: Capacity = ROOMY, **options: Any) -> AsyncIterator[Running]:
    listener = socket.create_server(("127.0.0.1", 0))
    app = create_app(engine, max_requests=capacity.requests)
    server = Server(app, listener, capacity=capacity, health=lambda: health(engine), **options)
    task = asyncio.create_task(server.serve())
    while not server.started:
        assert not task.done(), task.exception()
        await asyncio.sleep(0.005)
    try:
        yield Running(server, listener.getsockname()[1])
    finally:
        server.should_exit = True
        await task


def chat(*, stream: bool = False, close: bool = True) -> bytes:
    body = json.dumps({"model": "emerge", "messages": [{"role": "user", "content": "6 x 7?"}], "stream": stream})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
    return f"{head}{'connection: close' if close else 'x: y'}\r\n\r\n{body}".encode()


HEALTH = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(30):
            await scenario()

    asyncio.run(limited())


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_closes_only_its_sending_side_is_answered(engine: Any, stream: bool) -> None:
    engine.delay_s = 0.3

    async def scenario() -> None:
        async with running(engine) as served:
            reader, writer = await served.open()
            writer.write(chat(stream=stream, close=False))
            writer.write_eof()
            reply = await reader.read()
            assert b"HTTP/1.1 200 OK" in reply
            assert b"42" in reply
            assert engine.cancelled == 0
            writer.close()

    run(scenario)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_the_work(engine: Any, stream: bool) -> None:
    engine.delay_s = 60

    async def scenario() -> None:
        async with running(engine) as served:
            _, writer = await served.open()
            writer.write(chat(stream=stream))
            await until(lambda: len(engine.requests) == 1)
            writer.close()
            await until(lambda: engine.cancelled == 1)

    run(scenario)


def test_a_head_that_does_not_end_is_refused(engine: Any) -> None:
    async def scenario() -> None:
        async with running(engine, head_s=0.1) as served:
            assert (await served.exchange(b"POST /v1/chat")).startswith(b"HTTP/1.1 408 ")
            assert await served.exchange(b"") == b""
            reader, writer = await served.open()  # a second head, after a whole request
            writer.write(chat(close=False))
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
            writer.write(b"GET /v1/mo")
            assert b"HTTP/1.1 408 " in await reader.read()
            writer.close()

    run(scenario)


def test_a_head_that_is_too_long_is_refused(engine: Any) -> None:
    async def scenario() -> None:
        async with running(engine) as served:
            reader, writer = await served.open()
            writer.write(b"GET /healthz HTTP/1.1\r\n")
            for _ in range(70):
                writer.write(b"x-%b: y\r\n" % (b"a" * 1000))
                await asyncio.sleep(0)
            with suppress(ConnectionResetError):  # what the server did not read may reset the connection
                assert (await reader.read())[9:12] in (b"431", b"400")
            writer.close()
            await until(lambda: not served.server.server_state.connections)

    run(scenario)


def test_a_body_that_does_not_end_is_refused(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_body, "PART_S", 0.1)

    async def scenario() -> None:
        async with running(engine) as served:
            reply = await served.exchange(chat().replace(b"content-length: ", b"content-length: 1"))
            assert reply.startswith(b"HTTP/1.1 408 ")
            assert json.loads(reply.partition(b"\r\n\r\n")[2])["error"]["code"] == "request_timeout"
            assert engine.requests == []

    run(scenario)


def test_a_stream_that_its_client_does_not_read_is_ended(engine: Any) -> None:
    engine.says = [Delta(text="x" * 100_000)] * 400
    engine.delay_s = 60

    async def scenario() -> None:
        async with running(engine, unread_s=0.2) as served:
            _, writer = await served.open()
            writer.write(chat(stream=True))
            await until(lambda: engine.cancelled == 1)
            await until(lambda: not served.server.server_state.connections)
            writer.close()

    run(scenario)


def test_beyond_the_requests_at_once_a_client_is_told_to_come_back(engine: Any) -> None:
    engine.delay_s = 60

    async def scenario() -> None:
        async with running(engine, capacity=ROOMY._replace(requests=2), grace_s=0.0) as served:
            writers = [(await served.open())[1] for _ in range(2)]
            for writer in writers:
                writer.write(chat())
            await until(lambda: len(engine.requests) == 2)
            head, _, body = (await served.exchange(chat())).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 1" in head
            assert json.loads(body)["error"]["code"] == "overloaded"
            assert (await served.exchange(HEALTH)).startswith(b"HTTP/1.1 200 ")
            for writer in writers:
                writer.close()
            await until(lambda: engine.cancelled == 2)
            engine.delay_s = 0
            assert (await served.exchange(chat())).startswith(b"HTTP/1.1 200 ")

    run(scenario)


def test_a_refused_request_is_read_to_its_end_and_its_connection_goes_on(engine: Any) -> None:
    engine.delay_s = 60

    async def scenario() -> None:
        async with running(engine, capacity=ROOMY._replace(requests=1), grace_s=0.0) as served:
            _, writer = await served.open()
            writer.write(chat())
            await until(lambda: len(engine.requests) == 1)
            reader, other = await served.open()
            request = chat(close=False)
            other.write(request[:-9])
            await asyncio.sleep(0.05)
            other.write(request[-9:] + request.replace(b"x: y", b"x-request-id: mine"))
            for expected in (b"x-request-id: req_", b"x-request-id: mine"):
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
                assert expected in head
                assert b"connection: close" not in head
                length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
                assert json.loads(await reader.readexactly(length))["error"]["code"] == "overloaded"
            messages = request.replace(b"/v1/chat/completions", b"/v1/messages").replace(b"x: y", b"connection: close")
            reply = await served.exchange(messages)
            assert reply.startswith(b"HTTP/1.1 529 ")
            assert json.loads(reply.partition(b"\r\n\r\n")[2])["error"]["type"] == "overloaded_error"
            endless = request.replace(b"content-length: ", b"content-length: 9999999")
            reader, third = await served.open()
            with suppress(ConnectionResetError):  # what the server did not read may reset the connection
                third.write(endless + b"x" * (3 << 20))
                assert b"HTTP/1.1 503 " in await reader.read()
            await until(lambda: len(served.server.server_state.connections) == 2)
            assert len(engine.requests) == 1
            for each in (writer, other, third):
                each.close()

    run(scenario)


def test_a_refused_request_whose_body_does_not_end_is_closed(engine: Any) -> None:
    engine.delay_s = 60

    async def scenario() -> None:
        async with running(engine, capacity=ROOMY._replace(requests=1), grace_s=0.0, head_s=0.1) as served:
            _, writer = await served.open()
            writer.write(chat())
            await until(lambda: len(engine.requests) == 1)
            await served.exchange(chat()[:-9])
            writer.close()

    run(scenario)


def test_idle_connections_make_room_for_new_ones(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "IDLE_S", 0.0)

    async def scenario() -> None:
        async with running(engine, capacity=Capacity(requests=9, served=3, accepted=3)) as served:
            idle = [await served.open() for _ in range(3)]
            await until(lambda: len(served.server.server_state.connections) == 3)
            assert (await served.exchange(HEALTH)).startswith(b"HTTP/1.1 200 ")
            for reader, writer in idle:
                assert await reader.read() == b""
                writer.close()

    run(scenario)


def test_a_health_check_is_answered_between_the_calls_of_a_long_turn(engine: Any) -> None:
    """Under load hundreds of upstream calls end in one turn of the event loop, which nothing else interrupts."""
    answered = threading.Event()
    done = engine.result

    def check(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(HEALTH)
            if client.recv(12) == b"HTTP/1.1 200":
                answered.set()

    async def scenario() -> None:
        async with running(engine) as server:
            checking = threading.Thread(target=check, args=(server.port,))

            def long_turn(*_: Any) -> Any:
                checking.start()
                for _attempt in range(2000):
                    engine.progress.ended(done.calls[0])
                    if answered.wait(0.005):
                        break
                during_turn.append(answered.is_set())
                return done

            engine.result = long_turn
            assert b"200 OK" in await server.exchange(chat())
            await asyncio.to_thread(checking.join)

    during_turn: list[bool] = []
    run(scenario)
    assert during_turn == [True]


def test_trailers_are_no_headers(engine: Any) -> None:
    async def scenario() -> None:
        async with running(engine) as served:
            head, _, body = chat().partition(b"\r\n\r\n")
            lines = [line for line in head.split(b"\r\n") if not line.startswith(b"content-length")]
            chunked = b"\r\n".join([*lines, b"transfer-encoding: chunked", b"", b"%x" % len(body), body, b"0"])
            reply = await served.exchange(chunked + b"\r\nx-request-id: from-a-trailer\r\n\r\n")
            assert reply.startswith(b"HTTP/1.1 200 ")
            assert b"from-a-trailer" not in reply

    run(scenario)


def test_beyond_the_connections_that_are_served_a_connection_ends_with_its_reply(engine: Any) -> None:
    async def scenario() -> None:
        async with running(engine, capacity=Capacity(requests=9, served=2, accepted=3)) as served:
            idle = [(await served.open())[1] for _ in range(2)]
            await until(lambda: len(served.server.server_state.connections) == 2)
            reply = await served.exchange(chat(close=False))  # the server ends the connection, the client need not
            assert reply.startswith(b"HTTP/1.1 200 ")
            assert b"connection: close" in reply
            assert (await served.exchange(HEALTH)).startswith(b"HTTP/1.1 200 ")
            third = (await served.open())[1]
            await until(lambda: len(served.server.server_state.connections) == 3)
            waiting = asyncio.create_task(served.exchange(HEALTH))
            await asyncio.sleep(0.1)
            assert not waiting.done()  # in the kernel's queue: no descriptor is taken for it
            for writer in (*idle, third):
                writer.close()
            assert (await waiting).startswith(b"HTTP/1.1 200 ")

    run(scenario)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_at_a_signal_streams_end_with_an_error_event_and_a_last_chunk(engine: Any, number: signal.Signals) -> None:
    engine.says, engine.delay_s = [Delta(text="4")], 60

    async def scenario() -> None:
        async with running(engine, grace_s=0.1) as served:
            reader, writer = await served.open()
            writer.write(chat(stream=True))
            await reader.readuntil(b'"content":"4"')
            whole = asyncio.create_task(served.exchange(chat()))
            await until(lambda: len(engine.requests) == 2)
            os.kill(os.getpid(), number)
            rest = await reader.read()
            writer.close()
            event = rest.rpartition(b"data: ")[2]
            assert event.endswith(b"0\r\n\r\n")
            assert json.loads(event.partition(b"\n")[0])["error"]["code"] == "server_stopping"
            assert (await whole).startswith(b"HTTP/1.1 503 ")
            assert engine.cancelled == 2
            assert served.server.stopped_by == number

    run(scenario)


def test_at_a_signal_requests_in_progress_are_still_answered(engine: Any) -> None:
    engine.delay_s = 0.3

    async def scenario() -> None:
        async with running(engine) as served:
            whole = asyncio.create_task(served.exchange(chat(close=False)))
            await until(lambda: len(engine.requests) == 1)
            os.kill(os.getpid(), signal.SIGTERM)
            assert (await whole).startswith(b"HTTP/1.1 200 ")
        with pytest.raises(OSError):
            await served.open()

    run(scenario)


def test_accepting_pauses_while_no_descriptor_is_left(engine: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Exhausted(socket.socket):
        failures = 3

        def accept(self) -> Any:
            if self.failures:
                self.failures -= 1
                raise OSError(errno.EMFILE, "Too many open files")
            return super().accept()

    async def scenario() -> None:
        received = asyncio.Event()

        class Greeter(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                received.set()
                transport.close()

        with Exhausted() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            acceptor = Acceptor(listener, lambda accepted: Greeter(), open_connections=lambda: 0, most=10)
            acceptor.start()
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            assert await reader.read() == b""
            assert received.is_set()
            writer.close()
            acceptor.stop()
            assert listener.failures == 0

    run(scenario)
    assert len(caplog.records) == 3


def test_descriptors_are_shared_between_clients_and_upstreams() -> None:
    found = capacity(1024, panel=4)
    assert found.requests * 4 + found.accepted <= 1024
    assert found.requests < found.served < found.accepted
    assert capacity(1024, panel=4, max_requests=5).requests == 5
    assert capacity(20, panel=32).requests >= 1
