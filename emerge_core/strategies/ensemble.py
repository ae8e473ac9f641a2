"""All members at once. Stops as soon as the rest cannot change the decision, and asks a stronger
model only where the panel disagrees.

With `stragglers` it also stops a while after enough usable answers have come. This one stop depends on
timing, so it is never taken unless asked for: the members cut are cancelled, so they are neither asked
nor dissent, and agreement and the escalation verdict are those of the members that were heard.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from math import fsum

from emerge_core.aggregators import AGGREGATORS, get_aggregator
from emerge_core.aggregators.early_decision import Verdict, decided
from emerge_core.aggregators.tally import escalates
from emerge_core.answers import Extractor, candidate
from emerge_core.config.schema import EnsembleConfig, EscalateConfig
from emerge_core.fanout import FanOut
from emerge_core.strategies.last_resort import last_resort
from emerge_core.strategies.panel import members_of
from emerge_core.strategies.registry import Outcome
from emerge_core.types import Candidate, ChatRequest, Decision, Member


async def run(ensemble: EnsembleConfig, request: ChatRequest, extractor: Extractor, fanout: FanOut) -> Outcome:
    candidates, early = await _ask_panel(ensemble, request, extractor, fanout)
    decision: Decision | None = None
    if sum(c.usable for c in candidates) >= ensemble.min_answers:
        aggregate = get_aggregator(ensemble.aggregator.name)
        decision = await aggregate(
            candidates, request=request, options=ensemble.aggregator, asker=fanout, key_of=extractor.key
        )
        decision = replace(decision, early=early)
    step = ensemble.escalate[0] if ensemble.escalate else None
    if step and _disagrees(step, candidates, decision):
        return await _escalate(ensemble, step, request, extractor, fanout, candidates, decision)
    if not any(c.usable for c in candidates):
        decision = await last_resort(ensemble, candidates, request, extractor, fanout)
    return Outcome(candidates=candidates, decision=decision)


async def _ask_panel(
    ensemble: EnsembleConfig, request: ChatRequest, extractor: Extractor, fanout: FanOut
) -> tuple[tuple[Candidate, ...], bool]:
    """Every member's candidate in config order, and whether some of them were not waited for."""
    members = members_of(ensemble)
    may_stop = (
        ensemble.early_decision
        and AGGREGATORS[ensemble.aggregator.name].decides_early
        and request.n == 1
        and len(members) > 1
    )
    needed = max(ensemble.min_answers, request.n)
    stragglers = ensemble.stragglers
    landed: dict[int, Candidate] = {}
    verdict: Verdict = "wait"
    alone = len(members) == 1 and not ensemble.escalate  # its text is the answer
    grace = asyncio.timeout(None)
    try:
        async with grace, aclosing(fanout.panel(members, request, at_least=needed, live=alone)) as panel:
            async for call in panel:
                member = call.member or members[0]
                landed[member.position] = candidate(extractor, call, member)
                out = [m for m in members if m.position not in landed]
                if may_stop and out:
                    verdict = decided(
                        list(landed.values()),
                        out,
                        request=request,
                        below_agreement=ensemble.escalate[0].below_agreement if ensemble.escalate else None,
                        final="vote" if ensemble.escalate and ensemble.escalate[0].final != "replace" else "replace",
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
            landed[call.member.position] = candidate(extractor, call, call.member)
    return tuple(landed[position] for position in sorted(landed)), verdict != "wait" or grace.expired()


def _disagrees(escalate: EscalateConfig, candidates: tuple[Candidate, ...], decision: Decision | None) -> bool:
    if decision is None:
        return any(c.call.status != "skipped" for c in candidates)  # nobody had an answer: no agreement at all
    return escalates(decision.agreement, escalate.below_agreement)


async def _escalate(
    ensemble: EnsembleConfig,
    escalate: EscalateConfig,
    request: ChatRequest,
    extractor: Extractor,
    fanout: FanOut,
    candidates: tuple[Candidate, ...],
    decision: Decision | None,
) -> Outcome:
    replaces = escalate.final == "replace" or decision is None
    assert escalate.to is not None  # noqa: S101
    call = await fanout.ask("escalation", escalate.to, request, live=replaces, last_resort=decision is None)
    # In a final vote the stronger model is one more member: of mean weight, last in the order.
    weight = fsum(c.member.weight for c in candidates) / len(candidates)
    stronger = candidate(extractor, call, Member(model=escalate.to, position=len(candidates), weight=weight))
    if not stronger.usable and not (call.live and call.completion.ok):
        why = f"escalation to {escalate.to} gave no usable answer: {stronger.why_unusable}"
        kept = decision
        if not any(c.usable for c in candidates):
            told = (*candidates, stronger)
            kept = await last_resort(ensemble, told, request, extractor, fanout)
        return Outcome(candidates=candidates, decision=replace(kept, fallback=why) if kept else None)
    if not replaces and decision is not None:
        voted = await get_aggregator("vote")(
            (*candidates, stronger), request=request, options=ensemble.aggregator, asker=fanout, key_of=extractor.key
        )
        return Outcome(
            candidates=(*candidates, stronger),
            decision=replace(voted, rule="escalation:vote", escalated=True, early=decision.early),
        )
    return Outcome(
        candidates=candidates,
        decision=Decision(
            message=stronger.completion,
            selected=(call.id,),
            rule="escalation:replace",
            votes=decision.votes if decision else (),
            agreement=decision.agreement if decision else 0.0,
            early=decision.early if decision else False,
            escalated=True,
        ),
    )
