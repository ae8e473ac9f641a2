"""The HTTP client of every adapter: it posts JSON to one provider and keeps its connections.

- A request is sent again only if no byte of it can have been taken: the kept connection was seen closed before
  anything was written. Everything else is an attempt, which the fan-out counts and may repeat.
- Redirects are not followed (they would carry the key elsewhere), there are no cookies, and replies are not
  compressed, so that what arrives is what it takes in memory. Size limits bound it.
- Proxies (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY) and certificates (SSL_CERT_FILE, SSL_CERT_DIR, the
  provider's `ca_file`) are read when the client is made.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from base64 import b64encode
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import SplitResult, quote, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from emerge_core.config.schema import ProviderConfig
from emerge_core.errors import ConfigError
from emerge_core.providers.errors import bad_response
from emerge_core.providers.transport.connection import (
    Connection,
    Route,
    TransportError,
    connect,
    proxy_authorization,
)
from emerge_core.providers.transport.content import too_large
from emerge_core.providers.transport.resolver import Resolver
from emerge_core.providers.transport.trace_headers import trace_headers
from emerge_core.types import CallError, UpstreamError

KEEPALIVE_S = 30.0  # an idle connection is closed after so long
MAX_IDLE = 256
MAX_REPLY = 8_000_000  # bytes of a whole reply: a hundred times the longest answer
_DEFAULT_PORTS = {"http": 80, "https": 443}
_UNRESERVED = "/?%:@!$&'()*+,;=~-._"


class HttpClient:
    """The connections to one provider. For use on one event loop."""

    def __init__(self, base_url: str, *, headers: Mapping[str, str], config: ProviderConfig) -> None:
        """`headers` go with every request; those of the config are added, and win. Raises ConfigError."""
        url = urlsplit(base_url)
        if url.scheme not in _DEFAULT_PORTS or not url.hostname:
            raise ConfigError("base_url: not an address of the form https://host/path")
        self._route = _route(url, config.ca_file)
        self._prefix = (_place(url) if self._route.proxy and not self._route.tls else "") + _quoted(url.path)
        self._query = f"?{quote(url.query, safe=_UNRESERVED)}" if url.query else ""
        self._headers = _headers(url, self._route, headers, config.headers)
        self._connect_timeout_s = config.connect_timeout_s
        self._first_byte_timeout_s = config.first_byte_timeout_s
        self._sends_trace_context = config.send_trace_context
        self._resolver = Resolver()
        self._idle: deque[_Idle] = deque()  # the one used last at the right
        self._sweep: asyncio.TimerHandle | None = None

    async def post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> Response:
        """The head of the reply to a JSON body; `path` is below the base URL. Raises TransportError, or
        UpstreamError if no reply begins within `first_byte_timeout_s`."""
        request = self._request(path, body, headers or {})
        while self._idle:
            connection = self._take()
            if connection is None or not await _usable(connection):
                continue
            try:
                return await self._exchange(connection, request)
            except TransportError as error:
                if error.sent:
                    raise
        connection = await connect(self._route, self._resolver, timeout_s=self._connect_timeout_s)
        return await self._exchange(connection, request)

    async def aclose(self) -> None:
        """Closes the idle connections. Those in use close with their replies."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        closing, self._idle = self._idle, deque()
        for idle in closing:
            idle.connection.abort()
        if closing:
            await asyncio.sleep(0)  # the loop closes the sockets in its next turn

    @property
    def idle_connections(self) -> int:
        return len(self._idle)

    async def _exchange(self, connection: Connection, request: bytes) -> Response:
        try:
            connection.send(request)
            if self._first_byte_timeout_s is None:
                await connection.wait_head()
            else:
                await self._first_byte(connection, self._first_byte_timeout_s)
        except BaseException:
            connection.abort()
            raise
        return Response(connection, self)

    async def _first_byte(self, connection: Connection, limit_s: float) -> None:
        clock = asyncio.timeout(limit_s)
        try:
            async with clock:
                await connection.wait_head()
        except TimeoutError:
            if not clock.expired():
                raise
            message = f"no reply had begun within {limit_s:g} s"
            raise UpstreamError(CallError(kind="timeout", message=message)) from None

    def _request(self, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        merged = self._headers | {name.lower(): value for name, value in headers.items()}
        if self._sends_trace_context:
            merged |= trace_headers.get()
        lines = "".join(f"{name}: {value}\r\n" for name, value in merged.items())
        head = f"POST {self._prefix}{path}{self._query} HTTP/1.1\r\n{lines}content-length: {len(body)}\r\n\r\n"
        return head.encode("latin-1") + body

    def _take(self) -> Connection | None:
        """The connection used last, unless it has been idle too long."""
        idle = self._idle.pop()
        if idle.age_s() <= KEEPALIVE_S:
            return idle.connection
        idle.connection.abort()
        return None

    def release(self, connection: Connection) -> None:
        """Keeps a connection whose reply was read for the next request, or closes it."""
        if not connection.reusable:
            connection.abort()
            return
        self._idle.append(_Idle(connection, time.monotonic(), time.time()))
        while len(self._idle) > MAX_IDLE:
            self._idle.popleft().connection.abort()
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(KEEPALIVE_S, self._close_old)

    def _close_old(self) -> None:
        self._sweep = None
        while self._idle and self._idle[0].age_s() >= KEEPALIVE_S:
            self._idle.popleft().connection.abort()
        if self._idle:
            left_s = max(KEEPALIVE_S - self._idle[0].age_s(), 0.01)
            self._sweep = asyncio.get_running_loop().call_later(left_s, self._close_old)


class _Idle(NamedTuple):
    """By two clocks: while a Lambda environment is frozen the monotonic one may stand still, and the wall clock
    may be set."""

    connection: Connection
    monotonic: float
    wall: float

    def age_s(self) -> float:
        return max(time.monotonic() - self.monotonic, time.time() - self.wall)


class Response:
    """A reply whose body is still to be read. Close it, or read it to its end."""

    def __init__(self, connection: Connection, client: HttpClient) -> None:
        self._connection: Connection | None = connection
        self._client = client
        self.status = connection.status
        self.headers: Mapping[str, str] = connection.headers

    async def read(self, limit: int = MAX_REPLY) -> bytes:
        """The whole body. Raises UpstreamError if it is longer than `limit` bytes."""
        declared = self.headers.get("content-length", "")
        if declared.isdecimal() and int(declared[:20]) > limit:
            await self.aclose()
            raise too_large(limit)
        parts: list[bytes] = []
        size = 0
        try:
            self._check_encoding()
            while self._connection is not None and (chunk := await self._connection.read()):
                parts.append(chunk)
                size += len(chunk)
                if size > limit:
                    raise too_large(limit)
        finally:
            await self.aclose()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def chunks(self) -> AsyncGenerator[bytes]:
        """The body as it arrives. Raises TransportError if it breaks off, UpstreamError if it is compressed."""
        try:
            self._check_encoding()
            while self._connection is not None and (chunk := await self._connection.read()):
                yield chunk
        finally:
            await self.aclose()

    def _check_encoding(self) -> None:
        encoding = self.headers.get("content-encoding", "identity").lower()
        if encoding != "identity":
            raise bad_response(f"the upstream compressed its reply ({encoding[:20]}), which it was not asked for")

    async def aclose(self) -> None:
        """Gives the connection back if the reply was read to its end, and closes it otherwise."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._client.release(connection)


async def _usable(connection: Connection) -> bool:
    try:
        if await connection.still_open():
            return True
    except BaseException:
        connection.abort()
        raise
    connection.abort()
    return False


def _route(url: SplitResult, ca_file: str | None) -> Route:
    host = url.hostname or ""
    try:
        port = url.port or _DEFAULT_PORTS[url.scheme]
        host = host if host.isascii() else host.encode("idna").decode()
    except ValueError as error:
        raise ConfigError(f"base_url: {error}") from None
    tls = _tls(ca_file) if url.scheme == "https" else None
    if ca_file is not None and tls is None:
        _tls(ca_file)  # a file that cannot be read is an error all the same
    return Route(host, port, tls, _proxy(url.scheme, host))


def _proxy(scheme: str, host: str) -> str | None:
    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    if not proxy or proxy_bypass(host):
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    if urlsplit(proxy).scheme not in _DEFAULT_PORTS:
        raise ConfigError(f"the proxy of the environment has the scheme {urlsplit(proxy).scheme}: use http or https")
    return proxy


def _tls(ca_file: str | None) -> ssl.SSLContext:
    try:
        if ca_file is not None:
            return _context(ca_file, None)  # read anew for each client: it may have been replaced
    except (OSError, ssl.SSLError) as error:
        raise ConfigError("ca_file: not a readable file of PEM certificates") from error
    file, directory = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    try:
        return _shared_context(file or None, directory or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError("SSL_CERT_FILE or SSL_CERT_DIR: no readable PEM certificates") from error


@lru_cache(maxsize=4)
def _shared_context(file: str | None, directory: str | None) -> ssl.SSLContext:
    """For the providers that trust the public authorities: making a context takes longer than a call."""
    if file is None and directory is None:
        import certifi

        file = certifi.where()
    return _context(file, directory)


def _context(file: str | None, directory: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=file, capath=directory)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _headers(
    url: SplitResult, route: Route, headers: Mapping[str, str], configured: Mapping[str, str]
) -> dict[str, str]:
    merged = {
        "host": _authority(url),
        "user-agent": "emerge",
        "accept": "application/json",
        "content-type": "application/json",
        **{name.lower(): value for name, value in headers.items()},
        **{name.lower(): value for name, value in configured.items()},
        "accept-encoding": "identity",
    }
    if url.username or url.password:
        plain = f"{unquote(url.username or '')}:{unquote(url.password or '')}"
        merged["authorization"] = f"Basic {b64encode(plain.encode()).decode()}"
    if route.proxy and not route.tunnelled and (line := proxy_authorization(route.proxy)):
        name, _, value = line.strip().partition(": ")
        merged[name.lower()] = value
    return merged


def _authority(url: SplitResult) -> str:
    host = url.hostname or ""
    host = host if host.isascii() else host.encode("idna").decode()
    host = f"[{host}]" if ":" in host else host
    return host if url.port in (None, _DEFAULT_PORTS[url.scheme]) else f"{host}:{url.port}"


def _place(url: SplitResult) -> str:
    return f"{url.scheme}://{_authority(url)}"


def _quoted(path: str) -> str:
    return quote(path.rstrip("/"), safe=_UNRESERVED)
