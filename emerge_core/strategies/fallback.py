"""Members one after the other in config order: the first usable answer is the reply, live from its first token.

The next member is asked if one fails or gives no usable answer, but never after a token of its answer has gone
to the caller: that answer is then the reply, or the stream ends in an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

from emerge_core.aggregators.tally import votes
from emerge_core.answers import Extractor, read_candidate
from emerge_core.config.schema import EnsembleConfig
from emerge_core.fanout import FanOut
from emerge_core.strategies.last_resort import last_resort
from emerge_core.strategies.panel import members_of
from emerge_core.strategies.registry import Outcome
from emerge_core.types import Candidate, ChatRequest, Decision


async def run(ensemble: EnsembleConfig, request: ChatRequest, extractor: Extractor, fanout: FanOut) -> Outcome:
    members = members_of(ensemble)
    needed = max(ensemble.min_answers, request.n)
    landed: list[Candidate] = []
    for member in members:
        usable = sum(c.usable for c in landed)
        later = len(members) - len(landed) - 1
        # The first answer is the reply. If more are needed, its text may still come to be of no use.
        live = needed == 1
        # A member whose breaker is open is passed over as long as those after it can give what is needed.
        async with aclosing(
            fanout.panel([member], request, at_least=needed - usable - later, live=live, live_calls=live)
        ) as panel:
            landed += [await read_candidate(extractor, call, member) async for call in panel]
        last = landed[-1]
        if last.call.live:
            return Outcome(candidates=tuple(landed), decision=_decision(last, landed) if last.completion.ok else None)
        if sum(c.usable for c in landed) >= needed:
            first = next(c for c in landed if c.usable)
            return Outcome(candidates=tuple(landed), decision=_decision(first, landed))
    candidates = tuple(landed)
    speaker = next((c for c in candidates if c.usable), None)
    if speaker is None:
        return Outcome(
            candidates=candidates,
            decision=await last_resort(ensemble, candidates, request, extractor, fanout),
        )
    return Outcome(candidates=candidates, decision=_decision(speaker, candidates))


def _decision(speaker: Candidate, landed: Sequence[Candidate]) -> Decision:
    """The decision that this member's answer is the reply. One answer is no vote: there is no agreement."""
    return Decision(
        message=speaker.completion,
        selected=(speaker.call.id,),
        rule="fallback:first" if speaker.member.position == 0 else "fallback:next",
        votes=votes(landed),
    )
