"""What one process of the function adds when hundreds of requests wait in it, as on Lambda Managed Instances.

    python -m tests.bench.concurrency [--at-once 256] [--wait 2] [--seconds 20] [--mode stream|buffered]
        [--arrivals random|steady]

The function is bound to one core; the stub of the Runtime API and the upstream, a process each, to another. Every
upstream call takes `--wait` seconds. With *random* arrivals (a Poisson process) `--at-once` ensembles of three are in
flight on average, and at times many more. With *steady* ones as many clients each send the next request when the last
one is answered.

Printed:
- milliseconds added to the wait, from the time when a request is due to the end of its reply (nothing is subtracted for
  the bench itself), and what the function's processor time alone would add, by a simulated queue;
- the processor time of the function, how long it waited for its core while others had it, and its resident memory;
- what the stub and the upstream took of their core, and by how much their timers were late.

The managed runtime of Python answers each request at once in a process of its own: its memory is one process's,
measured here, times as many.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.concurrency.load import Load
from tests.bench.concurrency.possible import possible
from tests.bench.concurrency.wire import Taken, serve_upstream
from tests.support.aws_lambda.process import WRAPPED

MODELS = ("a", "b", "c")


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


class Upstream:
    """The upstream's process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.port = int(self._line())

    def taken(self) -> Taken:
        """Since the start; the timers since the last call."""
        self._process.send_signal(signal.SIGUSR1)
        return Taken(**json.loads(self._line()))

    def _line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()


@contextmanager
def upstream(wait_s: float) -> Iterator[Upstream]:
    command = [sys.executable, "-m", "tests.bench.concurrency", "--serve-upstream", "--wait", str(wait_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Upstream(process)
        finally:
            process.terminate()


@contextmanager
def function(folder: Path, address: str, port: int, limit: int, mode: str, core: int) -> Iterator[int]:
    """The function's process on a core of its own: yields its number."""
    path = folder / "emerge.json"
    path.write_text(config(port))
    environ = {
        "PATH": os.environ["PATH"],
        "AWS_LAMBDA_FUNCTION_NAME": "proxy",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "lambda-managed-instances",
        "AWS_LAMBDA_MAX_CONCURRENCY": str(limit),
        "AWS_LAMBDA_RUNTIME_API": address,
        "EMERGE_AUTH": "gateway",
        "EMERGE_CONFIG": str(path),
        "EMERGE_RESPONSE_MODE": mode,
        "EMERGE_STACK": "bench",
        "UP_KEY": "sk-x",
    }
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})  # which the child inherits
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(WRAPPED, env=environ, stdout=log, stderr=log)
    os.sched_setaffinity(0, own)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def memory_mb(pid: int, field: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise AssertionError(field)


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def queued_s(pid: int) -> float:
    """How long the process could have run and did not, because its core was taken."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[1]) for task in tasks) / 1e9


@dataclass
class Measured:
    load: Load
    idle_mb: float
    peak_mb: float
    seconds: float
    cpu_s: float
    queued_s: float
    stub: Taken
    upstream: Taken


async def measure(folder: Path, backend: Upstream, core: int, given: argparse.Namespace, at_once: int) -> Measured:
    limit = at_once + at_once // 4  # that what is in flight may vary around its mean
    load = Load(given.wait, steady=given.arrivals == "steady")
    async with load.serving() as address:
        with function(folder, address, backend.port, limit, given.mode, core) as pid:
            while load.asking < limit:
                assert Path(f"/proc/{pid}").exists(), (folder / "log").read_text()
                await asyncio.sleep(0.01)
            idle_mb = memory_mb(pid, "VmRSS")
            began, cpu, queued = time.monotonic(), cpu_s(pid), queued_s(pid)
            stub_s, upstream_s = time.process_time(), backend.taken().cpu_s
            await load.run(at_once, 3 * given.wait, given.seconds if at_once > 1 else 1.0)
            stub, up = Taken.by_this_process(load.late_s), backend.taken()
            stub.cpu_s -= stub_s
            up.cpu_s -= upstream_s
            assert not load.wrong, load.wrong[0]
            return Measured(
                load=load,
                idle_mb=idle_mb,
                peak_mb=memory_mb(pid, "VmHWM"),
                seconds=time.monotonic() - began,
                cpu_s=cpu_s(pid) - cpu,
                queued_s=queued_s(pid) - queued,
                stub=stub,
                upstream=up,
            )


def report(many: Measured, one: Measured, given: argparse.Namespace) -> None:
    load = many.load
    added = sorted(load.added_ms)
    cuts = statistics.quantiles(added, n=100)
    print(f"{given.at_once} ensembles of three at once in one process on one core, upstreams of {given.wait:g} s")
    flight = f"{statistics.fmean(load.in_flight):.0f} in flight on average, at most {load.most_open}"
    print(f"  {len(added)} requests, {given.mode}, {given.arrivals} arrivals, {flight}")
    print(f"  added: p50 {cuts[49]:.1f} ms, p95 {cuts[94]:.1f}, p99 {cuts[98]:.1f}, most {added[-1]:.1f}")
    print(f"  resident: {many.idle_mb:.0f} MB before the first request, {many.peak_mb:.0f} MB at most")
    share, each = many.cpu_s / many.seconds, 1000 / load.count
    p50, p99 = possible(many.cpu_s * each, given.at_once, given.wait, steady=given.arrivals == "steady")
    print(f"  by this processor time alone: p50 {p50:.1f} ms, p99 {p99:.1f}")
    print(f"  processor: {100 * share:.0f} % of the core, {many.cpu_s * each:.2f} ms a request", end="")
    print(f"; {many.queued_s * each:.2f} ms more while others had the core")
    for name, taken in (("the stub", many.stub), ("the upstream", many.upstream)):
        print(f"  {name}: {100 * taken.cpu_s / many.seconds:.0f} % of the other core, ", end="")
        print(f"late by {taken.late_p50:.1f} ms at the median, p99 {taken.late_p99:.1f}, most {taken.late_most:.1f}")
    processes = given.at_once * one.peak_mb
    print(f"a process for each, as the managed runtime: {one.peak_mb:.0f} MB × {given.at_once} = {processes:,.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at-once", type=int, default=256)
    parser.add_argument("--wait", type=float, default=2.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--mode", choices=("stream", "buffered"), default="stream")
    parser.add_argument("--arrivals", choices=("random", "steady"), default="random")
    parser.add_argument("--serve-upstream", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve_upstream:
        asyncio.run(serve_upstream(given.wait))
        return
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    first, *others = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, others or {first})
    with tempfile.TemporaryDirectory() as folder, upstream(given.wait) as backend:
        one, many = (
            asyncio.run(measure(Path(folder), backend, first, given, at_once)) for at_once in (1, given.at_once)
        )
    report(many, one, given)


if __name__ == "__main__":
    main()
