"""What one process of the function adds when hundreds of requests wait in it, as on Lambda Managed Instances.

    python -m tests.bench.concurrency [--at-once 256] [--wait 2] [--seconds 20] [--mode stream|buffered]

The function is bound to one core, the stub of the Runtime API and the upstream to another. Requests arrive at random
(a Poisson process) at the rate at which `--at-once` ensembles of three are in flight on average; each upstream call
takes `--wait` seconds. Printed: milliseconds added to that wait, from the event's arrival at the stub to the end of
the reply, and the resident memory. The managed runtime of Python
answers each request at once in a process of its own: its memory is one process's, measured here, times as many.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.support.aws_lambda.function import event
from tests.support.aws_lambda.process import runtime
from tests.support.aws_lambda.runtime_stub import RuntimeStub

MODELS = ("a", "b", "c")
REPLY = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "The answer is 42."}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 14, "completion_tokens": 6, "total_tokens": 20},
}


class Upstream(asyncio.Protocol):
    """Answers every POST after a wait."""

    wait_s = 2.0
    body = json.dumps(REPLY).encode()
    reply = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._buffer = transport, b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        fields = (line.partition(b":") for line in head.lower().split(b"\r\n"))
        length = next(int(value) for name, _, value in fields if name == b"content-length")
        if len(rest) >= length:
            self._buffer = rest[length:]
            asyncio.get_running_loop().call_later(self.wait_s, self._transport.write, self.reply)


async def serve_upstream(wait_s: float) -> None:
    Upstream.wait_s = wait_s
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def config(port: int) -> str:
    panel = {"members": list(MODELS), "aggregator": "vote", "early_decision": False}
    model = {"provider": "up", "price": {"input": 1, "output": 2}, "max_retries": 0}
    return json.dumps(
        {
            "providers": {"up": {"kind": "openai", "base_url": f"http://127.0.0.1:{port}/v1", "api_key": "env:UP_KEY"}},
            "models": {name: {**model, "model": name} for name in MODELS},
            "ensembles": {"emerge": panel},
        }
    )


def memory_mb(pid: int, field: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise AssertionError(field)


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(folder: Path, port: int, at_once: int, wait_s: float, seconds: float, mode: str) -> dict[str, Any]:
    path = folder / "emerge.json"
    path.write_text(config(port))
    limit = at_once + at_once // 4  # that what is in flight may vary around its mean
    environ = {
        "AWS_LAMBDA_INITIALIZATION_TYPE": "lambda-managed-instances",
        "AWS_LAMBDA_MAX_CONCURRENCY": str(limit),
        "EMERGE_CONFIG": str(path),
        "EMERGE_RESPONSE_MODE": mode,
        "UP_KEY": "sk-x",
    }
    question = {"model": "emerge", "messages": [{"role": "user", "content": "What is 6 times 7?"}]}
    added: list[float] = []
    in_flight: list[int] = []
    answered = 0
    began = time.perf_counter()
    stub = RuntimeStub(concurrency=limit, deadline_s=60)
    async with runtime(folder, stub, environ=environ) as function:
        pid = function.process.pid
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) > 1:
            os.sched_setaffinity(pid, {cores[0]})
            os.sched_setaffinity(0, set(cores[1:]))
        while stub.asking < limit:
            await asyncio.sleep(0.01)
        idle_mb = memory_mb(pid, "VmRSS")

        async def ask() -> None:
            nonlocal answered
            sent = time.perf_counter()
            taken = await stub.call(event("POST", "/v1/chat/completions", question))
            took_s = time.perf_counter() - sent
            reply = taken.json if mode == "stream" else json.loads(taken.json["body"])
            assert reply["choices"][0]["message"]["content"] == "The answer is 42."
            del stub.taken[taken.id]
            answered += 1
            if sent > warm:
                added.append((took_s - wait_s) * 1000)
                in_flight.append(stub.open)

        chance = random.Random(1)
        began = time.perf_counter()
        warm, ends = began + 3 * wait_s, began + 3 * wait_s + seconds
        used, due = cpu_s(pid), began
        async with asyncio.TaskGroup() as group:
            while due < ends:
                await asyncio.sleep(max(due - time.perf_counter(), 0))
                group.create_task(ask())
                due += chance.expovariate(at_once / wait_s)
        used = cpu_s(pid) - used
        return {
            "added": sorted(added),
            "in_flight": statistics.fmean(in_flight) if in_flight else 0.0,
            "most_open": stub.most_open,
            "idle_mb": idle_mb,
            "peak_mb": memory_mb(pid, "VmHWM"),
            "cpu_share": used / (time.perf_counter() - began),
            "cpu_ms": 1000 * used / answered,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at-once", type=int, default=256)
    parser.add_argument("--wait", type=float, default=2.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--mode", choices=("stream", "buffered"), default="stream")
    parser.add_argument("--serve-upstream", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve_upstream:
        asyncio.run(serve_upstream(given.wait))
        return
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    command = [sys.executable, "-m", "tests.bench.concurrency", "--serve-upstream", "--wait", str(given.wait)]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as upstream,
    ):
        assert upstream.stdout
        port = int(upstream.stdout.readline())
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(upstream.pid, set(cores[1:] or cores))
        try:
            one = asyncio.run(measure(Path(folder), port, 1, given.wait, 1.0, given.mode))
            many = asyncio.run(measure(Path(folder), port, given.at_once, given.wait, given.seconds, given.mode))
        finally:
            upstream.terminate()
    added = many["added"]
    cuts = statistics.quantiles(added, n=100)
    print(f"{given.at_once} ensembles of three at once in one process on one core, upstreams of {given.wait:g} s")
    flight = f"{many['in_flight']:.0f} in flight on average, at most {many['most_open']}"
    print(f"  {len(added)} requests, {given.mode}, {flight}")
    print(f"  added: p50 {cuts[49]:.1f} ms, p95 {cuts[94]:.1f}, p99 {cuts[98]:.1f}, most {added[-1]:.1f}")
    print(f"  resident: {many['idle_mb']:.0f} MB before the first request, {many['peak_mb']:.0f} MB at most")
    print(f"  processor: {100 * many['cpu_share']:.0f} % of the core, {many['cpu_ms']:.1f} ms a request")
    processes = given.at_once * one["peak_mb"]
    print(
        f"a process for each, as the managed runtime: {one['peak_mb']:.0f} MB × {given.at_once} = {processes:,.0f} MB"
    )


if __name__ == "__main__":
    main()
