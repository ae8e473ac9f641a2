"""The most confident candidate, if every usable one has a confidence; otherwise a vote."""

from __future__ import annotations

from collections.abc import Sequence

from emerge_core.aggregators import vote
from emerge_core.aggregators.tally import TOLERANCE, decision, sole, usable
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
    if only := sole(candidates):
        return decision(only, candidates, request=request, rule="confidence:single")
    able = usable(candidates)
    unknown = [c.member.model for c in able if c.confidence is None]
    if unknown:
        reason = f"no confidence for {', '.join(dict.fromkeys(unknown))}: vote"
        return await vote.instead(
            candidates, reason=reason, request=request, options=options, asker=asker, key_of=key_of
        )
    return decision(surest(able), candidates, request=request, rule="confidence:highest")


def surest(candidates: Sequence[Candidate]) -> Candidate:
    """The most confident of candidates that all have a confidence."""
    best = max(c.confidence or 0.0 for c in candidates)
    return strongest([c for c in candidates if (c.confidence or 0.0) >= best - TOLERANCE])
