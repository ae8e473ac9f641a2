"""When the outcome is decided although members have not answered yet: the early decision.

Decided means that whatever those members do (any key, abstain, fail), the winner, tie-break included, and
the escalation verdict stay the same. Accuracy therefore never depends on timing. The property tests check
this against every way in which the rest may end.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum
from typing import Literal

from emerge_core.aggregators.tally import TOLERANCE, Group, agreement, asked, escalates, groups, pick, weight_of
from emerge_core.immutable import immutable
from emerge_core.types import Candidate, ChatRequest, Member

Verdict = Literal["wait", "accept", "escalate"]


def decided(
    landed: Sequence[Candidate],
    outstanding: Sequence[Member],
    *,
    request: ChatRequest,
    rule: Literal["vote", "adaptive"] = "vote",
    below_agreement: float | None = None,
    final: Literal["replace", "vote", "adjudicate", "abstain"] = "replace",
    min_answers: int = 1,
) -> Verdict:
    """Whether the outcome is decided while `outstanding` members have not answered.

    "accept": whatever they do (any key, abstain, fail), the winning key and "no escalation" stay.
    "escalate": whatever they do, the panel is escalated and its own answer replaced.

    What stays is the winning *key*: of members that say the same, another one may speak when all have landed.
    Texts match by containment, and a later key may join two groups; if the key is a text, the winning candidate
    itself has to be certain. Of tool calls only clear majorities are certain. `rule` is "vote", or "adaptive",
    which votes unless confidences or prose decide.
    """
    panel = asked(landed)
    if not outstanding:
        outcome = pick(panel)
        speaker = outcome.winner or next(iter(outcome.among), None)
        reached = agreement(speaker, panel, offers_tools=request.offers_tools) if speaker else None
        return "escalate" if escalates(reached, below_agreement) else "accept"
    found = groups(panel)
    if not found or request.n > 1 or sum(c.usable for c in panel) < min_answers:
        return "wait"

    out = _Out.of(outstanding)
    total = fsum([*(c.member.weight for c in panel), *(m.weight for m in outstanding)])
    tools = request.offers_tools or any(c.completion.tool_calls for c in panel)
    if below_agreement is not None and final in ("replace", "abstain"):  # the others need every answer
        units = _joinable(found)
        if rule == "adaptive":  # prose may win, and the other prose agrees with it
            units.append(Group.of([c for c in panel if c.usable and c.key is None]))
        if tools:  # texts may win against calls and agree that none is to be made, see `agreement`
            units.append(Group.of([c for c in panel if c.usable and not c.completion.tool_calls]))
        best = max(unit.weight for unit in units) + out.weight
        if escalates(best / total, below_agreement):
            return "escalate"
    if tools:
        winner = _certain_tools(panel, out)
    elif rule == "adaptive" and not request.wants_json:
        winner = _certain_adaptive(panel, found, out, total)
    else:
        winner = _certain(found, out)
    if winner is None:
        return "wait"
    agreeing = winner.weight
    texts = [c for c in panel if c.usable and not c.completion.tool_calls]
    if tools and not winner.strongest.completion.tool_calls and any(c.key is None for c in texts):
        agreeing = weight_of(texts)
    return "wait" if escalates(agreeing / total, below_agreement) else "accept"


@immutable(frozen=True, slots=True)
class _Out:
    """The members that have not answered: each may yet give any answer, with any confidence."""

    weight: float
    position: int
    heaviest: float

    @classmethod
    def of(cls, members: Sequence[Member]) -> _Out:
        return cls(
            weight=fsum(m.weight for m in members),
            position=min(m.position for m in members),
            heaviest=max(m.weight for m in members),
        )


def _joinable(found: Sequence[Group]) -> list[Group]:
    """The groups as they may end up: one later text key may join all text groups."""
    texts = [c for group in found if group.key.kind == "text" for c in group.candidates]
    exact = [group for group in found if group.key.kind != "text"]
    return [*exact, Group.of(texts)] if texts else exact


def _certain(found: Sequence[Group], out: _Out) -> Group | None:
    """The group that wins whatever the others do; None if there is none. At worst they all join one rival."""
    if not found:
        return None
    first = found[0]
    rivals = [*_joinable(found[1:]), Group.of(())]  # the last: a key that no candidate has stated yet
    if not all(_holds(first, rival, out) for rival in rivals):
        return None
    if first.key.kind == "text" and not _speaks(first, found[1:], out):
        return None
    return first


def _holds(first: Group, rival: Group, out: _Out) -> bool:
    reach = rival.weight + out.weight
    if abs(reach - first.weight) > TOLERANCE:
        return reach < first.weight
    unbeaten = first.confidence is None or first.confidence >= 1.0
    return unbeaten and first.position < min(rival.position, out.position)


def _speaks(first: Group, others: Sequence[Group], out: _Out) -> bool:
    """Whether the group's strongest candidate is certain, even if all text keys end up in one group."""
    speaker = first.strongest
    weight, position, sure = speaker.member.weight, speaker.member.position, speaker.confidence

    def stays_behind(other: Candidate) -> bool:
        if abs(other.member.weight - weight) > TOLERANCE:
            return other.member.weight < weight
        less_sure = sure is None or (other.confidence is not None and other.confidence <= sure)
        return less_sure and position < other.member.position

    rivals = [c for group in (first, *others) for c in group.candidates if c.key != speaker.key]
    if not all(stays_behind(c) for c in rivals if c.key is not None and c.key.kind == "text"):
        return False
    if abs(out.heaviest - weight) > TOLERANCE:
        return out.heaviest < weight
    return (sure is None or sure >= 1.0) and position < out.position


def _certain_tools(panel: Sequence[Candidate], out: _Out) -> Group | None:
    """As `_certain`, if members may call tools or write text."""
    calls = [c for c in panel if c.usable and c.completion.tool_calls]
    texts = [c for c in panel if c.usable and not c.completion.tool_calls]
    calling, writing = weight_of(calls), weight_of(texts)
    if calls and calling >= writing + out.weight - TOLERANCE:
        first = next(iter(groups(calls)), None)
        return first if first and 2 * first.weight > calling + out.weight + TOLERANCE else None
    if writing > calling + out.weight + TOLERANCE:
        return _certain(groups(texts), out)
    return None


def _certain_adaptive(panel: Sequence[Candidate], found: Sequence[Group], out: _Out, total: float) -> Group | None:
    """As `_certain`, for the rules of `adaptive`: prose may outweigh the keys, a confidence may beat a plurality,
    and the surest member of a majority speaks for it."""
    able = [c for c in panel if c.usable]
    keyed = [c for c in able if c.key is not None]
    if 2 * weight_of(keyed) <= weight_of(able) + out.weight + TOLERANCE:
        return None
    first = _certain(found, out)
    if first is None:
        return None
    if 2 * first.weight <= total + TOLERANCE and all(c.confidence is not None for c in keyed):
        return None
    if first.key.kind == "text" and all(c.confidence is not None for c in first.candidates):
        return None
    return first
