"""How often panels fail, and are right, when their members fail independently: measured beside computed.

Every member fails in FAILS of its calls and is right in RIGHT of its answers, wrong answers all differ.
The real engine asks a real upstream over sockets; retries and breakers are off, so that the arithmetic
is that of single calls.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from itertools import product
from math import prod, sqrt

from emerge_core.config import parse_config
from emerge_core.engine.engine import Engine
from emerge_core.types import ChatRequest
from tests.support.faults.catalogue import KINDS
from tests.support.faults.upstream import BASE, BY_NAME, faulty_upstream

FAILS, RIGHT = 0.1, 0.8
AT_ONCE = 32
PANELS = ((1, 1), (2, 1), (3, 1))  # (members, min_answers)
QUESTION = ChatRequest(messages=({"role": "user", "content": "What is 6 times 7? Reply with a number."},))


def computed(members: int, needed: int) -> tuple[float, float]:
    """(share of failed requests, share of requests answered rightly), by enumeration."""
    odds = {"fails": FAILS, "right": (1 - FAILS) * RIGHT, "wrong": (1 - FAILS) * (1 - RIGHT)}
    failed = right = 0.0
    for outcome in product(odds, repeat=members):
        chance, answers = prod(odds[each] for each in outcome), [each for each in outcome if each != "fails"]
        if len(answers) < needed:
            failed += chance
        elif answers.count("right") > 1 or answers[0] == "right":  # alone against others: config order decides
            right += chance
    return failed, right


async def measured(members: int, needed: int, requests: int) -> tuple[float, float]:
    async with faulty_upstream() as upstream:
        chance = random.Random(members * 10 + needed)
        upstream.among = tuple(
            BY_NAME[name] for name in ("status_500", "truncated_json", "closed_in_body", "status_429")
        )
        upstream.says = lambda text: text if chance.random() < RIGHT else str(chance.randrange(10**6, 10**9))
        plain = {"max_retries": 0, "breaker": {"failures": 0}}
        providers = {kind: {"kind": kind, "base_url": upstream.address + BASE[kind], **plain} for kind in KINDS}
        models = {kind: {"provider": kind, "model": f"{FAILS}|42"} for kind in KINDS}
        panel = {"members": KINDS[:members], "min_answers": needed, "aggregator": "vote", "early_decision": False}
        config = {"providers": providers, "models": models, "ensembles": {"panel": panel}}
        engine = Engine(parse_config(json.dumps(config), source="availability"), environ={})
        failed = right = 0

        async def client(share: int) -> None:
            nonlocal failed, right
            for _ in range(share):
                trace = await engine.run(QUESTION, "panel")
                failed += trace.decision is None
                right += trace.decision is not None and trace.decision.message.text == "42"

        await asyncio.gather(*(client(requests // AT_ONCE) for _ in range(AT_ONCE)))
        await engine.aclose()
        asked = requests // AT_ONCE * AT_ONCE
        return failed / asked, right / asked


async def main(requests: int) -> int:
    """1 where a share is further from the computed one than four standard errors."""
    off = 0
    print(
        f"each member fails in {FAILS:.0%} of its calls and is right in {RIGHT:.0%} of its answers; {requests} requests"
    )
    print("members  min_answers  failed: computed  measured  right: computed  measured")
    for members, needed in PANELS:
        theory, found = computed(members, needed), await measured(members, needed, requests)
        print(
            f"{members:7}  {needed:11}  {theory[0]:16.2%}  {found[0]:8.2%}  {theory[1]:15.2%}  {found[1]:8.2%}",
            flush=True,
        )
        off += any(abs(t - f) > 4 * sqrt(t * (1 - t) / requests) for t, f in zip(theory, found, strict=True))
    return 1 if off else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)))
