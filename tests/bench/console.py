"""What the console costs while nobody looks at it: the time to keep one request in its history, beside the time that
the engine takes to answer it with a simulated panel of three, and the modules that are imported.

    python tests/bench/console.py [--requests N]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import tracemalloc
from statistics import median
from time import process_time

from emerge_core.config import default_config
from emerge_core.console import History
from emerge_core.console.history import MOST_REQUESTS
from emerge_core.engine.engine import Engine, preload
from emerge_core.types import ChatRequest, Trace

ROUNDS = 9


async def answer(requests: int) -> tuple[float, list[Trace]]:
    """Seconds of CPU per request without the console, and the traces."""
    config = default_config()
    preload(config)
    traces: list[Trace] = []
    async with Engine(config, record=lambda request, trace: traces.append(trace)) as engine:
        await engine.run(ChatRequest.of("What is 1 + 1?"))
        traces.clear()
        began = process_time()
        for number in range(requests):
            await engine.run(ChatRequest.of(f"What is {number} + 4 * (7 - 2)?"))
        return (process_time() - began) / requests, traces


def keep(traces: list[Trace]) -> float:
    """Seconds of CPU to keep one request."""
    history = History()
    record, request = history.recorder(content=False), ChatRequest.of("What is 1 + 1?")
    gc.collect()
    began = process_time()
    for trace in traces:
        record(request, trace)
    return (process_time() - began) / len(traces)


def memory(traces: list[Trace]) -> int:
    """Bytes that a full history holds."""
    tracemalloc.start()
    history = History()
    record, request = history.recorder(content=False), ChatRequest.of("What is 1 + 1?")
    for number in range(2 * MOST_REQUESTS):
        record(request, traces[number % len(traces)])
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2000)
    count: int = parser.parse_args().requests
    answering, traces = asyncio.run(answer(count))
    keeping = median(keep(traces) for _ in range(ROUNDS))
    opened = [name for name in sys.modules if name.startswith("emerge_core.console.")]
    print("console, while nobody looks at it (CPU time, one process)")
    print(f"  answer a request, simulated panel of three   {answering * 1e6:8.1f} µs")
    print(
        f"  keep it in the history                       {keeping * 1e6:8.1f} µs  ({100 * keeping / answering:.1f} %)"
    )
    print(f"  a full history of {MOST_REQUESTS} requests                {memory(traces) / 1000:8.0f} kB")
    print(f"  modules imported                             {', '.join(each.rpartition('.')[2] for each in opened)}")


if __name__ == "__main__":
    main()
