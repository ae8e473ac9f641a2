"""Inspects the candidates once and applies the rule that suits them.

tools or JSON         vote
short answers         the majority's most confident member; without a majority the most confident
                      candidate if all have a confidence, else the vote's tie rule
prose, a merger       consensus if the replies are near in meaning, else the merger writes
prose, no merger      the most reliable member if all have a `reliability`, else consensus
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from emerge_core.aggregators import consensus, merge
from emerge_core.aggregators.confidence import surest
from emerge_core.aggregators.tally import TOLERANCE, asked, decision, groups, pick, sole, usable, weight_of
from emerge_core.answers import strongest
from emerge_core.config.schema import AggregatorConfig
from emerge_core.types import Asker, Candidate, ChatRequest, Decision, KeyOf


async def aggregate(
    candidates: Sequence[Candidate],
    *,
    request: ChatRequest,
    options: AggregatorConfig,
    asker: Asker,
    key_of: KeyOf,
) -> Decision:
    """Rules: single, vote, majority, confidence, reliability, consensus, merge."""
    if only := sole(candidates):
        return decision(only, candidates, request=request, rule="adaptive:single")
    able = usable(candidates)
    if request.offers_tools or request.wants_json or any(c.completion.tool_calls for c in able):
        outcome = pick(candidates)
        if outcome.winner:
            return decision(outcome.winner, candidates, request=request, rule="adaptive:vote")
        winner, trouble = await consensus.middle(outcome.among, options=options, asker=asker)
        return decision(winner, candidates, request=request, rule="adaptive:consensus", fallback=trouble)
    keyed = [c for c in able if c.key is not None]
    if 2 * weight_of(keyed) > weight_of(able) + TOLERANCE:
        return _short(candidates, keyed, request)
    return await _prose(candidates, able, request=request, options=options, asker=asker, key_of=key_of)


def _short(candidates: Sequence[Candidate], keyed: Sequence[Candidate], request: ChatRequest) -> Decision:
    first = groups(candidates)[0]
    if 2 * first.weight > weight_of(asked(candidates)) + TOLERANCE:
        speaker = surest(first.candidates) if _sure(first.candidates) else first.strongest
        return decision(speaker, candidates, request=request, rule="adaptive:majority")
    if _sure(keyed):
        return decision(surest(keyed), candidates, request=request, rule="adaptive:confidence")
    return decision(first.strongest, candidates, request=request, rule="adaptive:vote")


async def _prose(
    candidates: Sequence[Candidate],
    able: Sequence[Candidate],
    *,
    request: ChatRequest,
    options: AggregatorConfig,
    asker: Asker,
    key_of: KeyOf,
) -> Decision:
    if options.merger is None and all(c.member.reliability is not None for c in able):
        best = max(c.member.reliability or 0.0 for c in able)
        speaker = strongest([c for c in able if (c.member.reliability or 0.0) >= best - TOLERANCE])
        return decision(speaker, candidates, request=request, rule="adaptive:reliability")
    near, trouble = await consensus.similarities(able, options=options, asker=asker)
    reasons = [trouble] if trouble else []
    if options.merger and consensus.mean_similarity(near) < options.near:
        call, failure = await merge.write(able, request=request, merger=options.merger, asker=asker)
        if failure is None:
            written = merge.merged(call, candidates, key_of=key_of, rule="adaptive:merge")
            return replace(written, fallback=trouble)
        reasons.append(f"{failure}: consensus")
    winner = consensus.medoid(able, near)
    why = "; ".join(reasons) or None
    return decision(winner, candidates, request=request, rule="adaptive:consensus", fallback=why)


def _sure(candidates: Sequence[Candidate]) -> bool:
    return all(c.confidence is not None for c in candidates)
