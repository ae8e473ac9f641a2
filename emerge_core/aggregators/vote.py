"""Weighted plurality over answer keys. The reply is that of the winning group's strongest member."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from emerge_core.aggregators import consensus
from emerge_core.aggregators.tally import decision, pick, sole
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
    """Rules: single, majority (of all asked), plurality, tie; calls, names (of tool calls); consensus."""
    if only := sole(candidates):
        return decision(only, candidates, request=request, rule="vote:single")
    outcome = pick(candidates)
    if outcome.winner:
        return decision(outcome.winner, candidates, request=request, rule=f"vote:{outcome.rule}")
    winner, trouble = await consensus.middle(outcome.among, options=options, asker=asker)
    reason = "no usable reply states an answer that can be counted: consensus"
    if trouble:
        reason += f"; {trouble}"
    return decision(winner, candidates, request=request, rule="vote:consensus", fallback=reason)


async def instead(
    candidates: Sequence[Candidate],
    *,
    reason: str,
    request: ChatRequest,
    options: AggregatorConfig,
    asker: Asker,
    key_of: KeyOf,
) -> Decision:
    """Vote because another rule could not decide; the decision's `fallback` says why."""
    voted = await aggregate(candidates, request=request, options=options, asker=asker, key_of=key_of)
    return replace(voted, fallback=f"{reason}; {voted.fallback}" if voted.fallback else reason)
