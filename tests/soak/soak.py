"""`make soak`: mixed faults against `emerge serve`, for as long as MINUTES says.

The server is a process of its own; the faulty upstream and the clients live in this one. It ends with
status 1 where the server died, a request hung or got something that is no reply, the server told of
fewer requests than it answered, or its memory or sockets grew.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.support.faults.upstream import BASE, FaultyUpstream, faulty_upstream

DEADLINE_S = 6.0
HANG_S = 60.0  # no request may take as long: a live stream of a single model may be silent for 30 s (`stream_idle_s`)
SLOW_S = 1.0
EVERY_S = 5.0  # between two looks at the server's memory and sockets
ERRORS = ("invalid_request_error", "rate_limit_error", "upstream_error", "timeout_error")
ENSEMBLES = ("vote", "late", "judge", "merge", "consensus", "escalate", "cascade", "down", "openai", "anthropic")


def config(upstream: FaultyUpstream, share: float) -> dict[str, Any]:
    """Panels whose members fail in a share of their calls; in `down` one always does, so its breaker trips."""

    def model(provider: str, text: str, name: str | None = None) -> dict[str, Any]:
        price = {"input": 1, "output": 2}
        said = "|".join([name or str(share), text])
        return {"provider": provider, "model": said, "price": price, "max_retries": 1}

    bases = {kind: (kind, upstream.address + base) for kind, base in BASE.items()}
    bases["closed"] = ("openai", upstream.closed)
    providers = {name: {"kind": kind, "base_url": url, "timeout_s": SLOW_S} for name, (kind, url) in bases.items()}
    models = {kind: model(kind, "The answer is 42.") for kind in BASE}
    models |= {f"{kind}-else": model(kind, f"The answer is {n}.") for n, kind in enumerate(BASE)}
    models |= {"picker": model("openai", '{"best": 2}'), "merger": model("anthropic", "All in all it is 42.")}
    models |= {"dead": model("openai", "", "status_503"), "closed": model("closed", "")}
    alike, different = list(BASE), ["openai", "anthropic-else", "ollama-else"]
    panels: dict[str, Any] = {
        "vote": {"members": alike, "aggregator": "vote"},
        "late": {"members": alike, "aggregator": "vote", "stragglers": {"after": 2, "grace_s": 0.05}},
        "judge": {"members": different, "aggregator": {"name": "judge", "judge": "picker"}},
        "merge": {"members": different, "aggregator": {"name": "merge", "merger": "merger"}},
        "consensus": {"members": different, "aggregator": {"name": "consensus", "embedder": "embedder"}},
        "escalate": {"members": different, "aggregator": "vote", "escalate": {"to": "merger"}},
        "cascade": {"members": alike, "strategy": {"name": "cascade", "stop": "agree"}},
        "down": {"members": ["openai", "dead", "closed"], "aggregator": "vote", "early_decision": False},
    }
    for panel in panels.values():
        panel |= {"deadline_s": DEADLINE_S, "stream_idle_s": DEADLINE_S}
    embedders = {"embedder": {"provider": "ollama", "model": f"{share}|"}}
    return {"providers": providers, "models": models, "embedders": embedders, "ensembles": panels}


@dataclass
class Account:
    """Every request sent, by what became of it."""

    warm_up_mb: float  # by which the memory may still grow
    sent: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    degraded: int = 0
    wrong: list[str] = field(default_factory=list)
    told: int = 0  # `request` lines in the server's log
    seconds: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)  # MB
    files: list[int] = field(default_factory=list)

    def faults(self, server: asyncio.subprocess.Process, *, counted: bool = True) -> list[str]:
        found = list(self.wrong[:10])
        if server.returncode is not None:
            found.append(f"the server ended with status {server.returncode}")
        if counted and sum(self.ends.values()) != self.sent:
            found.append(f"{self.sent} requests were sent, and {sum(self.ends.values())} are accounted for")
        answered = self.sent - self.ends["left by the client"]
        if counted and not answered <= self.told <= self.sent:
            found.append(f"{answered} requests were answered, and the server told of {self.told}")
        for what, samples, slack in (("memory in MB", self.memory, self.warm_up_mb), ("open files", self.files, 16.0)):
            before, after = halves(samples)
            if after > before * 1.1 + slack:
                found.append(f"{what} grew from {before:.0f} to {after:.0f}")
        return found


def halves(samples: Sequence[float]) -> tuple[float, float]:
    """The medians of the second and of the last quarter: the first one warms up."""
    quarter = max(len(samples) // 4, 1)
    return statistics.median(samples[quarter : 2 * quarter] or samples), statistics.median(samples[-quarter:])


async def main(minutes: float, at_once: int, share: float) -> int:
    account = Account(warm_up_mb=8.0 if minutes >= 10 else 48.0)  # one reply at its limit takes as much, once
    breakers: dict[str, Any] = {}
    async with faulty_upstream() as upstream, serving(config(upstream, share), account) as (server, url):
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=at_once)
        async with httpx.AsyncClient(base_url=url, timeout=None, limits=limits) as client:
            for name in ENSEMBLES:  # the first calls import the SDKs, which takes longer than a call
                await _ask(name, False, client, account, None)
            ends = time.monotonic() + 60 * minutes
            await asyncio.gather(*(_client(n, client, account, ends) for n in range(at_once)))
            with suppress(httpx.HTTPError):  # a server that died is told of below
                breakers = (await client.get("/emerge/status")).json()["breakers"]
        await asyncio.sleep(1)  # for the last log lines
        faults = account.faults(server)
    _report(minutes, at_once, upstream, account, breakers)
    for fault in faults:
        print(f"  FAULT {fault}")
    return 1 if faults else 0


@asynccontextmanager
async def serving(config: dict[str, Any], account: Account) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A server of this config, a process of its own, and its base URL. Its log and memory go into the account."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump(config, file)
        file.flush()
        server, url = await _serve(file.name)
    helpers = [asyncio.create_task(_count(server, account)), asyncio.create_task(_watch(server, account))]
    try:
        yield server, url
    finally:
        with suppress(ProcessLookupError):
            server.terminate()
        await server.wait()
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)


async def _serve(path: str) -> tuple[asyncio.subprocess.Process, str]:
    command = [sys.executable, "-m", "emerge_core", "serve", "--config", path, "--port", "0", "--log"]
    pipe = asyncio.subprocess.PIPE
    server = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, limit=2**20)
    assert server.stdout is not None and server.stderr is not None
    first = (await server.stdout.readline()).decode()
    if not first:
        sys.exit((await server.stderr.read()).decode())
    return server, first.split()[-1]


async def _count(server: asyncio.subprocess.Process, account: Account) -> None:
    """Reads the server's log as it comes."""
    assert server.stderr is not None
    async for line in server.stderr:
        if line.startswith(b'{"event":"request"'):
            account.told += 1
        elif b"Traceback" in line or b'"level":"ERROR"' in line:
            account.wrong.append(f"the server's log: {line.decode()[:300]}")


async def _watch(server: asyncio.subprocess.Process, account: Account) -> None:
    place = Path(f"/proc/{server.pid}")
    while server.returncode is None:
        await asyncio.sleep(EVERY_S)
        with suppress(OSError):
            pages = int((place / "statm").read_text().split()[1])
            account.memory.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)
            account.files.append(len(list((place / "fd").iterdir())))


async def _client(number: int, client: httpx.AsyncClient, account: Account, ends: float) -> None:
    chance = random.Random(number)
    while time.monotonic() < ends:
        leaves_s = 0.02 if chance.random() < 0.02 else None
        await _ask(chance.choice(ENSEMBLES), chance.random() < 0.5, client, account, leaves_s)


async def _ask(name: str, stream: bool, client: httpx.AsyncClient, account: Account, leaves_s: float | None) -> None:
    """One request, from its sending to its place in the account. `leaves_s`: then the client hangs up."""
    account.sent += 1
    began = time.monotonic()
    body = {"model": name, "messages": [{"role": "user", "content": "What is 6 times 7?"}], "stream": stream}
    patience = asyncio.timeout(leaves_s)
    try:
        async with patience, asyncio.timeout(HANG_S):
            end = _end(await client.post("/chat/completions", json=body), account)
    except TimeoutError:
        end = "left by the client" if patience.expired() else "hung"
    except httpx.HTTPError as error:
        end = f"broken: {type(error).__name__}"
    account.ends[end] += 1
    account.seconds.append(time.monotonic() - began)
    if end.startswith(("hung", "broken", "no reply")):
        account.wrong.append(f"{name}: {end}")


def _end(reply: httpx.Response, account: Account) -> str:
    try:
        body = _last(reply.text) if "event-stream" in reply.headers["content-type"] else reply.json()
        told = body.get("error") or body
        account.degraded += bool(told["emerge"]["degraded"])
        if "error" in body:
            return f"error {told['type']}" if told["type"] in ERRORS else f"no reply: {told}"[:300]
        return "reply" if body["choices"][0]["finish_reason"] else "no reply: no finish_reason"
    except (ValueError, KeyError, IndexError, TypeError) as error:
        return f"no reply: {error!r} {reply.text[:200]}"


def _last(stream: str) -> dict[str, Any]:
    events = [line.removeprefix("data: ") for line in stream.splitlines() if line.startswith("data: ")]
    last: dict[str, Any] = json.loads(events[-2] if events[-1] == "[DONE]" else events[-1])
    if "error" not in last and events[-1] != "[DONE]":
        raise ValueError("the stream has no end")
    return last


def _report(minutes: float, at_once: int, upstream: FaultyUpstream, account: Account, breakers: dict[str, Any]) -> None:
    seconds = sorted(account.seconds)
    memory, files = account.memory, account.files
    print(
        f"soak: {minutes:g} minutes, {at_once} clients, {account.sent} requests ({account.sent / minutes / 60:.1f}/s)"
    )
    print(f"  upstream calls {sum(upstream.calls.values())}, degraded replies {account.degraded}")
    for end, count in account.ends.most_common():
        print(f"  {count:8} {end}")
    print(f"  told by the server {account.told}")
    print(f"  seconds: p50 {at(seconds, 0.5):.3f}, p99 {at(seconds, 0.99):.3f}, longest {seconds[-1]:.3f}")
    for what, samples in (("memory in MB", memory), ("open files", files)):
        before, after = halves(samples)
        print(f"  {what}: {before:.0f} in the second quarter, {after:.0f} in the last, {max(samples):.0f} at most")
    print(f"  breakers at the end: {breakers}")


def at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--at-once", type=int, default=24)
    parser.add_argument("--share", type=float, default=0.2, help="of the calls that have a fault")
    parser.add_argument("--hostile", action="store_true", help="one hostile client among honest ones, without faults")
    parser.add_argument("--honest", type=int, default=10, help="the honest clients beside the hostile one")
    given = parser.parse_args()
    if given.hostile:
        from tests.soak import hostile

        sys.exit(asyncio.run(hostile.main(given.minutes, given.honest)))
    sys.exit(asyncio.run(main(given.minutes, given.at_once, given.share)))
