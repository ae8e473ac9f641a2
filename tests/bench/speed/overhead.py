"""What each server adds to its upstream's time, and what a request costs it."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tests.bench.speed.client import Client, Reply, ask_many, clients, connect, get, post
from tests.bench.speed.servers import Process, Server, running
from tests.bench.speed.table import Limit, print_table
from tests.bench.speed.upstream import CHUNKS

FLOOR, OURS, PEER = "FastAPI + aiohttp", "emerge", "LiteLLM proxy"
AT_ONCE, MANY = 16, 512
STARTS = 2
DIRECT = "the upstream itself"
PATH = "/v1/chat/completions"


class Size(NamedTuple):
    """How many requests a server is asked in each round."""

    quick: int  # of ensembles without latency
    panel: int  # of ensembles of 50, 80 and 120 ms, one at a time
    single: int
    streams: int


FAST, SLOW = Size(480, 20, 30, AT_ONCE), Size(96, 20, 30, AT_ONCE)


class Figures:
    """Every figure of every round, by server and kind."""

    def __init__(self) -> None:
        self._all: defaultdict[tuple[str, str], list[float]] = defaultdict(list)

    def add(self, server: str, kind: str, *values: float) -> None:
        self._all[server, kind].extend(values)

    def median(self, server: str, kind: str) -> float | None:
        found = self._all.get((server, kind))
        return statistics.median(found) if found else None

    def highest(self, server: str, kind: str) -> float | None:
        return max(self._all.get((server, kind), ()), default=None)

    def p99(self, server: str, kind: str) -> float | None:
        found = self._all.get((server, kind), [])
        return statistics.quantiles(found, n=100)[98] if len(found) > 1 else None

    def ratio(self, kind: str, server: str, to: str) -> float | None:
        above, below = self.median(server, kind), self.median(to, kind)
        return above / below if above is not None and below else None


async def measure_overhead(
    compared: Sequence[Server], upstream: Process, folder: Path, *, rounds: int, scale: float = 1.0
) -> list[Limit]:
    figures = Figures()
    url = f"http://127.0.0.1:{upstream.port}"
    await _capacity(upstream, figures)
    for _ in range(STARTS - 1 if scale >= 1 else 0):
        for server in compared:
            with running(server, folder, url) as process:
                _started(server, process, figures)
    with ExitStack() as stack:
        up = {}
        for server in compared:
            up[server.name] = stack.enter_context(running(server, folder, url))
            _started(server, up[server.name], figures)
        for server in compared:
            await _warm(server, up[server.name], 2 if scale >= 1 else 1)
        for _ in range(rounds):
            await _direct(upstream, figures)
            for server in compared:
                await _round(server, up[server.name], upstream, figures, scale)
        for server in compared:
            figures.add(server.name, "resident", up[server.name].resident_mb())
        ours = next(server for server in compared if server.name == OURS)
        for _ in range(rounds):
            await _at_many(ours, up[OURS], figures, scale)
    _print(compared, figures)
    return _limits(figures)


def _started(server: Server, process: Process, figures: Figures) -> None:
    figures.add(server.name, "ready", process.ready_s)
    figures.add(server.name, "ready cpu", process.cpu_s())


def body(model: str, *, stream: bool = False) -> bytes:
    asked = {"model": model, "messages": [{"role": "user", "content": "What is 6 times 7?"}], "max_tokens": 100}
    return json.dumps(asked | ({"stream": True} if stream else {})).encode()


async def _warm(server: Server, process: Process, times: int) -> None:
    async with clients(process.port, AT_ONCE) as connections:
        for model in (server.quick, server.slow, server.panel):
            await ask_many(connections, post(PATH, body(model)), times * AT_ONCE)
        await ask_many(connections, post(PATH, body(server.slow, stream=True)), times)


async def _capacity(upstream: Process, figures: Figures) -> None:
    """Requests per second of the upstream's processor time, with as many connections as an ensemble's calls need."""
    request = post(f"/0{PATH}", body("0"))
    async with clients(upstream.port, 3 * AT_ONCE) as connections:
        await ask_many(connections, request, 1000)
        before = upstream.cpu_s()
        await ask_many(connections, request, 9000)
        figures.add(DIRECT, "capacity", 9000 / (upstream.cpu_s() - before))
    await _arrivals(upstream)


async def _direct(upstream: Process, figures: Figures) -> None:
    async with clients(upstream.port, 1) as connections:
        replies = await ask_many(connections, post(f"/20{PATH}", body("20")), FAST.single)
        figures.add(DIRECT, "single", *(reply.last_s * 1000 for reply in replies))
        replies = await ask_many(connections, post(f"/20{PATH}", body("20", stream=True)), 5)
        figures.add(DIRECT, "first token", *(reply.first_s * 1000 for reply in replies))
        replies = await ask_many(connections, post(f"/120{PATH}", body("120")), 5)
        figures.add(DIRECT, "slowest", *(reply.last_s * 1000 for reply in replies))
    await _arrivals(upstream)


async def _round(server: Server, process: Process, upstream: Process, figures: Figures, scale: float) -> None:
    name = server.name
    size = Size(*(max(round(count * scale), 4) for count in (SLOW if name == PEER else FAST)))
    async with clients(process.port, AT_ONCE) as connections:
        alone = connections[:1]
        quick = post(PATH, body(server.quick))
        busy = upstream.cpu_s()
        figures.add(name, "cpu", await _cpu_ms(process, connections, quick, size.quick))
        figures.add(name, "upstream cpu", (upstream.cpu_s() - busy) * 1000 / size.quick)
        await _arrivals(upstream)
        replies = await ask_many(alone, post(PATH, body(server.panel)), size.panel)
        figures.add(name, "panel", *(reply.last_s * 1000 for reply in replies))
        came = await _arrivals(upstream)
        groups = [came[start : start + 3] for start in range(0, len(came), 3)]
        figures.add(name, "spread", *((group[-1] - group[0]) * 1000 for group in groups))
        replies = await ask_many(connections, post(PATH, body(server.panel)), 5 * size.panel)
        figures.add(name, "panel at once", *(reply.last_s * 1000 for reply in replies))
        replies = await ask_many(alone, post(PATH, body(server.slow)), size.single)
        figures.add(name, "single", *(reply.last_s * 1000 for reply in replies))
        streamed = post(PATH, body(server.slow, stream=True))
        replies = await ask_many(alone, streamed, 5)
        figures.add(name, "first token", *(reply.first_s * 1000 for reply in replies))
        cpu = await _cpu_ms(process, connections, streamed, size.streams)
        figures.add(name, "chunk", cpu * 1000 / CHUNKS)
    await _arrivals(upstream)


async def _at_many(server: Server, process: Process, figures: Figures, scale: float) -> None:
    """Last, because so many connections take memory that the other servers are not asked for."""
    quick = post(PATH, body(server.quick))
    at_once = max(round(MANY * scale), AT_ONCE)
    async with clients(process.port, 1) as alone, clients(process.port, at_once) as many:
        figures.add(OURS, "cpu at one", await _cpu_ms(process, alone, quick, at_once // 2))
        await ask_many(many, quick, at_once)
        figures.add(OURS, "cpu at many", await _cpu_ms(process, many, quick, 2 * at_once))


async def _cpu_ms(process: Process, connections: Sequence[Client], request: bytes, count: int) -> float:
    before = process.cpu_s()
    replies = await ask_many(connections, request, count)
    return (process.cpu_s() - before) * 1000 / len(replies)


async def _arrivals(upstream: Process) -> list[float]:
    client = await connect(upstream.port)
    reply: Reply = await client.ask(get("/arrivals"))
    client.close()
    found: list[float] = json.loads(reply.body)
    return found


def _added(figures: Figures, server: str, kind: str, direct: str, *, p99: bool = False) -> float | None:
    base = figures.median(DIRECT, direct)
    value = figures.p99(server, kind) if p99 else figures.median(server, kind)
    return value - base if value is not None and base is not None else None


def _over(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def _text(value: float | None, form: str = ".2f") -> str:
    return "–" if value is None else format(value, form)


def _print(compared: Sequence[Server], figures: Figures) -> None:
    capacity = figures.median(DIRECT, "capacity") or 0
    print(
        f"\nThe upstream answers {capacity:,.0f} requests per second of its processor time. All servers run on asyncio."
    )
    rows = []
    for server in compared:
        name = server.name
        cpu = figures.median(name, "cpu")
        upstream_share = _over(figures.median(name, "upstream cpu"), cpu)
        rows.append(
            [
                name,
                _text(cpu),
                _text(1000 / cpu if cpu else None, ".0f"),
                _text(upstream_share and upstream_share * 100, ".0f") + " %",
                _text(_added(figures, name, "panel", "slowest")),
                _text(_added(figures, name, "panel at once", "slowest", p99=True), ".1f"),
                _text(figures.median(name, "spread")),
                _text(_added(figures, name, "single", "single")),
                _text(_added(figures, name, "first token", "first token")),
                _text(figures.median(name, "chunk"), ".0f"),
                _text(figures.median(name, "ready"), ".1f"),
                _text(figures.median(name, "resident"), ".0f"),
            ]
        )
    print_table(
        (
            "server",
            "CPU per ensemble, ms",
            "ensembles per core and second",
            "the upstream's CPU beside it",
            "added to the slowest call, ms",
            "p99 at 16 at once, ms",
            "calls start within, ms",
            "added to one model, ms",
            "to its first token, ms",
            "CPU per chunk, µs",
            "ready, s",
            "resident, MB",
        ),
        rows,
    )


def _limits(figures: Figures) -> list[Limit]:
    ours = {
        kind: _added(figures, OURS, kind, direct)
        for kind, direct in (("panel", "slowest"), ("single", "single"), ("first token", "first token"))
    }
    floor = _added(figures, FLOOR, "panel", "slowest")
    peer = {kind: _added(figures, PEER, kind, direct) for kind, direct in (("panel", "slowest"), ("single", "single"))}
    return [
        Limit("CPU per ensemble, of the aiohttp floor's", figures.ratio("cpu", OURS, FLOOR), at_most=2.6, unit=" ×"),
        Limit("CPU per ensemble, of LiteLLM's", figures.ratio("cpu", OURS, PEER), at_most=0.085, unit=" ×"),
        Limit("ensembles per core, of LiteLLM's", figures.ratio("cpu", PEER, OURS), at_least=11.5, unit=" ×"),
        Limit(
            f"CPU per ensemble at {MANY} at once, of that at one",
            _over(figures.median(OURS, "cpu at many"), figures.median(OURS, "cpu at one")),
            at_most=1.2,
            unit=" ×",
        ),
        Limit("added to the slowest call, of the floor's", _over(ours["panel"], floor), at_most=1.6, unit=" ×"),
        Limit("added to the slowest call, of LiteLLM's", _over(ours["panel"], peer["panel"]), at_most=0.13, unit=" ×"),
        Limit(
            "p99 over the slowest call at 16 at once",
            _added(figures, OURS, "panel at once", "slowest", p99=True),
            at_most=60,
            unit=" ms",
        ),
        Limit("the three calls start within", figures.median(OURS, "spread"), at_most=0.4, unit=" ms"),
        Limit("added to one model, of LiteLLM's", _over(ours["single"], peer["single"]), at_most=0.12, unit=" ×"),
        Limit("added to the first token", ours["first token"], at_most=2, unit=" ms"),
        Limit("CPU per streamed chunk", figures.median(OURS, "chunk"), at_most=150, unit=" µs"),
        Limit("ready, of LiteLLM's time", figures.ratio("ready", OURS, PEER), at_most=0.12, unit=" ×"),
        Limit("resident, of LiteLLM's", figures.ratio("resident", OURS, PEER), at_most=0.28, unit=" ×"),
    ]
