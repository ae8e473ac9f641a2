"""Counting votes: groups of equal answers, the tie rule, agreement, and when a vote is decided.

Everything here is a pure function of the candidates. Weights are summed by `fsum` and compared
with a tolerance, so that neither the order of the members nor 0.1 + 0.2 changes an outcome.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import fsum, inf
from typing import Literal

from emerge_core.answers import group_keys, names_key, strongest
from emerge_core.types import AnswerKey, Candidate, ChatRequest, Decision, Member, VoteGroup

TOLERANCE = 1e-9

Verdict = Literal["wait", "accept", "escalate"]


def asked(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The candidates whose calls count, in config order: all but the cancelled and the skipped."""
    counted = [c for c in candidates if c.call.status not in ("cancelled", "skipped")]
    return sorted(counted, key=lambda c: (c.member.position, c.call.id))


def usable(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The candidates that may win, in config order."""
    return [c for c in asked(candidates) if c.usable]


def weight_of(candidates: Iterable[Candidate]) -> float:
    return fsum(c.member.weight for c in candidates)


@dataclass(frozen=True, slots=True)
class Group:
    """Candidates that say the same, in config order."""

    candidates: tuple[Candidate, ...]
    weight: float
    confidence: float | None  # of its most confident candidate
    position: float  # of its first candidate in config order

    @classmethod
    def of(cls, candidates: Sequence[Candidate]) -> Group:
        return cls(
            candidates=tuple(candidates),
            weight=weight_of(candidates),
            confidence=max((c.confidence for c in candidates if c.confidence is not None), default=None),
            position=min((c.member.position for c in candidates), default=inf),
        )

    @property
    def strongest(self) -> Candidate:
        return strongest(self.candidates)

    @property
    def key(self) -> AnswerKey:
        """What the group says, in the words of its strongest candidate."""
        key = self.strongest.key
        assert key is not None, "groups are made of candidates with keys"  # noqa: S101
        return key

    def vote(self) -> VoteGroup:
        return VoteGroup(
            key=self.key,
            weight=self.weight,
            members=tuple(c.member.model for c in self.candidates),
            call_ids=tuple(c.call.id for c in self.candidates),
        )


def ranked(groups: Sequence[Group]) -> list[Group]:
    """Heaviest first. Ties: confidence, if every tied group has one, then config order."""
    left, result = list(groups), []
    while left:
        heaviest = max(group.weight for group in left)
        tied = [group for group in left if group.weight >= heaviest - TOLERANCE]
        if all(group.confidence is not None for group in tied):
            tied.sort(key=lambda group: (-(group.confidence or 0.0), group.position))
        else:
            tied.sort(key=lambda group: group.position)
        result.append(tied[0])
        left.remove(tied[0])
    return result


def groups(candidates: Iterable[Candidate]) -> list[Group]:
    """The usable candidates that state an answer, by what they say; heaviest first."""
    voters = [c for c in usable(candidates) if c.key is not None]
    indices = group_keys([c.key for c in voters if c.key is not None])
    parts: dict[int, list[Candidate]] = {}
    for index, candidate in zip(indices, voters, strict=True):
        parts.setdefault(index, []).append(candidate)
    return ranked([Group.of(part) for part in parts.values()])


def votes(candidates: Iterable[Candidate]) -> tuple[VoteGroup, ...]:
    return tuple(group.vote() for group in groups(candidates))


def agreement(winner: Candidate, candidates: Iterable[Candidate]) -> float | None:
    """The share of the asked weight that says what the winner says; None where nobody has a key.

    Abstentions and errors count as dissent. A winner without a key among candidates with keys
    (prose, where others call tools) is agreed with by the usable candidates that have none either.
    """
    panel = asked(candidates)
    return _share(winner, panel, groups(panel))


def _share(winner: Candidate, panel: Sequence[Candidate], found: Sequence[Group]) -> float | None:
    if not found:
        return None
    if winner.key is None:
        part = weight_of(c for c in panel if c.usable and c.key is None)
    else:
        part = next(g.weight for g in found if any(c.call.id == winner.call.id for c in g.candidates))
    return part / weight_of(panel)


def escalates(agreement: float | None, below: float | None) -> bool:
    """Whether a panel with that agreement is to be escalated. Without keys there is no verdict."""
    return agreement is not None and below is not None and agreement < below - TOLERANCE


def sole(candidates: Iterable[Candidate]) -> Candidate | None:
    """The only usable candidate, or None where there are several: it is then returned as it is."""
    able = usable(candidates)
    return able[0] if len(able) == 1 else None


def decision(winner: Candidate, candidates: Sequence[Candidate], *, rule: str, fallback: str | None = None) -> Decision:
    """The decision that this candidate's own message is the answer."""
    panel = asked(candidates)
    found = groups(panel)
    return Decision(
        message=winner.completion,
        selected=(winner.call.id,),
        rule=rule,
        votes=tuple(group.vote() for group in found),
        agreement=_share(winner, panel, found),
        fallback=fallback,
    )


@dataclass(frozen=True, slots=True)
class Pick:
    """What a vote comes to. `winner` is None where none of `among` has a key to count."""

    winner: Candidate | None
    among: tuple[Candidate, ...]  # the candidates between which the last step chose
    rule: str


def pick(candidates: Iterable[Candidate]) -> Pick:
    """A weighted plurality over the keys; first call against text, where any candidate calls tools."""
    panel = asked(candidates)
    able = [c for c in panel if c.usable]
    calls = [c for c in able if c.completion.tool_calls]
    texts = [c for c in able if not c.completion.tool_calls]
    if calls and weight_of(calls) >= weight_of(texts) - TOLERANCE:
        return _pick_call(calls)
    found = groups(texts)
    if not found:
        return Pick(None, tuple(texts), "none")
    first = found[0]
    if 2 * first.weight > weight_of(panel) + TOLERANCE:
        rule = "majority"
    elif len(found) > 1 and found[1].weight >= first.weight - TOLERANCE:
        rule = "tie"
    else:
        rule = "plurality"
    return Pick(first.strongest, first.candidates, rule)


def _pick_call(calls: Sequence[Candidate]) -> Pick:
    """The same calls by a majority of those who call, else the same names, heaviest first."""
    found = groups(calls)
    if found and 2 * found[0].weight > weight_of(calls) + TOLERANCE:
        return Pick(found[0].strongest, found[0].candidates, "calls")
    by_names: dict[AnswerKey, list[Candidate]] = {}
    for candidate in calls:
        by_names.setdefault(names_key(candidate.completion.tool_calls), []).append(candidate)
    first = ranked([Group.of(part) for part in by_names.values()])[0]
    return Pick(first.strongest, first.candidates, "names")


def decided(
    landed: Sequence[Candidate],
    outstanding: Sequence[Member],
    *,
    request: ChatRequest,
    below_agreement: float | None = None,
    final: Literal["replace", "vote"] = "replace",
    min_answers: int = 1,
) -> Verdict:
    """Whether a vote is decided while `outstanding` members are still out.

    "accept": whatever they do (any key, abstain, fail), the winning key and "no escalation" stay.
    "escalate": whatever they do, the panel is escalated and its own answer replaced.
    So the answer never depends on who was fast. What stays is the winning *key*: of members who say
    the same, another may be the strongest when all have landed. Where equal keys are not certain to
    be the same answer (text matches by containment, and a later key may join two groups) the
    winning candidate itself has to be certain, and with tool calls only clear majorities are.
    """
    panel = asked(landed)
    if not outstanding:
        outcome = pick(panel)
        speaker = outcome.winner or next(iter(outcome.among), None)
        reached = agreement(speaker, panel) if speaker else None
        return "escalate" if escalates(reached, below_agreement) else "accept"
    found = groups(panel)
    if not found or request.n > 1 or sum(c.usable for c in panel) < min_answers:
        return "wait"

    out = _Out.of(outstanding)
    total = fsum([*(c.member.weight for c in panel), *(m.weight for m in outstanding)])
    tools = request.offers_tools or any(c.completion.tool_calls for c in panel)
    if below_agreement is not None and final == "replace":
        units = _joinable(found)
        if tools:  # prose may win against calls, see `agreement`
            units.append(Group.of([c for c in panel if c.usable and c.key is None]))
        best = max(unit.weight for unit in units) + out.weight
        if escalates(best / total, below_agreement):
            return "escalate"
    winner = _certain_tools(panel, out) if tools else _certain(found, out)
    if winner is None or escalates(winner.weight / total, below_agreement):
        return "wait"
    return "accept"


@dataclass(frozen=True, slots=True)
class _Out:
    """What is known of the members still out: any of them may yet say anything, as sure as it likes."""

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
    """The groups as they could yet stand together: one later text key may join all text groups."""
    texts = [c for group in found if group.key.kind == "text" for c in group.candidates]
    exact = [group for group in found if group.key.kind != "text"]
    return [*exact, Group.of(texts)] if texts else exact


def _certain(found: Sequence[Group], out: _Out) -> Group | None:
    """The group that wins whatever the members still out do. The worst is that all join one rival."""
    if not found:
        return None
    first = found[0]
    rivals = [*_joinable(found[1:]), Group.of(())]  # the last: a key that nobody has stated yet
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
    """Whether the group's strongest candidate is certain, even if all text keys come to stand together."""
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
    """As `_certain`, where members still out may call tools or write text."""
    calls = [c for c in panel if c.usable and c.completion.tool_calls]
    texts = [c for c in panel if c.usable and not c.completion.tool_calls]
    calling, writing = weight_of(calls), weight_of(texts)
    if calls and calling >= writing + out.weight - TOLERANCE:
        first = next(iter(groups(calls)), None)
        return first if first and 2 * first.weight > calling + out.weight + TOLERANCE else None
    if writing > calling + out.weight + TOLERANCE:
        return _certain(groups(texts), out)
    return None
