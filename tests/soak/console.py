"""Many requests through `emerge serve` while its console is open: memory must stay flat, and no content may be kept.

    python -m tests.soak.console [--requests 100000] [--seconds 3600] [--clients 8]

Every question holds a number of its own. At the end, the questions and answers that are still in the server's memory
are counted: a server that keeps content has as many as there were requests, one that does not only what its bounded
caches hold. The page's two ways to read are used all the while: the list of requests, as an open tab polls it, and now
and then a question with progress.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import httpx

MARK = "q7k"
POLL_S = 1.0
SAMPLE_EACH = 50  # requests
MOST_GROWTH = 0.05  # of the median of the second quarter, to that of the last
MOST_KEPT = 2000  # questions in the bounded caches and in buffers that were not used again


def rss_kb(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1])


def marks_in_memory(pid: int) -> int:
    """How many different questions are found in the process's writable memory."""
    seen: set[bytes] = set()
    pattern = re.compile(MARK.encode() + rb"(\d{7})x")
    with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            addresses, permissions = line.split()[:2]
            if not permissions.startswith("rw"):
                continue
            start, end = (int(each, 16) for each in addresses.split("-"))
            try:
                memory.seek(start)
                seen.update(pattern.findall(memory.read(end - start)))
            except (OSError, ValueError, OverflowError):
                continue
    return len(seen)


class Soak:
    def __init__(self, url: str, pid: int, *, requests: int, seconds: float) -> None:
        self.url, self.pid, self.requests = url, pid, requests
        self.end = time.monotonic() + seconds
        self.sent = self.failed = self.watched = self.polled = 0
        self.samples: list[int] = []

    def body(self, *, stream: bool = False) -> dict[str, Any]:
        self.sent += 1
        text = f"{MARK}{self.sent:07d}x: what is {self.sent} + 4 * (7 - 2)?"
        return {"model": "emerge", "stream": stream, "messages": [{"role": "user", "content": text}]}

    async def client(self, http: httpx.AsyncClient) -> None:
        while self.sent < self.requests and time.monotonic() < self.end:
            if self.sent % 500 == 499:
                headers = {"x-emerge-progress": "calls"}
                reply = await http.post("/console/api/ask", json=self.body(stream=True), headers=headers)
                self.watched += 1
            else:
                reply = await http.post("/v1/chat/completions", json=self.body())
            self.failed += reply.status_code != 200
            if self.sent % SAMPLE_EACH == 0:
                self.samples.append(rss_kb(self.pid))

    async def tab(self, http: httpx.AsyncClient) -> None:
        last = 0
        while True:
            found = (await http.get(f"/console/api/requests?after={last}")).json()
            last = max((entry["number"] for entry in found["entries"]), default=last)
            assert MARK not in json.dumps(found), "the list of requests holds content"
            self.polled += 1
            await asyncio.sleep(POLL_S)

    async def run(self, clients: int) -> None:
        limits = httpx.Limits(max_connections=clients + 1)
        async with httpx.AsyncClient(base_url=self.url, limits=limits, timeout=60, trust_env=False) as http:
            tab = asyncio.create_task(self.tab(http))
            await asyncio.gather(*(self.client(http) for _ in range(clients)))
            if tab.done():
                tab.result()
            tab.cancel()
            await asyncio.gather(tab, return_exceptions=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=3600, help="end then, however many requests are left")
    parser.add_argument("--clients", type=int, default=8)
    args = parser.parse_args()
    command = [sys.executable, "-m", "emerge_core", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            found = re.search(r"http://\S+(?=/v1)", server.stdout.readline())
            assert found, "the server did not start"
            soak = Soak(found[0], server.pid, requests=args.requests, seconds=args.seconds)
            began = time.monotonic()
            asyncio.run(soak.run(args.clients))
            took = time.monotonic() - began
            kept = marks_in_memory(server.pid)
        finally:
            server.terminate()
    quarter = max(len(soak.samples) // 4, 1)
    before, after = median(soak.samples[quarter : 2 * quarter]), median(soak.samples[-quarter:])
    growth = after / before - 1
    print(f"{soak.sent} requests in {took:.0f} s, {soak.watched} of them watched, {soak.failed} failed")
    print(f"the list was read {soak.polled} times")
    print(
        f"memory {before / 1000:.1f} MB in the second quarter, {after / 1000:.1f} MB in the last: {100 * growth:+.1f} %"
    )
    print(f"{kept} of {soak.sent} questions are in memory at the end")
    ok = not soak.failed and growth <= MOST_GROWTH and kept <= MOST_KEPT
    print("ok" if ok else "FAILED")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
