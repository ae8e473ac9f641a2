"""One HTTP/1.1 connection to a provider: opening it, one exchange at a time, and whether it can be used again.

A panel cancels calls all the time, so every step here closes what it has opened if it is cancelled, also in the
middle of a connection attempt or of a TLS handshake. The bytes are parsed by llhttp (httptools).
"""

from __future__ import annotations

import asyncio
import base64
import select
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import httptools

from emerge_core.providers.transport.resolver import Resolver

MAX_HEAD = 65_536  # bytes of a reply's header lines
READ_AHEAD = 1_000_000  # bytes of a body that may wait for their reader before the upstream is slowed down


class TransportError(Exception):
    """An exchange failed below HTTP. `sent` says whether the upstream may have taken the request: False only if
    no byte of it was written."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class Route(NamedTuple):
    """How an upstream is reached: at `host` and `port`, or there by way of a proxy."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    proxy: str | None = None  # an http:// or https:// URL

    @property
    def tunnelled(self) -> bool:
        return self.proxy is not None and self.tls is not None


class Connection(asyncio.Protocol):
    """Made by `connect`. `send` starts an exchange, `wait_head` and `read` receive the reply."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._fault: TransportError | None = None
        self._lost = False
        self._eof = False
        self._unsolicited = False  # bytes arrived that no request asked for
        self._paused = False
        self._reset()

    def _reset(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._head_size = 0
        self._head_done = False
        self._framed = False  # the head says where the body ends
        self._complete = False
        self._keep_alive = False
        self._body = bytearray()

    # --- an exchange ---

    def send(self, request: bytes) -> None:
        """Raises TransportError with `sent` False if the connection is closed."""
        if self._transport is None or self._lost or self._transport.is_closing():
            raise TransportError("the connection is closed", sent=False)
        self._reset()
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(request)

    async def open_tunnel(self, request: bytes) -> int:
        """Sends a CONNECT request and returns the proxy's status. The bytes that follow belong to the tunnel."""
        self.send(request)
        await self.wait_head()
        return self.status

    async def wait_head(self) -> None:
        """Returns when `status` and `headers` are there. Raises TransportError."""
        while not self._head_done:
            await self._wait()

    async def read(self) -> bytes:
        """The next bytes of the body, b"" at its end. Raises TransportError."""
        while not self._body and not self._complete:
            await self._wait()
        data = bytes(self._body)
        self._body.clear()
        if self._paused and self._transport is not None and not self._lost:
            self._paused = False
            self._transport.resume_reading()
        return data

    @property
    def complete(self) -> bool:
        """Whether the whole reply was received and read."""
        return self._complete and not self._body

    @property
    def reusable(self) -> bool:
        return self.complete and self._keep_alive and not self._spent()

    async def still_open(self) -> bool:
        """Whether an idle connection can take another request. Closes that arrived while the event loop stood
        still (a frozen Lambda environment) have not reached this object yet: the socket itself is asked, and the
        loop gets a turn to take them in."""
        if self._spent():
            return False
        if self._readable():
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return not self._spent() and not self._readable()
        return True

    def abort(self) -> None:
        """Closes at once. Thread-unsafe, like the rest; harmless after the loop is closed."""
        self._lost = True
        if self._transport is not None:
            with suppress(RuntimeError):
                self._transport.abort()

    async def _wait(self) -> None:
        if self._fault is not None:
            raise self._fault
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, message: str) -> None:
        if self._fault is None:
            self._fault = TransportError(message, sent=True)
        self._keep_alive = False
        self._wake()

    def _spent(self) -> bool:
        transport = self._transport
        return self._lost or self._eof or self._unsolicited or transport is None or transport.is_closing()

    def _readable(self) -> bool:
        sock = self._transport.get_extra_info("socket") if self._transport is not None else None
        if sock is None or sock.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(sock.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    # --- asyncio.Protocol ---

    @property
    def transport(self) -> asyncio.Transport | None:
        return self._transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._parser is None or self._complete:
            self._unsolicited = True
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail("the upstream switched to another protocol")
        except httptools.HttpParserError as error:
            if self._complete:  # bytes beyond the reply
                self._unsolicited = True
            else:
                self._fail(f"the upstream's reply is not valid HTTP: {error}")
        if len(self._body) > READ_AHEAD and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        self._eof = True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        if self._parser is not None and not self._complete:
            if self._head_done and not self._framed and exc is None:
                self._complete = True
            elif not self._head_done:
                self._fail(f"the upstream closed the connection before it replied{_because(exc)}")
            else:
                self._fail(f"the upstream closed the connection in the middle of its reply{_because(exc)}")
        self._wake()

    # --- httptools ---

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_size += len(name) + len(value)
        if self._head_size > MAX_HEAD:
            self._fail("the header of the upstream's reply is too large")
        elif not self._head_done:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1").strip()
            self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        if self._head_done or self._parser is None:
            self._unsolicited = True
            return
        self.status = self._parser.get_status_code()
        if 100 <= self.status < 200:
            self.headers = {}
            return
        coding = self.headers.get("transfer-encoding", "").lower()
        self._framed = "content-length" in self.headers or "chunked" in coding or self.status in (204, 304)
        self._keep_alive = self._parser.should_keep_alive()
        self._head_done = True

    def on_body(self, data: bytes) -> None:
        if not self._complete:
            self._body += data

    def on_message_complete(self) -> None:
        if self._head_done:
            self._complete = True


def _because(exc: Exception | None) -> str:
    return f": {exc}" if exc is not None and str(exc) else ""


async def connect(route: Route, resolver: Resolver, *, timeout_s: float | None) -> Connection:
    """Opens a connection. `timeout_s` limits the connection (name resolution included) and the TLS handshake,
    each on its own. Raises TransportError."""
    try:
        if route.proxy is not None:
            return await _by_proxy(route, resolver, timeout_s)
        async with _limited("connection", timeout_s):
            sock = await _connected(route.host, route.port, resolver)
        return await _protocol(sock, route.tls, route.host, timeout_s)
    except OSError as error:  # ssl.SSLError is one
        raise TransportError(str(error) or type(error).__name__, sent=False) from None


@asynccontextmanager
async def _limited(what: str, after_s: float | None) -> AsyncIterator[None]:
    """An upstream that cannot be reached in time is a failed connection, not a slow reply: it was not asked."""
    clock = asyncio.timeout(after_s)
    try:
        async with clock:
            yield
    except TimeoutError:
        if not clock.expired():
            raise  # the operating system's own, or the whole call's
        raise TransportError(f"no {what} within {after_s:g} s", sent=False) from None


async def _connected(host: str, port: int, resolver: Resolver) -> socket.socket:
    """Raises OSError."""
    loop = asyncio.get_running_loop()
    fault: OSError = ConnectionError(f"{host} has no address")
    for family, address in await resolver.resolve(host, port):
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            fault = error
            continue
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(sock, address)
            return sock
        except OSError as error:
            sock.close()
            fault = error
        except BaseException:
            sock.close()
            raise
    raise fault


async def _protocol(
    sock: socket.socket, context: ssl.SSLContext | None, host: str, timeout_s: float | None
) -> Connection:
    """A connection on a connected socket, after the TLS handshake if there is a context."""
    loop = asyncio.get_running_loop()
    connection = Connection()
    try:
        async with _limited("TLS handshake", timeout_s if context else None):
            await loop.create_connection(
                lambda: connection, sock=sock, ssl=context, server_hostname=host if context else None
            )
    except BaseException:  # asyncio closes the socket, but after a handshake it would say goodbye first
        connection.abort()
        if connection.transport is None:
            sock.close()
        raise
    return connection


async def _by_proxy(route: Route, resolver: Resolver, timeout_s: float | None) -> Connection:
    """For https through a tunnel; for http the proxy is asked for the whole URL, so it is merely connected to."""
    proxy = urlsplit(route.proxy or "")
    host, secure = proxy.hostname or "", proxy.scheme == "https"
    async with _limited("connection to the proxy", timeout_s):
        sock = await _connected(host, proxy.port or (443 if secure else 80), resolver)
    connection = await _protocol(sock, ssl.create_default_context() if secure else None, host, timeout_s)
    if route.tls is None:
        return connection
    try:
        return await _tunnel(connection, route, timeout_s)
    except BaseException:
        connection.abort()
        raise


async def _tunnel(connection: Connection, route: Route, timeout_s: float | None) -> Connection:
    place = f"[{route.host}]:{route.port}" if ":" in route.host else f"{route.host}:{route.port}"
    head = f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{proxy_authorization(route.proxy or '')}\r\n"
    async with _limited("tunnel through the proxy", timeout_s):
        status = await connection.open_tunnel(head.encode())
    if status != 200:
        raise TransportError(f"the proxy refused the tunnel (HTTP {status})", sent=False)
    inner = Connection()
    loop = asyncio.get_running_loop()
    outer = connection.transport
    assert outer is not None and route.tls is not None  # noqa: S101
    try:
        async with _limited("TLS handshake", timeout_s):
            transport = await loop.start_tls(outer, inner, route.tls, server_hostname=route.host)
    except BaseException:
        inner.abort()
        raise
    if transport is None:
        raise TransportError("the proxy closed the tunnel", sent=False)
    inner.connection_made(transport)
    return inner


def proxy_authorization(proxy: str) -> str:
    """The header line for a proxy whose URL has a user name; empty for any other."""
    parts = urlsplit(proxy)
    if not parts.username:
        return ""
    plain = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return f"Proxy-Authorization: Basic {base64.b64encode(plain.encode()).decode()}\r\n"
