"""Every ensemble of a space, scored on every block of questions at once.

A vote depends on nothing but who agrees with whom, so a panel's outcome on 64 questions is a few
operations on words of bits. Panels are scored with orders, weights and calibrations learned from all
questions: that is only for choosing between them; what is chosen is learned again and measured apart
(see `crossval`). Short texts that join two groups, and prose, are scored as if they stood alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from emerge_core.evals.arrays import NO_KEY, Answers
from emerge_core.evals.bits import Blocks
from emerge_core.evals.ensembles import Design, Final, Rule, confidences, fit, list_price
from emerge_core.evals.learning import log_odds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from emerge_core.evals.bits import Bits

    Flags = NDArray[np.bool_]
    Rows = NDArray[np.int64]
    Floats = NDArray[np.float64]

CHUNK = 1024  # panels at once: their words stay in the processor's cache
THREADS = 2
FINALS: tuple[Final, ...] = ("replace", "vote")
POOL = 16  # members from which panels of more than three are made: there are too many of all


@dataclass(frozen=True, slots=True)
class Space:
    """What is searched. Members and targets are rows of the arrays."""

    members: tuple[int, ...]
    targets: tuple[int, ...]
    max_members: int = 3


class Family(NamedTuple):
    """Panels that differ in their members alone."""

    panels: Rows  # (n, members)
    rule: Rule
    target: int | None
    trusted: int
    final: Final


@dataclass(frozen=True, slots=True)
class Candidates:
    """Every design tried: (n, blocks) right answers, and (n,) mean cost in US dollars and latency in ms of a
    question, NaN where they are not known."""

    families: tuple[Family, ...]
    starts: NDArray[np.int64]  # of each family
    right: NDArray[np.unsignedinteger]
    cost: NDArray[np.float32]
    latency: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.cost)

    @property
    def escalate(self) -> Flags:
        found: Flags = np.concatenate([np.full(len(each.panels), each.target is not None) for each in self.families])
        return found

    def weakest(self, score: Floats) -> Floats:
        """Of each candidate the lowest score among its members; `score` is by row of the arrays."""
        found: Floats = np.concatenate([score[each.panels].min(axis=1) for each in self.families])
        return found

    def design(self, number: int) -> Design:
        place = int(np.searchsorted(self.starts, number, side="right")) - 1
        family = self.families[place]
        members = tuple(int(row) for row in family.panels[number - self.starts[place]])
        return Design(members, family.rule, family.target, family.trusted, family.final)


def search(answers: Answers, space: Space, blocks: Blocks) -> Candidates:
    """Single members, then all pairs and triples (larger panels: of the `POOL` members that are right most often)."""
    facts = _Facts(answers, space, blocks)
    jobs = [chunk for size in range(1, space.max_members + 1) for chunk in _chunks(facts, size)]
    with ThreadPoolExecutor(THREADS) as pool:
        scored = [each for found in pool.map(lambda panels: list(_score(facts, panels)), jobs) for each in found]
    sizes = [len(each.family.panels) for each in scored]
    return Candidates(
        families=tuple(each.family for each in scored),
        starts=np.cumsum([0, *sizes[:-1]]),
        right=np.concatenate([each.right for each in scored]),
        cost=np.concatenate([each.cost for each in scored]).astype(np.float32),
        latency=np.concatenate([each.latency for each in scored]).astype(np.float32),
    )


def _chunks(facts: _Facts, size: int) -> Iterator[Rows]:
    """Panels as places in the pool, the member that is right most often first."""
    pool = range(len(facts.members) if size <= 3 else min(POOL, len(facts.members)))
    panels = np.array(list(combinations(pool, size)), dtype=np.int64).reshape(-1, size)
    for start in range(0, len(panels), CHUNK):
        yield panels[start : start + CHUNK]


class _Facts:
    """What is known of single models and of pairs, as bits. Members are ordered by accuracy, as `fit` orders them."""

    def __init__(self, answers: Answers, space: Space, blocks: Blocks) -> None:
        hits = answers.right.sum(axis=1)
        self.blocks = blocks
        self.members = np.array(sorted(space.members, key=lambda row: (-hits[row], row)), dtype=np.int64)
        self.targets = np.array(space.targets, dtype=np.int64)
        self.hits = hits[self.members].astype(np.float64)
        keyed = answers.codes != NO_KEY
        self.keyed = blocks.pack(keyed[self.members])
        self.usable = blocks.pack(answers.usable[self.members])
        self.right = blocks.pack((answers.right & keyed)[self.members])
        count = len(self.members)
        self.equal = np.zeros((count, count, self.keyed.shape[1]), dtype=np.uint64)
        for a, b in combinations(range(count), 2):
            self.equal[a, b] = self.equal[b, a] = self._equal(answers, self.members[a], self.members[b])
        self.joins = np.zeros((len(self.targets), count, self.keyed.shape[1]), dtype=np.uint64)
        for place, target in enumerate(self.targets):
            self.joins[place] = [self._equal(answers, member, target) for member in self.members]
        self.target_usable = blocks.pack(answers.usable[self.targets])
        self.target_right = blocks.pack(answers.right[self.targets])
        self.target_keyed = blocks.pack(keyed[self.targets])
        self.costs = np.array([answers.costs(int(row)) for row in self.members])
        self.target_costs = np.array([answers.costs(int(row)) for row in self.targets]).reshape(-1, blocks.questions)
        self.latency = answers.latency_ms[self.members]
        self.target_latency = answers.latency_ms[self.targets]
        self.by_price = np.argsort(
            np.argsort([list_price(answers, int(row)) for row in self.members], kind="stable"), kind="stable"
        )
        self.rated = any(
            answers.has_logprobs(row) and bool((~np.isnan(answers.confidence[row])).any()) for row in space.members
        )
        everyone = fit(answers, Design(space.members, "confidence"), np.arange(len(answers.questions)))
        sure = np.nan_to_num(confidences(answers, everyone), nan=-1.0)
        self.surer: Bits = np.array([blocks.pack(one[None] >= sure) for one in sure])  # [a, b]: a at least as sure as b

    def _equal(self, answers: Answers, a: int, b: int) -> Bits:
        bits: Bits = self.blocks.pack(answers.equal(int(a), int(b))[None])[0]
        return bits


class _Scored(NamedTuple):
    family: Family
    right: NDArray[np.unsignedinteger]
    cost: Floats
    latency: Floats


def _score(facts: _Facts, panels: Rows) -> Iterator[_Scored]:
    """Every design of these panels."""
    chunk = _Chunk(facts, panels)
    voted = chunk.plurality()
    yield chunk.scored("vote", voted)
    if chunk.size == 1:
        return
    unsettled = {trusted: ~chunk.grouped[trusted] & chunk.ask for trusted in range(2, chunk.size + 1)}
    for trusted, asked in unsettled.items():
        yield from chunk.escalated("vote", trusted, voted, asked, lambda target: chunk.plurality(target))
    if chunk.size == 3:
        yield from _cascading(facts, panels)
        yield from _weighted(facts, panels)
    if facts.rated and chunk.size <= 3:
        yield from _confident(chunk, voted)


def _cascading(facts: _Facts, panels: Rows) -> Iterator[_Scored]:
    """Panels of three whose prices are all known: else the order is not."""
    priced = panels[~np.isnan(facts.costs.mean(axis=1)[panels]).any(axis=1)]
    if len(priced):
        chunk = _Chunk(facts, priced)
        yield chunk.cascaded(chunk.plurality())


def _weighted(facts: _Facts, panels: Rows) -> Iterator[_Scored]:
    """Panels of three, by log-odds. Where one outweighs the other two it is no panel: left out."""
    weights = log_odds(facts.hits[panels], facts.blocks.questions)
    real = weights[:, 0] <= weights[:, 1] + weights[:, 2]
    if not real.any():
        return
    chunk, weights = _Chunk(facts, panels[real]), weights[real]
    voted = chunk.plurality()
    yield chunk.scored("weighted", voted)
    pairs, (a, b, c) = chunk.pairs, weights.T
    heaviest = pairs[0, 1] | (pairs[0, 2] & _mask(b == c)) | (pairs[1, 2] & _mask(a == c))
    with_second = pairs[0, 1] | pairs[0, 2] | (pairs[1, 2] & _mask(a == b))
    for trusted, agreed in ((1, heaviest), (2, with_second)):
        yield from chunk.escalated(
            "weighted", trusted, voted, ~agreed & chunk.ask, lambda target: _outweighed(chunk, weights, voted, target)
        )


def _outweighed(chunk: _Chunk, weights: Floats, voted: Bits, target: int) -> Bits:
    """The weighted vote of three and the target, whose weight is their mean."""
    a, b, c = weights.T
    mean = weights.mean(axis=1)
    facts, pairs, (with_a, with_b, with_c) = chunk.facts, chunk.pairs, chunk.joins(target)
    speaks_a, speaks_b, _ = chunk.keyed

    def heavier(weight: Floats) -> Bits:
        """Where it is more than any single member's that states an answer."""
        return _any(
            [
                speaks_a & _mask(weight > a),
                speaks_b & ~speaks_a & _mask(weight > b),
                ~speaks_a & ~speaks_b & _mask(weight > c),
            ]
        )

    nobody = facts.target_keyed[target] & ~(with_a | with_b | with_c)
    apart = with_a | (with_b & heavier(b + mean)) | (with_c & heavier(c + mean)) | (nobody & heavier(mean))
    taken = (
        (apart & ~chunk.grouped[2])
        | (pairs[1, 2] & with_a & ~pairs[0, 1] & _mask(a + mean >= b + c))
        | (pairs[0, 2] & with_b & ~pairs[0, 1] & _mask(b + mean > a + c))
        | ~chunk.spoken
    )
    right: Bits = (voted & ~taken) | (facts.target_right[target] & taken)
    return right


def _confident(chunk: _Chunk, voted: Bits) -> Iterator[_Scored]:
    """The most confident member, and escalation where that one stands alone."""
    wins = chunk.surest()
    right = _any([win & each for win, each in zip(wins, chunk.right, strict=True)])
    yield chunk.scored("confidence", right)
    if chunk.size < 3:
        return
    company = [_any([chunk.pairs[min(i, j), max(i, j)] for j in range(3) if j != i]) for i in range(3)]
    alone = _any([win & ~with_others for win, with_others in zip(wins, company, strict=True)])

    def final(target: int) -> Bits:
        joins = chunk.joins(target)
        joined = _any([win & join for win, join in zip(wins, joins, strict=True)])
        taken = joined | (~chunk.grouped[2] & _any(joins)) | ~chunk.spoken
        outcome: Bits = (voted & ~taken) | (chunk.facts.target_right[target] & taken)
        return outcome

    yield from chunk.escalated("confidence", 2, right, alone & chunk.ask, final)


class _Chunk:
    """Panels of one size, as bits (n, words)."""

    def __init__(self, facts: _Facts, panels: Rows) -> None:
        self.facts = facts
        self.panels = panels
        self.size = panels.shape[1]
        columns = panels.T
        self.keyed = [facts.keyed[column] for column in columns]
        self.right = [facts.right[column] for column in columns]
        self.pairs = {(i, j): facts.equal[columns[i], columns[j]] for i, j in combinations(range(self.size), 2)}
        self.spoken = _any([facts.usable[column] for column in columns])
        self.ask = _any(self.keyed) | ~self.spoken  # prose alone has no agreement, and is not escalated
        self._groups = {
            subset: _all([self.pairs[subset[0], other] for other in subset[1:]])
            for count in range(2, self.size + 1)
            for subset in combinations(range(self.size), count)
        } | {(member,): self.keyed[member] for member in range(self.size)}
        self.grouped = {
            count: _any([bits for subset, bits in self._groups.items() if len(subset) == count])
            for count in range(2, self.size + 1)
        }
        self._cost = facts.costs.mean(axis=1)[panels].sum(axis=1)
        self._latency = _mean_of_slowest(facts.latency, panels)

    def joins(self, target: int) -> list[Bits]:
        """Where the target says what a member says."""
        return [self.facts.joins[target, column] for column in self.panels.T]

    def plurality(self, target: int | None = None) -> Bits:
        """Where the vote is right; of the members, or of them and the target, which stands last."""
        joins = [] if target is None else self.joins(target)
        left = np.full_like(self.keyed[0], np.iinfo(np.uint64).max)
        right = np.zeros_like(left)
        for count in range(self.size + bool(joins), 1, -1):
            same = [(subset[0], bits) for subset, bits in self._groups.items() if len(subset) == count]
            if joins:
                smaller = [(subset[0], bits) for subset, bits in self._groups.items() if len(subset) == count - 1]
                same += [(first, bits & joins[first]) for first, bits in smaller]
            for first, bits in sorted(same, key=lambda each: each[0]):
                right |= bits & left & self.right[first]
                left &= ~bits
        for keyed, each in zip(self.keyed, self.right, strict=True):
            right |= left & each
            left &= ~keyed
        if target is not None:
            right |= left & self.facts.target_right[target]
        outcome: Bits = right
        return outcome

    def surest(self) -> list[Bits]:
        """Of each member, where it is the most confident; the first of several."""
        surer = self.facts.surer
        left = np.full_like(self.keyed[0], np.iinfo(np.uint64).max)
        wins = []
        for i, column in enumerate(self.panels.T):
            win = _all([left, *(surer[column, other] for j, other in enumerate(self.panels.T) if j > i)])
            wins.append(win)
            left = left & ~win
        return wins

    def scored(self, rule: Rule, right: Bits) -> _Scored:
        return self._entry(rule, None, 0, "replace", right, self._cost, self._latency)

    def escalated(
        self, rule: Rule, trusted: int, right: Bits, asked: Bits, vote: Callable[[int], Bits]
    ) -> Iterator[_Scored]:
        """Every target, by both finals. `vote` gives where the final vote with a target is right."""
        facts = self.facts
        flags = facts.blocks.unpack(asked).astype(np.float32)
        spent = flags @ facts.target_costs.T.astype(np.float32) / facts.blocks.questions
        waited = flags @ facts.target_latency.T.astype(np.float32) / facts.blocks.questions
        for target in range(len(facts.targets)):
            changed = asked & facts.target_usable[target]
            cost, latency = self._cost + spent[:, target], self._latency + waited[:, target]
            for final in FINALS:
                stronger = facts.target_right[target] if final == "replace" else vote(target)
                outcome = (right & ~changed) | (stronger & changed)
                yield self._entry(rule, target, trusted, final, outcome, cost, latency)

    def cascaded(self, right: Bits) -> _Scored:
        """Of three: the dearest is asked only where the two others differ."""
        order = np.take_along_axis(self.panels, np.argsort(self.facts.by_price[self.panels], axis=1), axis=1)
        first, second, last = order.T
        differ = self.facts.blocks.unpack(~self.facts.equal[first, second])
        costs, latency = self.facts.costs, self.facts.latency
        cost = costs.mean(axis=1)[order[:, :2]].sum(axis=1) + _mean(differ, costs[last])
        waited = _mean_of_slowest(latency, order[:, :2]) + _mean(differ, latency[last])
        return self._entry("cascade", None, 0, "replace", right, cost, waited)

    def _entry(
        self, rule: Rule, target: int | None, trusted: int, final: Final, right: Bits, cost: Floats, latency: Floats
    ) -> _Scored:
        facts = self.facts
        row = None if target is None else int(facts.targets[target])
        family = Family(facts.members[self.panels], rule, row, trusted, final)
        return _Scored(family, facts.blocks.count(right), cost, latency)


def _any(parts: Sequence[Bits]) -> Bits:
    found = parts[0].copy()
    for part in parts[1:]:
        found |= part
    return found


def _all(parts: Sequence[Bits]) -> Bits:
    found = parts[0].copy()
    for part in parts[1:]:
        found &= part
    return found


def _mask(flags: NDArray[np.bool_]) -> Bits:
    """(n, 1): all bits of a panel, or none."""
    return np.where(flags, np.iinfo(np.uint64).max, np.uint64(0)).astype(np.uint64)[:, None]


def _mean(flags: NDArray[np.bool_], values: Floats) -> Floats:
    found: Floats = np.where(flags, values, 0.0).mean(axis=1)
    return found


def _mean_of_slowest(latency: Floats, panels: Rows) -> Floats:
    """Members are asked together: the slowest is waited for."""
    if np.isnan(latency).all():
        return np.full(len(panels), np.nan)
    slowest: Floats = latency[panels[:, 0]]
    for column in panels.T[1:]:
        slowest = np.maximum(slowest, latency[column])
    mean: Floats = slowest.mean(axis=1)
    return mean
