"""The HTTP clients of the adapters: connection reuse, certificates, headers, and what a reply may be.

httpx and httpx2 keep all connections of a client in one list and walk it several times for each
request, so a call's cost grows with the calls in flight: with 192 of them it more than doubles.
`_Lanes` gives each exchange in flight a transport with one connection of its own and takes the one
used last when the next call starts. Everything below it (pooling rules, keep-alive, TLS, HTTP/1.1)
stays the library's.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from emerge_core.config.schema import ProviderConfig
from emerge_core.errors import ConfigError
from emerge_core.providers.errors import bad_response
from emerge_core.providers.transport.connection import Connections
from emerge_core.providers.transport.resend import may_send_again
from emerge_core.types import CallError, UpstreamError

KEEPALIVE_S = 30.0
MAX_IDLE = 256
MAX_REPLY = 8_000_000  # bytes: a hundred times the longest answer, and what any reply may cost in memory
MAX_EMBEDDINGS = 40_000_000  # 2,048 vectors of 3,072 numbers in base64 take 34 million


def http_client(
    http: ModuleType,
    base_url: str,
    *,
    headers: Mapping[str, str] | None = None,
    ca_file: str | None = None,
    connect_timeout_s: float | None = None,
    first_byte_timeout_s: float | None = None,
) -> Any:
    """An `AsyncClient` of the library `http` (httpx or httpx2: the SDKs need the latter).

    Redirects are not followed: they would carry the key to another place. Replies are not compressed,
    so that what arrives is what they take in memory, and a reply beyond `MAX_REPLY` is cut off. Both
    timeouts raise UpstreamError, so they are for this package's adapters.
    """
    _quiet()
    context = _tls(http, base_url, ca_file)
    options = {
        "headers": {**(headers or {}), "accept-encoding": "identity"},
        "follow_redirects": False,
        "event_hooks": {"response": [_bounded(http)]},
    }
    if _behind_proxy(base_url):
        limits = http.Limits(max_connections=1000, max_keepalive_connections=MAX_IDLE, keepalive_expiry=KEEPALIVE_S)
        return http.AsyncClient(verify=context, limits=limits, **options)

    tls = base_url.startswith("https:")
    lanes = _Lanes(http, _lane_maker(http, context, tls=tls, connect_timeout_s=connect_timeout_s), first_byte_timeout_s)
    return http.AsyncClient(transport=lanes, **options)


def client_options(config: ProviderConfig) -> dict[str, Any]:
    """What a provider's config says about its HTTP client, as keywords of `http_client`."""
    return {
        "ca_file": config.ca_file,
        "connect_timeout_s": config.connect_timeout_s,
        "first_byte_timeout_s": config.first_byte_timeout_s,
    }


def _bounded(http: ModuleType) -> Callable[[Any], Awaitable[None]]:
    """A response hook, after which no body can be larger than it may."""

    async def bound(response: Any) -> None:
        encoding = response.headers.get("content-encoding", "identity").lower()
        if encoding != "identity":
            raise bad_response(f"the upstream compressed its reply ({encoding[:20]}), which it was not asked for")
        limit = MAX_EMBEDDINGS if "/embed" in response.request.url.path else MAX_REPLY
        declared = response.headers.get("content-length", "")
        if declared.isdecimal() and int(declared[:20]) > limit:
            raise _too_large(limit)
        response.stream = _bounded_class(http)(response.stream, limit)

    return bound


def _too_large(limit: int) -> UpstreamError:
    return bad_response(f"the upstream's reply is larger than {limit:,} bytes: cut off")


@cache
def _bounded_class(http: ModuleType) -> Any:
    class Bounded(http.AsyncByteStream):  # type: ignore[misc, name-defined]
        def __init__(self, body: Any, limit: int) -> None:
            self._body = body
            self._limit = limit

        async def __aiter__(self) -> Any:
            size = 0
            async for chunk in self._body:
                size += len(chunk)
                if size > self._limit:
                    raise _too_large(self._limit)
                yield chunk

        async def aclose(self) -> None:
            await self._body.aclose()

    return Bounded


def _quiet() -> None:
    """These log what is sent, with the URL's password or whole prompts, wherever the root logger lets them.
    A level of their own (OPENAI_LOG=debug) is a setting that asks for it."""
    for name in ("openai", "anthropic", "httpx", "httpx2", "httpcore", "httpcore2"):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.WARNING)


def _behind_proxy(base_url: str) -> bool:
    parts, proxies = urlsplit(base_url), getproxies()
    return (parts.scheme in proxies or "all" in proxies) and not proxy_bypass(parts.hostname or "")


def _tls(http: ModuleType, base_url: str, ca_file: str | None) -> ssl.SSLContext:
    """One context for all connections of a client: making one takes longer than a call."""
    if ca_file is not None:
        try:
            return ssl.create_default_context(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError("ca_file: not a readable file of PEM certificates") from error
    if base_url.startswith("http://"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # never used; it would trust nobody
    context: ssl.SSLContext = http.create_ssl_context()
    return context


def _lane_maker(
    http: ModuleType, context: ssl.SSLContext, *, tls: bool, connect_timeout_s: float | None
) -> Callable[[], Any]:
    core = import_module("httpcore" if http.__name__ == "httpx" else "httpcore2")
    backend = Connections(core, tls=tls, connect_timeout_s=connect_timeout_s)

    def make() -> Any:
        lane = http.AsyncHTTPTransport(verify=context)
        # The transport has no parameter for the network backend; its pool has.
        lane._pool = core.AsyncConnectionPool(
            ssl_context=context,
            max_connections=1,
            max_keepalive_connections=1,
            keepalive_expiry=KEEPALIVE_S,
            network_backend=backend,
        )
        return lane

    return make


class _Lanes:
    """A transport that spreads its requests over transports of one connection each."""

    def __init__(self, http: ModuleType, make_lane: Callable[[], Any], first_byte_timeout_s: float | None) -> None:
        self._make_lane = make_lane
        self._first_byte_timeout_s = first_byte_timeout_s
        self._body = _body_class(http)
        self._broken = (http.ReadError, http.WriteError, http.RemoteProtocolError)
        self._idle: deque[tuple[Any, float]] = deque()  # the one used last at the right

    async def handle_async_request(self, request: Any) -> Any:
        await self._expire()
        if self._idle:
            lane = self._idle.pop()[0]
            try:
                return await self._exchange(lane, request)
            except self._broken:
                # A kept connection that ended before a reply had begun: upstreams close idle ones at any moment.
                if not may_send_again():
                    raise
        return await self._exchange(self._make_lane(), request)

    async def _exchange(self, lane: Any, request: Any) -> Any:
        try:
            async with asyncio.timeout(self._first_byte_timeout_s):
                response = await lane.handle_async_request(request)
        except BaseException as fault:
            await lane.aclose()  # a broken or cancelled exchange leaves nothing to reuse
            if isinstance(fault, TimeoutError):
                message = f"no reply had begun within {self._first_byte_timeout_s:g} s"
                raise UpstreamError(CallError(kind="timeout", message=message)) from None
            raise
        response.stream = self._body(response.stream, lambda: self._release(lane), lane.aclose)
        return response

    async def _release(self, lane: Any) -> None:
        # A cancellation in the middle of its clean-up leaves a connection that its pool takes for busy, for ever.
        if not any(connection.is_idle() for connection in lane._pool.connections):
            await lane.aclose()
            return
        self._idle.append((lane, time.time()))
        await self._expire()

    async def _expire(self) -> None:
        """By the wall clock: while a Lambda environment is frozen, the others may stand still."""
        oldest = time.time() - KEEPALIVE_S
        while self._idle and (len(self._idle) > MAX_IDLE or self._idle[0][1] < oldest):
            await self._idle.popleft()[0].aclose()

    async def aclose(self) -> None:
        while self._idle:
            await self._idle.pop()[0].aclose()


@cache
def _body_class(http: ModuleType) -> Any:
    class Body(http.AsyncByteStream):  # type: ignore[misc, name-defined]
        """A response's body that gives its lane back when it is closed, and drops it when that fails."""

        def __init__(
            self, body: Any, release: Callable[[], Awaitable[None]], drop: Callable[[], Awaitable[None]]
        ) -> None:
            self._body = body
            self._release: Callable[[], Awaitable[None]] | None = release
            self._drop = drop

        async def __aiter__(self) -> Any:
            async for chunk in self._body:
                yield chunk

        async def aclose(self) -> None:
            release, self._release = self._release, None
            try:
                await self._body.aclose()
            except BaseException:
                await self._drop()
                raise
            if release is not None:
                await release()

    return Body
