"""A new strategy, or a new aggregator, is one module and one row of its table: a request then runs through it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import pytest

from emerge_core.aggregators import AGGREGATORS, AggregatorRow
from emerge_core.aggregators.tally import decision, usable
from emerge_core.answers import Extractor, candidate
from emerge_core.config import parse_config
from emerge_core.config.schema import AggregatorConfig, EnsembleConfig
from emerge_core.engine.engine import Engine
from emerge_core.errors import ConfigError
from emerge_core.fanout import FanOut
from emerge_core.strategies import STRATEGIES, Outcome, StrategyRow, get_strategy
from emerge_core.strategies.panel import members_of
from emerge_core.types import Asker, Candidate, ChatRequest, Decision, KeyOf, Trace

ASKED = ChatRequest(messages=({"role": "user", "content": "What is 6 times 7?"},))


async def aggregate(
    candidates: Sequence[Candidate], *, request: ChatRequest, options: AggregatorConfig, asker: Asker, key_of: KeyOf
) -> Decision:
    """The last member wins."""
    return decision(usable(candidates)[-1], candidates, request=request, rule="last")


async def run(ensemble: EnsembleConfig, request: ChatRequest, extractor: Extractor, fanout: FanOut) -> Outcome:
    """Asks the last member alone."""
    member = members_of(ensemble)[-1]
    async with aclosing(fanout.panel([member], request)) as panel:
        landed = tuple([candidate(extractor, call, member) async for call in panel])
    return Outcome(candidates=landed, decision=decision(landed[0], landed, request=request, rule="only-the-last"))


def asked(config: Any) -> Trace:
    async def once() -> Trace:
        engine = Engine(config, environ={})
        try:
            return await engine.run(ASKED, "emerge")
        finally:
            await engine.aclose()

    return asyncio.run(once())


def test_an_aggregator_is_added_by_its_row_alone(
    upstream: Any, says: Any, panels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(AGGREGATORS, "last", AggregatorRow(module=__name__, options=("near",)))
    upstream.script = {"a": says("42"), "b": says("42"), "c": says("41")}
    trace = asked(panels('{"emerge": {"members": ["a", "b", "c"], "aggregator": {"name": "last", "near": 0.1}}}'))
    assert trace.decision is not None
    assert (trace.decision.rule, trace.decision.message.text, trace.aggregator) == ("last", "41", "last")


def test_a_strategy_is_added_by_its_row_alone(
    upstream: Any, says: Any, panels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STRATEGIES, "last", StrategyRow(module=__name__, asks="asks the last member alone"))
    upstream.script = {"c": says("41")}
    trace = asked(panels('{"emerge": {"members": ["a", "b", "c"], "strategy": "last"}}'))
    assert trace.decision is not None
    assert (trace.decision.rule, trace.strategy) == ("only-the-last", "last")
    assert [call.model for call in trace.calls] == ["c"]
    with pytest.raises(ConfigError, match="cannot go with strategy last, which asks the last member alone"):
        panels('{"emerge": {"members": ["a"], "strategy": "last", "escalate": {"to": "b"}}}')


@pytest.mark.parametrize(("part", "known"), [("strategy", STRATEGIES), ("aggregator", AGGREGATORS)])
def test_an_unknown_name_is_a_config_error_that_names_the_nearest(part: str, known: dict[str, Any]) -> None:
    nearest = {"strategy": ("cascde", "cascade"), "aggregator": ("adaptiv", "adaptive")}[part]
    text = (
        "providers: {sim: {kind: simulated}}\nmodels: {a: {provider: sim, model: a}}\n"
        f"ensembles: {{emerge: {{members: [a], {part}: {nearest[0]}}}}}\n"
    )
    with pytest.raises(ConfigError) as fault:
        parse_config(text, source="test")
    assert f"ensembles.emerge.{part}" in str(fault.value)
    assert f"must be one of {', '.join(known)}, did you mean `{nearest[1]}`?" in str(fault.value)


def test_an_unknown_strategy_is_never_an_ensemble() -> None:
    with pytest.raises(ConfigError, match="there is no strategy `ensembel`"):
        get_strategy("ensembel")
    for name, row in STRATEGIES.items():
        assert callable(get_strategy(name)), row
