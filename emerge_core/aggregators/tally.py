"""Counting votes: groups of equal answers, the tie rule, agreement.

Everything here is a pure function of the candidates. Weights are summed by `fsum` and compared
with a tolerance, so that neither the order of the members nor 0.1 + 0.2 changes an outcome.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import fsum, inf

from emerge_core.answers import group_keys, names_key, strongest
from emerge_core.immutable import immutable
from emerge_core.types import AnswerKey, Candidate, ChatRequest, Decision, VoteGroup

TOLERANCE = 1e-9


def asked(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The candidates whose calls count, in config order: all but the skipped and the stragglers that were cut.
    Those that an early decision cancelled count, as dissent."""
    counted = [c for c in candidates if c.call.status != "skipped" and not c.cut]
    return sorted(counted, key=lambda c: (c.member.position, c.call.id))


def usable(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The candidates that may win, in config order."""
    return [c for c in asked(candidates) if c.usable]


def weight_of(candidates: Iterable[Candidate]) -> float:
    return fsum(c.member.weight for c in candidates)


@immutable(frozen=True, slots=True)
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
        """The key of the group's strongest candidate."""
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
    """The usable candidates that state an answer, grouped by answer; heaviest first."""
    voters = [c for c in usable(candidates) if c.key is not None]
    indices = group_keys([c.key for c in voters if c.key is not None])
    parts: dict[int, list[Candidate]] = {}
    for index, candidate in zip(indices, voters, strict=True):
        parts.setdefault(index, []).append(candidate)
    return ranked([Group.of(part) for part in parts.values()])


def votes(candidates: Iterable[Candidate]) -> tuple[VoteGroup, ...]:
    return tuple(group.vote() for group in groups(candidates))


def agreement(winner: Candidate, candidates: Iterable[Candidate], *, offers_tools: bool = False) -> float | None:
    """The share of the asked weight that says what the winner says; None if no candidate has a key.

    Abstentions, errors and cancelled calls count as dissent. If the request offers tools and a text wins, the
    texts agree that no call is to be made; they are compared with each other only if each has a key. Otherwise
    a winner without a key is agreed with by the usable candidates that have none either.
    """
    panel = asked(candidates)
    return _share(winner, panel, groups(panel), offers_tools)


def _share(winner: Candidate, panel: Sequence[Candidate], found: Sequence[Group], offers_tools: bool) -> float | None:
    texts = [c for c in panel if c.usable and not c.completion.tool_calls]
    tools = offers_tools or any(c.completion.tool_calls for c in panel if c.usable)
    if tools and not winner.completion.tool_calls and any(c.key is None for c in texts):
        return weight_of(texts) / weight_of(panel)
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
    """The only usable candidate, which is returned as it is; None if there are several."""
    able = usable(candidates)
    return able[0] if len(able) == 1 else None


def decision(
    winner: Candidate, candidates: Sequence[Candidate], *, request: ChatRequest, rule: str, fallback: str | None = None
) -> Decision:
    """The decision that this candidate's own message is the answer."""
    panel = asked(candidates)
    found = groups(panel)
    return Decision(
        message=winner.completion,
        selected=(winner.call.id,),
        rule=rule,
        votes=tuple(group.vote() for group in found),
        agreement=_share(winner, panel, found, request.offers_tools),
        fallback=fallback,
    )


@immutable(frozen=True, slots=True)
class Pick:
    """The outcome of a vote. `winner` is None if none of `among` has a key to count."""

    winner: Candidate | None
    among: tuple[Candidate, ...]  # the candidates among which the last step chose
    rule: str


def pick(candidates: Iterable[Candidate]) -> Pick:
    """A weighted plurality over the keys. If any candidate calls tools, calls first compete with texts."""
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
    """The calls that a majority of the calling candidates agrees on; otherwise the heaviest set of names."""
    found = groups(calls)
    if found and 2 * found[0].weight > weight_of(calls) + TOLERANCE:
        return Pick(found[0].strongest, found[0].candidates, "calls")
    by_names: dict[AnswerKey, list[Candidate]] = {}
    for candidate in calls:
        by_names.setdefault(names_key(candidate.completion.tool_calls), []).append(candidate)
    first = ranked([Group.of(part) for part in by_names.values()])[0]
    return Pick(first.strongest, first.candidates, "names")
