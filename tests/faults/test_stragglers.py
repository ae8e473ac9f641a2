"""Slow members: waited for unless the config says for how long, and then cut and counted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from emerge_core.config import parse_config
from emerge_core.errors import ConfigError

SLOW = "hang_before_headers"
GRACE = {"after": 2, "grace_s": 0.05}


def test_after_enough_usable_answers_the_rest_is_cut_and_its_cost_counted(faulty: Any, call_of: Any) -> None:
    async def main() -> None:
        async with faulty({"members": ["well", SLOW, "well:42"], "stragglers": GRACE}) as panel:
            trace = await panel.ask()
            cut = call_of(trace, SLOW)
            assert (cut.status, cut.completion.attempts) == ("cancelled", 1)
            assert cut.completion.cost.estimated
            assert cut.completion.cost.usd > 0
            assert trace.cost.estimated
            assert trace.decision.early
            assert trace.decision.agreement == 1.0  # cancelled members are not asked members
            assert not trace.degraded
            assert panel.engine.breakers() == {}

    asyncio.run(main())


@pytest.mark.parametrize("aggregator", ["vote", "consensus", "adaptive"])
def test_any_aggregator_decides_without_them(faulty: Any, aggregator: str) -> None:
    async def main() -> None:
        members = ["well", "well:42", SLOW]
        async with faulty({"members": members, "stragglers": GRACE, "aggregator": aggregator}) as panel:
            trace = await panel.ask()
            assert trace.decision is not None
            assert [call.status for call in trace.calls] == ["ok", "ok", "cancelled"]

    asyncio.run(main())


def test_who_comes_within_the_grace_is_heard(faulty: Any) -> None:
    async def main() -> None:
        grace = {"after": 2, "grace_s": 30}
        async with faulty({"members": ["well", "well:42", "well:41"], "stragglers": grace}) as panel:
            trace = await panel.ask()
            assert [call.status for call in trace.calls] == ["ok"] * 3
            assert not trace.decision.early

    asyncio.run(main())


def test_unusable_answers_are_not_enough(faulty: Any, call_of: Any) -> None:
    async def main() -> None:
        members = ["well", "empty", "status_500", SLOW]
        async with faulty({"members": members, "stragglers": GRACE}, timeout_s=0.5) as panel:
            trace = await panel.ask()
            assert call_of(trace, SLOW).status == "timeout"  # it was waited for, as long as it may take
            assert trace.degraded

    asyncio.run(main())


def test_without_the_setting_nobody_is_cut(faulty: Any, call_of: Any) -> None:
    async def main() -> None:
        async with faulty({"members": ["well", "well:42", SLOW]}, timeout_s=0.5) as panel:
            assert call_of(await panel.ask(), SLOW).status == "timeout"

    asyncio.run(main())


def test_the_escalation_verdict_is_of_those_who_were_heard(faulty: Any) -> None:
    async def main(members: list[str]) -> bool:
        ensemble = {"members": members, "stragglers": GRACE, "escalate": {"to": "well:7"}}
        async with faulty(ensemble, "well:7") as panel:
            trace = await panel.ask()
            assert trace.decision is not None
            return bool(trace.decision.escalated)

    assert not asyncio.run(main(["well", "well:42", SLOW]))
    assert asyncio.run(main(["well:41", "well:42", SLOW]))


HEAD = "providers: {p: {kind: simulated}}\nmodels: {a: {provider: p, model: a}, b: {provider: p, model: b}}\n"


@pytest.mark.parametrize(
    ("ensemble", "told"),
    [
        ("stragglers: {after: 2}", "one less than there are members"),
        ("min_answers: 2, stragglers: {after: 1}", "from min_answers"),
        ("escalate: {to: a}, members: [a, b, a], stragglers: {after: 1}", "at least 2 with escalate"),
        ("strategy: cascade, stragglers: {after: 1}", "cannot go with strategy cascade"),
        ("stragglers: {after: 1, grace_s: -1}", "grace_s"),
        ("stragglers: {grace: 1}", "did you mean `grace_s`"),
    ],
)
def test_a_setting_that_makes_no_sense(ensemble: str, told: str) -> None:
    members = "" if "members" in ensemble else "members: [a, b], "
    with pytest.raises(ConfigError, match=told):
        parse_config(f"{HEAD}ensembles: {{e: {{{members}{ensemble}}}}}", source="test")
