"""An engine whose config can change while it serves.

The config's source is looked at again when a time to live has passed: beside a request, never
before it. What is found serves from the next request on; a config that cannot be read or is wrong
never replaces one that worked, and the one before is closed when its last request has ended.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Generic, Protocol, TypeVar

from emerge_core.config.schema import Config
from emerge_core.engine.engine import Engine
from emerge_core.errors import ConfigError
from emerge_core.types import ChatRequest, EmbeddingRequest, Trace

log = logging.getLogger("emerge")

TTL_S = 60.0
RETRY_S = 1.0  # after a look that failed, while nothing serves


class Found(Protocol):
    """What a source gives. Equal ones are the same config with the same secrets."""

    @property
    def config(self) -> Config: ...
    @property
    def version(self) -> str: ...
    @property
    def source(self) -> str: ...


FoundT = TypeVar("FoundT", bound=Found)


class _Serving:
    """An engine with the number of its open requests."""

    def __init__(self, found: Found, engine: Engine) -> None:
        self.found = found
        self.engine = engine
        self.open = 0
        self.retired = False


class ReloadingEngine(Generic[FoundT]):
    """Serves as an `Engine` does. `read` blocks and raises ConfigError; `make` builds an engine of what it
    gave; `report(failed, age_s)` is told after every look at the source."""

    def __init__(
        self,
        read: Callable[[], FoundT],
        make: Callable[[FoundT], Engine],
        *,
        ttl_s: float = TTL_S,
        report: Callable[[bool, float], None] = lambda failed, age_s: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._read = read
        self._make = make
        self._ttl_s = ttl_s
        self._report = report
        self._clock = clock  # the wall's: others may stand still while an environment is frozen
        self._serving: _Serving | None = None
        self._retired: list[_Serving] = []
        self._fault: str | None = None
        self._good_at = 0.0
        self._look_at = 0.0
        self._look: asyncio.Task[None] | None = None

    @property
    def config(self) -> Config:
        """The config that serves. Raises ConfigError where there is none yet."""
        return self._current().engine.config

    async def begin(self) -> None:
        """To be awaited before each request: waits for a first config, and starts a look that is due."""
        if self._look is None and self._clock() >= self._look_at:
            self._look = asyncio.create_task(self._refresh(), name="config-refresh")
        if self._serving is None and self._look is not None:
            await self._look

    async def end(self) -> None:
        """To be awaited after each request: nothing that `begin` started is left running."""
        if self._look is not None:
            await self._look
            self._look = None
        retired, self._retired = self._retired, []
        for serving in retired:
            await self._close_if_done(serving)

    async def run(self, request: ChatRequest, name: str, **options: Any) -> Trace:
        async with self._opened() as engine:
            return await engine.run(request, name, **options)

    async def embed(self, request: EmbeddingRequest, name: str, **options: Any) -> tuple[Trace, list[list[float]]]:
        async with self._opened() as engine:
            return await engine.embed(request, name, **options)

    async def aclose(self) -> None:
        await self.end()
        if self._serving is not None:
            await self._serving.engine.aclose()

    def breakers(self) -> dict[str, Any]:
        """Of the engine that serves: a new config begins with none."""
        return self._current().engine.breakers()

    def status(self) -> dict[str, Any]:
        """For `/v1/emerge/status`: which config serves, since when, and what was wrong at the last look."""
        found = self._serving.found if self._serving else None
        return {
            "source": found.source if found else None,
            "version": found.version if found else None,
            "age_s": round(self._clock() - self._good_at, 1) if found else None,
            "error": self._fault,
        }

    def _current(self) -> _Serving:
        if self._serving is None:
            raise ConfigError(self._fault or "no config was read yet")
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

    async def _refresh(self) -> None:
        try:
            found = await asyncio.to_thread(self._read)
            if self._serving is None or found != self._serving.found:
                self._replace(_Serving(found, self._make(found)))
        except ConfigError as fault:
            self._failed(str(fault))
        except Exception as fault:  # a bug in the source must not end the serving of a good config
            log.exception("config source fault")
            self._failed(f"the config's source failed ({type(fault).__name__})")
        else:
            self._fault = None
            self._good_at = self._clock()
            self._look_at = self._good_at + self._ttl_s
        age_s = self._clock() - self._good_at if self._serving else 0.0
        self._report(self._fault is not None, age_s)

    def _failed(self, fault: str) -> None:
        self._fault = fault
        self._look_at = self._clock() + (self._ttl_s if self._serving else RETRY_S)
        state = "the last good one serves on" if self._serving else "there is none to serve"
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
