"""Panels whose members are all asked at once: vote, weighted vote, confidence and adaptive, alone and escalating."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from emerge_core.evals.offline.ensembles import Final, Rule
from emerge_core.evals.offline.learning import log_odds
from emerge_core.evals.tune.search.bit_rows import all_of, any_of, mask, mean_of_slowest
from emerge_core.evals.tune.search.model_facts import Facts
from emerge_core.evals.tune.search.space import Family, Scored

if TYPE_CHECKING:
    from emerge_core.evals.types import Bits, Floats, Integers


FINALS: tuple[Final, ...] = ("replace", "vote")


def scored(facts: Facts, panels: Integers) -> Iterator[Scored]:
    """Every design of these panels."""
    chunk = Chunk(facts, panels)
    voted = chunk.plurality()
    yield chunk.scored("vote", voted)
    unsettled = {trusted: ~chunk.grouped[trusted] & chunk.ask for trusted in range(2, chunk.size + 1)}
    for trusted, asked in unsettled.items():
        yield from chunk.escalated("vote", trusted, voted, asked, lambda target: chunk.plurality(target))
    if chunk.size == 3:
        yield from _weighted(facts, panels)
    if facts.rated and chunk.size <= 3:
        yield from _confident(chunk, voted)


def singles(facts: Facts) -> Iterator[Scored]:
    """Every member and target alone."""
    places = np.arange(len(facts.rows))[:, None]
    counts = facts.block_sums(facts.score)
    yield Scored(Family(facts.rows[places], "vote"), counts, facts.costs.mean(axis=1), facts.latency.mean(axis=1))


def _weighted(facts: Facts, panels: Integers) -> Iterator[Scored]:
    """Panels of three, by log-odds. Where one outweighs the other two it is no panel: left out."""
    weights = log_odds(facts.hits[panels], facts.blocks.questions)
    real = weights[:, 0] <= weights[:, 1] + weights[:, 2]
    if not real.any():
        return
    chunk, weights = Chunk(facts, panels[real]), weights[real]
    voted = chunk.plurality()
    yield chunk.scored("weighted", voted)
    pairs, (a, b, c) = chunk.pairs, weights.T
    heaviest = pairs[0, 1] | (pairs[0, 2] & mask(b == c)) | (pairs[1, 2] & mask(a == c))
    with_second = pairs[0, 1] | pairs[0, 2] | (pairs[1, 2] & mask(a == b))
    for trusted, agreed in ((1, heaviest), (2, with_second)):
        yield from chunk.escalated(
            "weighted", trusted, voted, ~agreed & chunk.ask, lambda target: _outweighed(chunk, weights, voted, target)
        )


def _outweighed(chunk: Chunk, weights: Floats, voted: Bits, target: int) -> Bits:
    """The weighted vote of three and the target, whose weight is their mean."""
    a, b, c = weights.T
    mean = weights.mean(axis=1)
    facts, pairs, (with_a, with_b, with_c) = chunk.facts, chunk.pairs, chunk.joins(target)
    speaks_a, speaks_b, _ = chunk.keyed

    def heavier(weight: Floats) -> Bits:
        """Where it is more than any single member's that states an answer."""
        return any_of(
            [
                speaks_a & mask(weight > a),
                speaks_b & ~speaks_a & mask(weight > b),
                ~speaks_a & ~speaks_b & mask(weight > c),
            ]
        )

    alone = facts.keyed[target] & ~(with_a | with_b | with_c)
    apart = with_a | (with_b & heavier(b + mean)) | (with_c & heavier(c + mean)) | (alone & heavier(mean))
    taken = (
        (apart & ~chunk.grouped[2])
        | (pairs[1, 2] & with_a & ~pairs[0, 1] & mask(a + mean >= b + c))
        | (pairs[0, 2] & with_b & ~pairs[0, 1] & mask(b + mean > a + c))
        | ~chunk.spoken
    )
    right: Bits = (voted & ~taken) | (facts.right_replies[target] & taken)
    return right


def _confident(chunk: Chunk, voted: Bits) -> Iterator[Scored]:
    """The most confident member, and escalation where that one stands alone."""
    wins = chunk.surest()
    right = any_of([win & each for win, each in zip(wins, chunk.right, strict=True)])
    yield chunk.scored("confidence", right)
    if chunk.size < 3:
        return
    yield chunk.scored("adaptive", (voted & chunk.grouped[2]) | (right & ~chunk.grouped[2]))
    company = [any_of([chunk.pairs[min(i, j), max(i, j)] for j in range(3) if j != i]) for i in range(3)]
    alone = any_of([win & ~with_others for win, with_others in zip(wins, company, strict=True)])

    def final(target: int) -> Bits:
        joins = chunk.joins(target)
        joined = any_of([win & join for win, join in zip(wins, joins, strict=True)])
        taken = joined | (~chunk.grouped[2] & any_of(joins)) | ~chunk.spoken
        outcome: Bits = (voted & ~taken) | (chunk.facts.right_replies[target] & taken)
        return outcome

    yield from chunk.escalated("confidence", 2, right, alone & chunk.ask, final)


class Chunk:
    """Panels of one size, as bits (n, words)."""

    def __init__(self, facts: Facts, panels: Integers) -> None:
        self.facts = facts
        self.panels = panels
        self.size = panels.shape[1]
        columns = panels.T
        self._silent = any_of([facts.keyless_texts[column] for column in columns])  # no call is one answer there
        self.keyed = [facts.stated[column] | (facts.texts[column] & self._silent) for column in columns]
        self.right = [facts.right[column] for column in columns]
        self.pairs = {
            (i, j): facts.agree[columns[i], columns[j]]
            | (facts.texts[columns[i]] & facts.texts[columns[j]] & self._silent)
            for i, j in combinations(range(self.size), 2)
        }
        self.spoken = any_of([facts.usable[column] for column in columns])
        self.ask = any_of(self.keyed) | ~self.spoken  # prose alone has no agreement, and is not escalated
        self._groups = {
            subset: all_of([self.pairs[subset[0], other] for other in subset[1:]])
            for count in range(2, self.size + 1)
            for subset in combinations(range(self.size), count)
        } | {(member,): self.keyed[member] for member in range(self.size)}
        self.grouped = {
            count: any_of([bits for subset, bits in self._groups.items() if len(subset) == count])
            for count in range(2, self.size + 1)
        }
        self._cost = facts.costs.mean(axis=1)[panels].sum(axis=1)
        self._latency = mean_of_slowest(facts.latency, panels)

    def joins(self, target: int) -> list[Bits]:
        """Where the target says what a member says."""
        facts = self.facts
        silent = facts.texts[target] & (self._silent | facts.keyless_texts[target])
        return [facts.agree[target, column] | (facts.texts[column] & silent) for column in self.panels.T]

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
            right |= left & self.facts.right_replies[target]
        outcome: Bits = right
        return outcome

    def surest(self) -> list[Bits]:
        """For each member the questions on which it is the most confident; of several the first."""
        surer = self.facts.surer
        left = np.full_like(self.keyed[0], np.iinfo(np.uint64).max)
        wins = []
        for i, column in enumerate(self.panels.T):
            win = all_of([left, *(surer[column, other] for j, other in enumerate(self.panels.T) if j > i)])
            wins.append(win)
            left = left & ~win
        return wins

    def scored(self, rule: Rule, right: Bits) -> Scored:
        return self._entry(rule, None, 0, "replace", right, self._cost, self._latency)

    def escalated(
        self, rule: Rule, trusted: int, right: Bits, asked: Bits, vote: Callable[[int], Bits]
    ) -> Iterator[Scored]:
        """Every target, by both finals. `vote` returns the questions on which the final vote with a target is right."""
        facts = self.facts
        flags = facts.blocks.unpack(asked).astype(np.float32)
        spent = flags @ facts.costs[facts.targets].T.astype(np.float32) / facts.blocks.questions
        waited = flags @ facts.latency[facts.targets].T.astype(np.float32) / facts.blocks.questions
        for number, target in enumerate(facts.targets):
            changed = asked & facts.usable[target]
            cost, latency = self._cost + spent[:, number], self._latency + waited[:, number]
            for final in FINALS:
                stronger = facts.right_replies[target] if final == "replace" else vote(target)
                outcome = (right & ~changed) | (stronger & changed)
                yield self._entry(rule, target, trusted, final, outcome, cost, latency)

    def _entry(
        self, rule: Rule, target: int | None, trusted: int, final: Final, right: Bits, cost: Floats, latency: Floats
    ) -> Scored:
        facts = self.facts
        row = None if target is None else int(facts.rows[target])
        family = Family(facts.rows[self.panels], rule, row, trusted, final)
        return Scored(family, facts.blocks.count(right), cost, latency)
