"""Time to first token on Lambda, in stream mode: `make bench`.

An upstream answers word by word after a known time. The official OpenAI client asks it directly and
through the function: the streaming loop in a process of its own, driven by a stub of Lambda's Runtime API
with a front door like API Gateway's. The figure is the difference of the two medians; what Lambda's and
API Gateway's own networks add is not in it.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.aws_lambda.process import runtime
from tests.support.aws_lambda.runtime_stub import front_door
from tests.support.openai_upstream import Says, Upstream
from tests.support.server import Server

ROUNDS = int(40 * float(os.environ.get("EMERGE_BENCH_SCALE", "1")))
FIRST_S, PAUSE_S = 0.2, 0.02
MESSAGES: Any = [{"role": "user", "content": "What is 6 times 7?"}]


@contextmanager
def upstream() -> Iterator[str]:
    from starlette.applications import Starlette
    from starlette.routing import Route

    scripted = Upstream(script={"a": Says("six times seven is forty two", delay=FIRST_S, pause=PAUSE_S)})
    with Server(Starlette(routes=[Route("/v1/chat/completions", scripted.chat, methods=["POST"])])) as url:
        yield f"{url}/v1"


async def measured(url: str) -> tuple[float, float, int]:
    """Median of the time to the first token and of the whole reply, ms; pieces per reply."""
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        firsts, wholes, pieces = [], [], 0
        for round_ in range(ROUNDS + 3):
            began, first, pieces = time.perf_counter(), 0.0, 0
            async for chunk in await client.chat.completions.create(model="a", messages=MESSAGES, stream=True):
                if chunk.choices and chunk.choices[0].delta.content:
                    first = first or time.perf_counter() - began
                    pieces += 1
            if round_ >= 3:
                firsts.append(first * 1000)
                wholes.append((time.perf_counter() - began) * 1000)
    return statistics.median(firsts), statistics.median(wholes), pieces


async def main() -> None:
    with upstream() as url, tempfile.TemporaryDirectory() as folder:
        config = {
            "providers": {"up": {"kind": "openai", "base_url": url}},
            "models": {"a": {"provider": "up", "model": "a", "price": {"input": 1, "output": 1}}},
            "ensembles": {"emerge": {"members": ["a"]}},
        }
        path = Path(folder, "config.json")
        path.write_text(json.dumps(config))
        direct = await measured(url)
        async with (
            runtime(Path(folder), environ={"EMERGE_CONFIG": str(path)}) as function,
            front_door(function.stub) as door,
        ):
            through = await measured(f"{door}/v1")
    for name, (first, whole, pieces) in (("the upstream itself", direct), ("the function in stream mode", through)):
        print(f"{name:30s} first token {first:7.1f} ms   whole {whole:7.1f} ms   {pieces} pieces")
    print(f"time to first token {through[0] - direct[0]:+.1f} ms, whole reply {through[1] - direct[1]:+.1f} ms")


if __name__ == "__main__":
    asyncio.run(main())
