"""Refreshing the config: beside requests, within limits of its own, never to something worse."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from emerge_core.config import parse_config
from emerge_core.config.aws import Snapshot
from emerge_core.engine.engine import Engine
from emerge_core.engine.reload import ReloadingEngine
from emerge_core.errors import ConfigError

CONFIG = parse_config(
    "providers: {p: {kind: simulated}}\nmodels: {a: {provider: p, model: a}}\nensembles: {e: {members: [a]}}",
    source="test",
)


def found(version: str, fault: str | None = None) -> Snapshot:
    return Snapshot(config=CONFIG, version=version, source="test", fault=fault)


@dataclass
class Source:
    """Gives its results one after the other, the last one again and again; waits for `gate` first."""

    results: list[Snapshot | Exception]
    gate: threading.Event = field(default_factory=threading.Event)
    reads: int = 0

    def read(self) -> Snapshot:
        self.gate.wait(30)
        result = self.results[min(self.reads, len(self.results) - 1)]
        self.reads += 1
        if isinstance(result, Exception):
            raise result
        return result


def scenario(*results: Snapshot | Exception, closed: bool = False, **options: Any) -> Callable[..., Any]:
    """Runs a test inside an event loop, with a source, an engine and the reports of its refreshes."""

    def run(test: Callable[..., Any]) -> None:
        async def inside() -> None:
            source = Source(list(results))
            if not closed:
                source.gate.set()
            reports: list[bool] = []
            engine = ReloadingEngine(
                source.read,
                lambda given: Engine(given.config),
                report=lambda failed, age_s: reports.append(failed),
                **{"ttl_s": 0.0, **options},
            )
            try:
                await asyncio.wait_for(test(source, engine, reports), 20)
            finally:
                source.gate.set()
                await engine.aclose()

        asyncio.run(inside())

    return run


async def request(engine: ReloadingEngine[Snapshot]) -> str | None:
    """One request without anything in it: the version that serves afterwards."""
    await engine.begin()
    await engine.end()
    version: str | None = engine.status()["version"]
    return version


def test_a_cancelled_request_leaves_the_refresh_alone() -> None:
    """The first request is cancelled while it waits for the config, the second while it waits at its end."""

    @scenario(found("1"), closed=True)
    async def run(source: Source, engine: ReloadingEngine[Snapshot], reports: list[bool]) -> None:
        for _ in range(3):
            waiting = asyncio.create_task(engine.begin())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            ending = asyncio.create_task(engine.end())
            await asyncio.sleep(0)
            ending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await ending
        source.gate.set()
        assert await request(engine) == "1"
        assert source.reads == 1, "one refresh served all of them"
        await request(engine)
        assert source.reads == 2, "a finished refresh is forgotten"


def test_a_refresh_that_was_cancelled_is_forgotten() -> None:
    @scenario(found("1"), closed=True)
    async def run(source: Source, engine: ReloadingEngine[Snapshot], reports: list[bool]) -> None:
        await engine.begin(0.01)
        (refresh,) = (task for task in asyncio.all_tasks() if task.get_name() == "config-refresh")
        refresh.cancel()
        await asyncio.wait({refresh})
        source.gate.set()
        assert await request(engine) == "1"


def test_a_request_waits_no_longer_than_it_has_time() -> None:
    @scenario(found("1"), closed=True)
    async def run(source: Source, engine: ReloadingEngine[Snapshot], reports: list[bool]) -> None:
        await engine.begin(0.01)
        with pytest.raises(ConfigError):
            engine.config  # noqa: B018
        await engine.end(0.01)
        source.gate.set()
        assert await request(engine) == "1"


def test_a_refresh_has_a_limit_of_its_own() -> None:
    @scenario(found("1"), closed=True, limit_s=0.05)
    async def run(source: Source, engine: ReloadingEngine[Snapshot], reports: list[bool]) -> None:
        await engine.begin()
        assert "0.05 s" in engine.status()["error"]
        assert reports == [True]


def test_what_lacks_a_secret_never_replaces_what_has_all() -> None:
    @scenario(found("1"), found("2", "ssm:/x is missing"), ConfigError("gone"), found("3"))
    async def run(source: Source, engine: ReloadingEngine[Snapshot], reports: list[bool]) -> None:
        assert [await request(engine) for _ in range(4)] == ["1", "1", "1", "3"]
        assert reports == [False, True, True, False]
        assert engine.status()["error"] is None


def test_what_lacks_a_secret_serves_if_there_is_nothing_better() -> None:
    @scenario(found("1", "ssm:/x is missing"), found("2", "ssm:/x is missing"), found("2"))
    async def run(source: Source, engine: ReloadingEngine[Snapshot], reports: list[bool]) -> None:
        assert await request(engine) == "1"
        assert engine.status()["error"] == "ssm:/x is missing"
        assert engine.status()["age_s"] < 1_000
        assert await request(engine) == "2"
        assert await request(engine) == "2"
        assert reports == [True, True, False]
        assert engine.status()["error"] is None
