"""An engine whose config can change while it serves.

The config's source is read again when a time to live has passed: beside a request, never before it.
The new config serves from the next request on. A config that cannot be read, is invalid, or has lost
a secret never replaces one that worked; a replaced engine is closed when its last request has ended.

A refresh belongs to the server, not to the request that started it: it has a time limit of its own,
and goes on if that request ends or is cancelled.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import Context
from typing import Any, Generic, Protocol, TypeVar

from emerge_core.config.schema import Config
from emerge_core.engine.engine import Engine
from emerge_core.engine.token_count import TokenCount
from emerge_core.errors import ConfigError
from emerge_core.types import ChatRequest, EmbeddingRequest, Trace

log = logging.getLogger("emerge")

TTL_S = 60.0
LIMIT_S = 12.0  # for one refresh
FAULTY_RETRY_S = 10.0  # if what serves lacks a secret


class Found(Protocol):
    """What a source returns. Equal values are the same config with the same secrets.

    `fault` says what is wrong with it although it can serve, for example a secret that cannot be read."""

    @property
    def config(self) -> Config: ...
    @property
    def version(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def fault(self) -> str | None: ...


FoundT = TypeVar("FoundT", bound=Found)


class _Serving:
    """An engine with the number of its open requests."""

    def __init__(self, found: Found, engine: Engine) -> None:
        self.found = found
        self.engine = engine
        self.open = 0
        self.retired = False


class ReloadingEngine(Generic[FoundT]):
    """Has the interface of `Engine`. `read` blocks and raises ConfigError; `make` builds an engine from what it
    returned; `report(failed, age_s)` is called after every refresh."""

    def __init__(
        self,
        read: Callable[[], FoundT],
        make: Callable[[FoundT], Engine],
        *,
        ttl_s: float = TTL_S,
        limit_s: float = LIMIT_S,
        report: Callable[[bool, float], None] = lambda failed, age_s: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._read = read
        self._make = make
        self._ttl_s = ttl_s
        self._limit_s = limit_s
        self._report = report
        self._clock = clock  # wall time: other clocks may stand still while an environment is frozen
        self._serving: _Serving | None = None
        self._retired: list[_Serving] = []
        self._fault: str | None = None
        self._good_at = 0.0
        self._due_at = 0.0
        self._refresh: asyncio.Task[None] | None = None

    @property
    def config(self) -> Config:
        """The config that serves. Raises ConfigError if none has been read yet."""
        return self._current().engine.config

    async def begin(self, wait_s: float | None = None) -> None:
        """Await this before each request. Starts a refresh if one is due; until a first config has been read it
        also waits for it, `wait_s` seconds at most."""
        if self._refresh is not None and self._refresh.done():
            self._refresh = None
        if self._refresh is None and self._clock() >= self._due_at:
            # In a context of its own: what it logs belongs to the server, not to the request that started it.
            self._refresh = asyncio.create_task(self._read_once(), name="config-refresh", context=Context())
        if self._serving is None and self._refresh is not None:
            await asyncio.wait({self._refresh}, timeout=wait_s)

    async def end(self, wait_s: float | None = None) -> None:
        """Await this after each request. Waits for a running refresh, `wait_s` seconds at most, and closes the
        engines that have been replaced. A refresh that takes longer goes on."""
        if self._refresh is not None:
            await asyncio.wait({self._refresh}, timeout=wait_s)
        retired, self._retired = self._retired, []
        for serving in retired:
            await self._close_if_done(serving)

    async def reload(self) -> None:
        """Reads the source now, however old the config is."""
        await self.end()  # a refresh in progress may have read the source before it changed
        self._due_at = 0.0
        await self.begin()
        await self.end()

    async def run(self, request: ChatRequest, name: str, **options: Any) -> Trace:
        async with self._opened() as engine:
            return await engine.run(request, name, **options)

    async def embed(self, request: EmbeddingRequest, name: str, **options: Any) -> tuple[Trace, list[list[float]]]:
        async with self._opened() as engine:
            return await engine.embed(request, name, **options)

    async def count_tokens(self, request: ChatRequest, name: str) -> TokenCount | None:
        async with self._opened() as engine:
            return await engine.count_tokens(request, name)

    async def aclose(self) -> None:
        await self.end()
        if self._serving is not None:
            await self._serving.engine.aclose()

    def breakers(self) -> dict[str, Any]:
        """Those of the engine that serves: a new config starts with none."""
        return self._current().engine.breakers()

    def refusals(self) -> list[dict[str, Any]]:
        """Those of the engine that serves: a new config starts with none."""
        return self._current().engine.refusals()

    def status(self) -> dict[str, Any]:
        """For `/v1/emerge/status`: which config serves, its age, and what was wrong at the last refresh."""
        found = self._serving.found if self._serving else None
        return {
            "source": found.source if found else None,
            "version": found.version if found else None,
            "age_s": round(self._clock() - self._good_at, 1) if found else None,
            "error": self._fault,
        }

    def _current(self) -> _Serving:
        if self._serving is None:
            raise ConfigError(self._fault or "no config has been read yet")
        return self._serving

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Engine]:
        serving = self._current()
        serving.open += 1
        try:
            yield serving.engine
        finally:
            serving.open -= 1
            await self._close_if_done(serving)

    async def _read_once(self) -> None:
        try:
            async with asyncio.timeout(self._limit_s):
                found = await asyncio.to_thread(self._read)
            self._take(found)
        except ConfigError as fault:
            self._failed(str(fault))
        except TimeoutError:
            self._failed(f"the config's source did not answer within {self._limit_s:g} s")
        except Exception as fault:  # a bug in the source must not stop a good config from serving
            log.exception("config source fault")
            self._failed(f"the config's source failed ({type(fault).__name__})")
        age_s = self._clock() - self._good_at if self._serving else 0.0
        self._report(self._fault is not None, age_s)

    def _take(self, found: FoundT) -> None:
        """Serves `found`, unless it lacks something and what serves now does not."""
        serving = self._serving
        if serving is None or found.fault is None or serving.found.fault is not None:
            if serving is None or found != serving.found:
                self._replace(_Serving(found, self._make(found)))
            self._good_at = self._clock()
        if found.fault is not None:
            self._failed(found.fault)
            return
        self._fault = None
        self._due_at = self._clock() + self._ttl_s

    def _failed(self, fault: str) -> None:
        self._fault = fault
        if self._serving is None:
            state, pause_s = "there is none to serve", 0.0
        elif self._serving.found.fault is not None:
            state, pause_s = "what could be read serves", min(self._ttl_s, FAULTY_RETRY_S)
        else:
            state, pause_s = "the last good one serves on", self._ttl_s
        self._due_at = self._clock() + pause_s
        log.error("config fault", extra={"fault": fault, "state": state})

    def _replace(self, serving: _Serving) -> None:
        old, self._serving = self._serving, serving
        log.info("config", extra={"source": serving.found.source, "version": serving.found.version})
        if old is not None:
            old.retired = True
            self._retired.append(old)

    async def _close_if_done(self, serving: _Serving) -> None:
        if serving.retired and not serving.open:
            await serving.engine.aclose()
