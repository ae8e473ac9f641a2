"""A thousand clients, and a process that may open 1,024 files."""

from __future__ import annotations

import asyncio
import json
import math
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from tests.bench.speed.client import connect, get, post
from tests.bench.speed.overhead import PATH, body
from tests.bench.speed.servers import Process, running, servers
from tests.bench.speed.table import Limit
from tests.support.paths import ROOT

CLIENTS, DESCRIPTORS = 1_000, 1_024
SECONDS = 20.0
RETRY_S = 1.0  # what a 503 asks for
PROBE_S = 0.02


class Load:
    def __init__(self, process: Process) -> None:
        self._port = process.port
        self.statuses: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()

    async def run(self, seconds: float, clients: int) -> None:
        end = time.perf_counter() + seconds
        async with asyncio.TaskGroup() as tasks:
            for _ in range(clients):
                tasks.create_task(self._client(end))

    async def _client(self, end: float) -> None:
        """Asks one request after the other, on one connection as long as the server keeps it, and waits after a 503."""
        request = post(PATH, body("panel"))
        client = None
        while time.perf_counter() < end:
            try:
                if client is None or client.lost:
                    client = await connect(self._port)
                reply = await client.ask(request)
            except OSError as error:
                self.statuses[type(error).__name__] += 1
                client = None
                continue
            self.statuses[str(reply.status)] += 1
            if reply.status == 503:
                self.codes[json.loads(reply.body)["error"]["code"]] += 1
            if reply.closed:
                client.close()
                client = None
            if reply.status != 200:
                await asyncio.sleep(RETRY_S)
        if client is not None:
            client.close()


def probe(port: int, seconds: float) -> list[tuple[int, float]]:
    """The status and the time in seconds of health checks, each on a connection of its own, as a load balancer makes
    them."""
    found = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        with socket.create_connection(("127.0.0.1", port), 60) as connection:
            connection.sendall(get("/healthz"))
            reply = connection.recv(65_536)
        found.append((int(reply.split()[1]), time.perf_counter() - began))
        time.sleep(PROBE_S)
    return found


def measure_load(folder: Path, upstream: str, *, seconds: float = SECONDS, clients: int = CLIENTS) -> list[Limit]:
    emerge = next(server for server in servers(upstream, litellm=False) if server.name == "emerge")
    with running(emerge, folder, upstream, descriptors=DESCRIPTORS) as process:
        load = Load(process)
        began = process.cpu_s()
        command = (sys.executable, "-m", f"{__package__}.load", str(process.port), str(seconds))
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as prober:
            asyncio.run(load.run(seconds / 4, clients))
            early = process.resident_mb()
            asyncio.run(load.run(seconds * 3 / 4, clients))
            checks = json.loads(prober.communicate()[0])
        cpu = process.cpu_s() - began
        resident = process.resident_mb()
    lines = process.log.read_text().splitlines()
    kinds = {line.split(" (")[0] for line in lines}
    expected = len(kinds) * math.ceil(seconds / 60)  # each kind is repeated once a minute, with a count
    probes = [took for _, took in checks]
    p99 = statistics.quantiles(probes, n=100)[98]
    unanswered = sum(n for status, n in load.statuses.items() if status not in ("200", "503"))
    unanswered += sum(status != 200 for status, _ in checks)
    median, worst = statistics.median(probes), max(probes)
    print(f"\n{clients:,} clients for {seconds:.0f} s, {DESCRIPTORS:,} descriptors:")
    print(f"{dict(sorted(load.statuses.items()))}, {dict(load.codes)};")
    print(
        f"{len(checks)} times /healthz: median {median * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms, "
        f"worst {worst * 1000:.0f} ms;"
    )
    print(f"{cpu / seconds:.2f} cores, {early:.0f} MB after a quarter and {resident:.0f} MB at the end; stderr:")
    for line in lines[:10]:
        print(f"    {line[:160]}")
    return [
        Limit("1,000 clients: requests neither answered nor refused with 503", unanswered, at_most=0),
        Limit("1,000 clients: p99 of /healthz", p99, at_most=0.2, unit=" s"),
        Limit(
            "1,000 clients: lines on stderr beyond one per kind and minute", max(len(lines) - expected, 0), at_most=0
        ),
    ]


if __name__ == "__main__":
    print(json.dumps(probe(int(sys.argv[1]), float(sys.argv[2]))))
