"""Cheapest first, stop when the answer is good enough.

Sources: Chen, Zaharia, Zou, "FrugalGPT", 2023 (cascades); Yue et al., "Large Language Model Cascades
with Mixture of Thoughts Representations for Cost-efficient Reasoning", ICLR 2024 (stop on agreement).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from math import inf

from emerge_core import pricing
from emerge_core.aggregators import get_aggregator
from emerge_core.aggregators.tally import agreement, groups, votes
from emerge_core.answers import Extractor, hedges, read_candidate
from emerge_core.config.schema import EnsembleConfig
from emerge_core.fanout import FanOut
from emerge_core.strategies.last_resort import last_resort
from emerge_core.strategies.panel import members_of
from emerge_core.strategies.registry import Outcome
from emerge_core.types import Candidate, ChatRequest, Decision, Member


async def run(ensemble: EnsembleConfig, request: ChatRequest, extractor: Extractor, fanout: FanOut) -> Outcome:
    order = _order(ensemble, fanout)
    agree = ensemble.strategy.stop == "agree"
    # No two can agree before two have answered, so the first two are asked together.
    steps = [order[:2], *([m] for m in order[2:])] if agree else [[m] for m in order]
    asked: list[Candidate] = []
    needed = max(ensemble.min_answers, request.n)
    for step in steps:
        # No member is left after the last one, so its text can be streamed: it is the answer.
        last = step is steps[-1] and not agree and sum(c.usable for c in asked) + 1 >= ensemble.min_answers
        # A member whose breaker is open is skipped as long as those after it can give the answers that are needed.
        later = len(order) - len(asked) - len(step)
        at_least = needed - sum(c.usable for c in asked) - later
        live = last or len(order) == 1
        async with aclosing(fanout.panel(step, request, at_least=at_least, live=live)) as panel:
            landed = [await read_candidate(extractor, call, call.member or step[0]) async for call in panel]
        asked.extend(sorted(landed, key=lambda c: order.index(c.member)))
        speaker = _agreed(asked) if agree else _substantive(asked[-1])
        if asked[-1].call.live and asked[-1].completion.ok:
            speaker = asked[-1]
        if speaker and sum(c.usable for c in asked) >= request.n:
            return Outcome(
                candidates=tuple(asked),
                decision=Decision(
                    message=speaker.completion,
                    selected=(speaker.call.id,),
                    rule=f"cascade:{ensemble.strategy.stop}",
                    votes=votes(asked),
                    agreement=agreement(speaker, asked, offers_tools=request.offers_tools) if len(asked) > 1 else None,
                    early=len(asked) < len(order),
                    escalated=_escalated(asked, steps),
                ),
            )
    candidates = tuple(asked)
    if not any(c.usable for c in candidates):
        resort = await last_resort(ensemble, candidates, request, extractor, fanout)
        return Outcome(candidates=candidates, decision=resort)
    vote = await get_aggregator("vote")(
        candidates, request=request, options=ensemble.aggregator, asker=fanout, key_of=extractor.key
    )
    decision = replace(vote, rule="cascade:exhausted", escalated=_escalated(candidates, steps))
    return Outcome(candidates=candidates, decision=decision)


def _escalated(asked: Sequence[Candidate], steps: Sequence[Sequence[Member]]) -> bool:
    """Whether a member of the reserve was asked."""
    return any(c.call.status != "skipped" for c in asked[len(steps[0]) :])


def _order(ensemble: EnsembleConfig, fanout: FanOut) -> list[Member]:
    members = members_of(ensemble)
    if ensemble.strategy.order == "config":
        return list(members)
    return sorted(members, key=lambda member: (_list_price(member, fanout), member.position))


def _list_price(member: Member, fanout: FanOut) -> float:
    model = fanout.config.models[member.model]
    price = pricing.list_price(model, fanout.config.providers[model.provider])
    return price.input + price.output if price else inf


def _substantive(last: Candidate) -> Candidate | None:
    return last if last.usable and not hedges(last.completion.text or "") else None


def _agreed(asked: Sequence[Candidate]) -> Candidate | None:
    """The first candidate, in the cascade's order, of a group of two or more; None if no two agree."""
    for group in groups(asked):
        if len(group.candidates) >= 2:
            return min(group.candidates, key=asked.index)
    return None
