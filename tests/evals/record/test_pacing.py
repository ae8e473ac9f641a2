from __future__ import annotations

import asyncio
from itertools import pairwise

from emerge_core.evals.record.pacing import Gate


async def starts(gate: Gate, count: int, pause_s: float = 0.0) -> list[float]:
    """When each of several calls started, on the loop's clock."""
    loop = asyncio.get_running_loop()
    found: list[float] = []

    async def call() -> None:
        async with gate():
            found.append(loop.time())
            if pause_s and len(found) == 1:
                gate.pause(pause_s)

    await asyncio.gather(*(call() for _ in range(count)))
    return found


def test_calls_start_no_faster_than_the_rate() -> None:
    found = asyncio.run(starts(Gate(8, per_second=50), 6))
    gaps = [later - earlier for earlier, later in pairwise(found)]
    assert min(gaps) >= 1 / 50 - 1e-6


def test_a_pause_holds_everybody() -> None:
    found = asyncio.run(starts(Gate(1), 3, pause_s=0.05))
    assert found[1] - found[0] >= 0.05 - 1e-6
