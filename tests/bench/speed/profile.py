"""Where the processor time of an ensemble goes, by module."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench.speed.client import ask_many, clients, post
from tests.bench.speed.overhead import AT_ONCE, PATH, body
from tests.bench.speed.servers import Server, running, write_emerge_config
from tests.bench.speed.table import print_table

REQUESTS = 4000
SHOWN_PERCENT = 1.5


def print_profile(folder: Path, upstream: str, *, requests: int = REQUESTS) -> None:
    out = folder / "profile.json"

    def command(folder: Path, port: int) -> Sequence[str]:
        serve = ("serve", "--config", str(write_emerge_config(folder, upstream)), "--port", str(port))
        return (sys.executable, "-m", f"{__package__}.profiled", str(out), *serve)

    server = Server("emerge, profiled", command)

    async def ask(port: int, count: int) -> None:
        async with clients(port, AT_ONCE) as connections:
            await ask_many(connections, post(PATH, body(server.quick)), count)

    with running(server, folder, upstream) as process:
        asyncio.run(ask(process.port, max(requests // 10, AT_ONCE)))
        process.child.send_signal(signal.SIGUSR1)
        asyncio.run(ask(process.port, requests))
        process.child.send_signal(signal.SIGINT)
        process.child.wait(15)
    found = json.loads(out.read_text())
    whole = sum(found["own"].values()) or 1
    shares = {
        name: (100 * found["own"].get(name, 0) / whole, 100 * under / whole) for name, under in found["under"].items()
    }
    shown = sorted((s for s in shares.items() if s[1][0] >= SHOWN_PERCENT), key=lambda s: -s[1][0])
    rows = [[name, f"{own:.1f}", f"{under:.1f}", "█" * round(own)] for name, (own, under) in shown]
    ours = sum(own for name, (own, _) in shares.items() if name.startswith("emerge_core"))
    print(f"\nProcessor time of ensembles of three without latency, {whole:,} samples; our own code {ours:.0f} %.")
    print_table(("module", "its own, %", "with what it calls, %", ""), rows)
