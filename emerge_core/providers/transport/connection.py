"""How a provider's connections are opened: asyncio sockets, as the network backend of httpcore.

The libraries' own backend loses a socket when a call is given up at the moment in which its connection
is made, or in the middle of a TLS handshake: the socket then stays open until the upstream drops it.
An ensemble gives calls up all the time, so here whoever is cancelled closes what it has opened.
"""

# ruff: noqa: ASYNC109  (httpcore's interface has the timeouts)
from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from types import ModuleType
from typing import Any


class Connections:
    """A network backend for one scheme. `core` is httpcore or httpcore2: they map faults by class."""

    def __init__(self, core: ModuleType, *, tls: bool, connect_timeout_s: float | None = None) -> None:
        """`connect_timeout_s` is for the connection and for the TLS handshake each."""
        self._core = core
        self._tls = tls
        self._connect_timeout_s = connect_timeout_s

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> _Handshake | _Stream:
        limit = self._connect_timeout_s
        try:
            async with asyncio.timeout(timeout), _giving_up(self._core, "connection", limit):
                sock = await _connected(host, port)
                if self._tls:
                    return _Handshake(self._core, sock, limit)
                return _Stream(self._core, *await _streams(sock))
        except TimeoutError as error:
            raise self._core.ConnectTimeout(str(error) or "no connection in time") from error
        except OSError as error:
            raise self._core.ConnectError(str(error)) from error

    async def connect_unix_socket(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError("providers are reached by host and port")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@asynccontextmanager
async def _giving_up(core: ModuleType, what: str, after_s: float | None) -> AsyncIterator[None]:
    """Not a timeout to its caller: an upstream that cannot be reached is no slow one, and was not asked."""
    clock = asyncio.timeout(after_s)
    try:
        async with clock:
            yield
    except TimeoutError as error:
        if not clock.expired():
            raise  # the operating system's own, or the whole call's
        raise core.ConnectError(f"no {what} within {after_s:g} s") from error


async def _connected(host: str, port: int) -> socket.socket:
    """IPv4 first: every provider has it, while a route for IPv6 is often announced and not there.
    Raises OSError."""
    loop = asyncio.get_running_loop()
    fault: OSError = ConnectionError(f"{host} has no address")
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for family, kind, protocol, _, address in sorted(found, key=lambda entry: entry[0] != socket.AF_INET):
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:
            fault = error
            continue
        try:
            sock.setblocking(False)
            await loop.sock_connect(sock, address)
            return sock
        except OSError as error:
            sock.close()
            fault = error
        except BaseException:
            sock.close()
            raise
    raise fault


class _Counted(asyncio.StreamReader):
    """Counts what arrives, so that bytes which nobody asked for are noticed."""

    received = 0
    transport: asyncio.BaseTransport | None = None

    def set_transport(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        super().set_transport(transport)

    def feed_data(self, data: Any) -> None:
        self.received += len(data)
        super().feed_data(data)


async def _streams(
    sock: socket.socket, context: ssl.SSLContext | None = None, hostname: str | None = None
) -> tuple[_Counted, asyncio.StreamWriter]:
    """Both ends of a connected socket, after the TLS handshake if there is a context; on failure it is closed."""
    loop = asyncio.get_running_loop()
    reader = _Counted(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    try:
        transport, _ = await loop.create_connection(lambda: protocol, sock=sock, ssl=context, server_hostname=hostname)
    except BaseException:  # asyncio has closed the socket, or begun to: after a handshake it would say goodbye first
        if isinstance(reader.transport, asyncio.WriteTransport):
            reader.transport.abort()
        raise
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


class _Handshake:
    """A connected socket before its TLS handshake."""

    def __init__(self, core: ModuleType, sock: socket.socket, limit: float | None) -> None:
        self._core = core
        self._sock = sock
        self._limit = limit

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> _Stream:
        try:
            async with asyncio.timeout(timeout), _giving_up(self._core, "TLS handshake", self._limit):
                return _Stream(self._core, *await _streams(self._sock, ssl_context, server_hostname))
        except TimeoutError as error:
            raise self._core.ConnectTimeout("no TLS handshake in time") from error
        except OSError as error:  # ssl.SSLError is one
            raise self._core.ConnectError(str(error)) from error

    async def aclose(self) -> None:
        self._sock.close()


class _Stream:
    """An open connection."""

    def __init__(self, core: ModuleType, reader: _Counted, writer: asyncio.StreamWriter) -> None:
        self._core = core
        self._reader = reader
        self._writer = writer
        self._taken = 0

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            async with asyncio.timeout(timeout):
                data = await self._reader.read(max_bytes)
        except TimeoutError as error:
            raise self._core.ReadTimeout("no data in time") from error
        except OSError as error:
            raise self._core.ReadError(str(error)) from error
        self._taken += len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            async with asyncio.timeout(timeout):
                self._writer.write(buffer)
                await self._writer.drain()
        except TimeoutError as error:
            raise self._core.WriteTimeout("nothing was taken in time") from error
        except (OSError, RuntimeError) as error:  # RuntimeError: the transport is closed
            raise self._core.WriteError(str(error)) from error

    async def aclose(self) -> None:
        """At once: by now all was read, or nobody wants the rest."""
        with suppress(RuntimeError):  # its loop is closed, and with it the connection
            self._writer.transport.abort()
            await asyncio.sleep(0)  # the loop closes the socket in its next turn

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            return self._spent()
        return self._writer.get_extra_info({"server_addr": "peername", "client_addr": "sockname"}.get(info, info))

    def _spent(self) -> bool:
        """Whether an idle connection is of no more use: closed by the upstream, or with a remark nobody asked for."""
        reader, transport = self._reader, self._writer.transport
        if reader.at_eof() or reader.received != self._taken or reader.exception() or transport.is_closing():
            return True
        poll = select.poll()  # what came while the process slept has not gone through the event loop yet
        poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))
