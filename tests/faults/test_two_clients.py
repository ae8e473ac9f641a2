"""A hostile client and an honest one at one real server: what the first does must not be noticed by the second, in
what it gets, in how long it waits, and in what the server keeps."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import httpx

from tests.fuzz.test_hostile_requests import REQUESTS, chat
from tests.soak.hostile import ASKED, MEMBERS, PROVOKED, QUOTED, Honest, ask, config, provoked
from tests.soak.soak import Account, serving
from tests.support.faults.upstream import faulty_upstream

PASSING = ("deep tools", "slow to match", "question of options")
ROUNDS = 2
MOST_MB = 64.0  # by which a further round may make the server grow: caches of schemas may still fill
JSON = {"content-type": "application/json"}
TOOLS = [{"type": "function", "function": {"name": "f0", "parameters": {"type": "object"}}}]


def attacks() -> dict[str, dict[str, Any]]:
    found = {name: {**REQUESTS[name], "model": "vote"} for name in PASSING}
    for what in [*PROVOKED, *map(str, range(len(QUOTED)))]:
        tools = {"tools": TOOLS} if what in ("deep", "many", "nameless") else {}
        found[f"provoke {what}"] = {**chat(f"provoke {what}"), **ASKED, **tools, "model": "vote"}
    found["four megabytes"] = {**chat("(A) b " * 650_000), "model": "adaptive"}
    return found


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_a_hostile_client_changes_nothing_for_an_honest_one() -> None:
    account, seen = Account(warm_up_mb=0), Honest()

    async def honest_until(done: asyncio.Event, client: httpx.AsyncClient) -> int:
        """How many requests were answered, as they are without a hostile client beside them, before it was done."""
        answered = 0
        while not done.is_set():
            for name in MEMBERS:
                fault = await ask(name, answered % 2 == 0, client, seen)
                assert fault is None, fault
                answered += not done.is_set()
        return answered

    async def main() -> tuple[dict[str, int], dict[str, Any], list[float]]:
        answered: dict[str, int] = {}
        memory: list[float] = []
        async with faulty_upstream() as upstream:
            upstream.provoked = provoked
            async with (
                serving(config(upstream), account) as (server, url),
                httpx.AsyncClient(base_url=url, timeout=None) as client,
                httpx.AsyncClient(base_url=url, timeout=None) as enemy,
            ):
                for name in MEMBERS:
                    await ask(name, False, client, Honest())
                for _ in range(ROUNDS):
                    for name, body in attacks().items():
                        done = asyncio.Event()
                        honest = asyncio.create_task(honest_until(done, client))
                        reply = await enemy.post("/chat/completions", content=json.dumps(body).encode(), headers=JSON)
                        done.set()
                        answered[name] = await honest
                        assert reply.status_code in (200, 400, 502), reply.text
                    memory.append(resident_mb(server.pid))
                return answered, (await client.get("/emerge/status")).json(), memory

    answered, status, memory = asyncio.run(main())
    assert answered["provoke long"] >= 2, "a long reply to one client keeps the other waiting"
    assert (status["breakers"], status["refused_params"]) == ({}, {})
    assert not seen.dropped
    assert memory[-1] - memory[0] < MOST_MB, memory
