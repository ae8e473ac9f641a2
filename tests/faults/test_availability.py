"""An ensemble's failure rate and accuracy where its members fail independently: everything that can become of
a panel's calls is played once and weighed with its probability, so nothing is left to chance."""

from __future__ import annotations

import asyncio
from itertools import product
from math import fsum, isclose, prod
from typing import Any

import pytest

from tests.bench.availability import FAILS, RIGHT, computed

ODDS = {"down": FAILS, "right": (1 - FAILS) * RIGHT, "wrong": (1 - FAILS) * (1 - RIGHT)}
RIGHTLY = ("42", "42.0", "42.00")
FAULTS = ("status_503", "truncated_json", "closed_in_body")


def model(member: int, fate: str) -> str:
    return {"down": FAULTS[member], "right": f"well:{RIGHTLY[member]}", "wrong": f"well:{1000 + member}"}[fate]


@pytest.mark.parametrize(("members", "needed"), [(1, 1), (2, 1), (3, 1), (3, 2)])
def test_a_panel_fails_and_is_right_as_computed(members: int, needed: int, faulty: Any) -> None:
    played = [*product(ODDS, repeat=members)]

    async def end(pattern: tuple[str, ...]) -> str:
        panel = {"members": [model(*each) for each in enumerate(pattern)], "min_answers": needed}
        async with faulty(panel, breaker={"failures": 0}) as made:
            trace = await made.ask()
            assert len([call for call in trace.calls if call.completion.error]) == pattern.count("down")
            if trace.decision is None:
                return "failed"
            return "right" if "42" in trace.decision.message.text else "wrong"

    async def scenario() -> list[str]:
        return [await end(pattern) for pattern in played]

    ends = asyncio.run(scenario())
    chances = [prod(ODDS[fate] for fate in pattern) for pattern in played]
    failed, right = (
        fsum(chance for chance, end in zip(chances, ends, strict=True) if end == wanted)
        for wanted in ("failed", "right")
    )
    assert isclose(failed, computed(members, needed)[0])
    assert isclose(right, computed(members, needed)[1])
    if needed == 1:
        assert isclose(failed, FAILS**members)
        assert [pattern for pattern, end in zip(played, ends, strict=True) if end == "failed"] == [("down",) * members]
