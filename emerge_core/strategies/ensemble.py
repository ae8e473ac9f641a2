"""All members at once. Stops as soon as the rest cannot change the decision, and escalates if the panel
disagrees.

With `stragglers` it also stops a while after enough usable answers have come. That stop depends on timing, so
it must be configured. Members that it cuts count as never asked: agreement and the escalation verdict are
those of the members that answered.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace

from emerge_core.aggregators import AGGREGATORS, get_aggregator
from emerge_core.aggregators.early_decision import Verdict, decided
from emerge_core.answers import Extractor, read_candidate
from emerge_core.config.schema import EnsembleConfig
from emerge_core.fanout import FanOut
from emerge_core.strategies.escalation import Escalation, VotesFirst, is_disputed
from emerge_core.strategies.last_resort import last_resort, streamed_decision
from emerge_core.strategies.panel import members_of
from emerge_core.strategies.registry import Outcome
from emerge_core.types import Asker, Candidate, ChatRequest, Decision


async def run(ensemble: EnsembleConfig, request: ChatRequest, extractor: Extractor, fanout: FanOut) -> Outcome:
    candidates, early = await _ask_panel(ensemble, request, extractor, fanout)
    enough = sum(c.usable for c in candidates) >= ensemble.min_answers
    decision: Decision | None = None
    if ensemble.escalate:
        votes = VotesFirst(fanout)
        if enough:
            decision = await _aggregate(ensemble, candidates, request, extractor, votes)
        if is_disputed(ensemble.escalate[0], candidates, decision):
            return await Escalation(
                ensemble=ensemble,
                request=request,
                extractor=extractor,
                fanout=fanout,
                candidates=candidates,
                decision=decision,
                early=early,
            ).run()
        if votes.refused:
            decision = await _aggregate(ensemble, candidates, request, extractor, fanout)
    elif enough:
        decision = await _aggregate(ensemble, candidates, request, extractor, fanout)
    if any(c.call.live for c in candidates) and not any(c.usable for c in candidates):
        decision = streamed_decision(candidates)
    elif not any(c.usable for c in candidates):
        decision = await last_resort(ensemble, candidates, request, extractor, fanout)
    if early and decision:
        decision = replace(decision, early=True)
    return Outcome(candidates=candidates, decision=decision)


async def _aggregate(
    ensemble: EnsembleConfig,
    candidates: tuple[Candidate, ...],
    request: ChatRequest,
    extractor: Extractor,
    asker: Asker,
) -> Decision:
    aggregate = get_aggregator(ensemble.aggregator.name)
    return await aggregate(candidates, request=request, options=ensemble.aggregator, asker=asker, key_of=extractor.key)


async def _ask_panel(
    ensemble: EnsembleConfig, request: ChatRequest, extractor: Extractor, fanout: FanOut
) -> tuple[tuple[Candidate, ...], bool]:
    """Every member's candidate in config order, and whether some members were not waited for."""
    members = members_of(ensemble)
    rule = AGGREGATORS[ensemble.aggregator.name].decides_early if ensemble.early_decision else None
    if request.n > 1:
        rule = None  # every member's reply is needed
    steps = ensemble.escalate
    needed = max(ensemble.min_answers, request.n)
    stragglers = ensemble.stragglers
    landed: dict[int, Candidate] = {}
    verdict: Verdict = "wait"
    alone = len(members) == 1 and not steps  # its text is the answer
    grace = asyncio.timeout(None)
    try:
        async with (
            grace,
            aclosing(fanout.panel(members, request, at_least=needed, live=alone, live_calls=alone)) as panel,
        ):
            async for call in panel:
                member = call.member or members[0]
                landed[member.position] = await read_candidate(extractor, call, member)
                out = [m for m in members if m.position not in landed]
                if rule and out:
                    verdict = decided(
                        list(landed.values()),
                        out,
                        request=request,
                        rule=rule,
                        below_agreement=steps[0].below_agreement if steps else None,
                        final=steps[0].final if len(steps) == 1 else "vote",
                        min_answers=ensemble.min_answers,
                    )
                    if verdict != "wait":
                        grace.reschedule(None)
                        break
                enough = stragglers and sum(c.usable for c in landed.values()) >= max(stragglers.after, request.n)
                if stragglers and enough and out and grace.when() is None:
                    grace.reschedule(asyncio.get_running_loop().time() + stragglers.grace_s)
    except TimeoutError:
        if not grace.expired():
            raise
    for call in fanout.calls:  # those cancelled by leaving the panel early
        if call.role == "member" and call.member and call.member.position not in landed:
            late = await read_candidate(extractor, call, call.member)
            landed[call.member.position] = replace(late, cut=grace.expired())
    return tuple(landed[position] for position in sorted(landed)), verdict != "wait" or grace.expired()
