"""The HTTP clients of the adapters: connection reuse, certificates, headers.

httpx and httpx2 keep all connections of a client in one list and walk it several times for each
request, so a call's cost grows with the calls in flight: with 192 of them it more than doubles.
`_Lanes` gives each exchange in flight a transport with one connection of its own and takes the one
used last when the next call starts. Everything below it (pooling rules, keep-alive, TLS, HTTP/1.1)
stays the library's.
"""

from __future__ import annotations

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

from emerge_core.errors import ConfigError
from emerge_core.providers.connection import Connections

KEEPALIVE_S = 30.0
MAX_IDLE = 256


def http_client(
    http: ModuleType, base_url: str, *, headers: Mapping[str, str] | None = None, ca_file: str | None = None
) -> Any:
    """An `AsyncClient` of the library `http` (httpx or httpx2: the SDKs need the latter).

    Redirects are not followed: they would carry the key to another place.
    """
    context = _tls(http, base_url, ca_file)
    if _behind_proxy(base_url):
        limits = http.Limits(max_connections=1000, max_keepalive_connections=MAX_IDLE, keepalive_expiry=KEEPALIVE_S)
        return http.AsyncClient(headers=headers, verify=context, limits=limits, follow_redirects=False)

    lanes = _Lanes(http, _lane_maker(http, context, tls=base_url.startswith("https:")))
    return http.AsyncClient(headers=headers, transport=lanes, follow_redirects=False)


def _behind_proxy(base_url: str) -> bool:
    parts, proxies = urlsplit(base_url), getproxies()
    return (parts.scheme in proxies or "all" in proxies) and not proxy_bypass(parts.hostname or "")


def _tls(http: ModuleType, base_url: str, ca_file: str | None) -> ssl.SSLContext:
    """One context for all connections of a client: making one takes longer than a call."""
    if ca_file is not None:
        try:
            return ssl.create_default_context(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"ca_file {ca_file}: not a readable file of PEM certificates") from error
    if base_url.startswith("http://"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # never used; it would trust nobody
    context: ssl.SSLContext = http.create_ssl_context()
    return context


def _lane_maker(http: ModuleType, context: ssl.SSLContext, *, tls: bool) -> Callable[[], Any]:
    core = import_module("httpcore" if http.__name__ == "httpx" else "httpcore2")
    backend = Connections(core, tls=tls)

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

    def __init__(self, http: ModuleType, make_lane: Callable[[], Any]) -> None:
        self._make_lane = make_lane
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
                pass  # a kept connection that ended before a reply had begun: upstreams close idle ones at any moment
        return await self._exchange(self._make_lane(), request)

    async def _exchange(self, lane: Any, request: Any) -> Any:
        try:
            response = await lane.handle_async_request(request)
        except BaseException:
            await lane.aclose()  # a broken or cancelled exchange leaves nothing to reuse
            raise
        response.stream = self._body(response.stream, lambda: self._release(lane), lane.aclose)
        return response

    async def _release(self, lane: Any) -> None:
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
