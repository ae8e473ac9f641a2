"""Measures a way of choosing on questions that it did not see: nested cross-validation.

In each of several partitions into folds, every fold is held out in turn: an ensemble is chosen and its numbers are
learned on the other folds, and it is measured on the held-out fold alone. So each question is answered once per
partition by an ensemble that was made without it. The figures are those of the *procedure* "choose the best within
this budget", which is what a user gets who takes the ensemble chosen on all questions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from emerge_core.evals.offline.arrays import Answers
from emerge_core.evals.offline.ensembles import Design, Ensemble, by_order, evaluate, fit
from emerge_core.evals.tune.bitsets import Blocks
from emerge_core.evals.tune.search.search import Candidates

if TYPE_CHECKING:
    from emerge_core.evals.types import Booleans, Floats, Integers, Singles

SEEDS = 10
FOLDS = 5
AT_ONCE = 500_000  # candidates by samples: many are scored together only in a small search
POOL = 8  # a panel is made of the members that are right most often: among more, luck chooses


@dataclass(frozen=True, slots=True)
class Fold:
    """The blocks held out, and the questions in and outside of them."""

    held: Booleans  # (blocks,)
    training: Integers
    unseen: Integers


def folds(blocks: Blocks, count: int = FOLDS, seeds: int = SEEDS) -> Iterator[list[Fold]]:
    """One partition of the blocks per seed."""
    for seed in range(seeds):
        partition = []
        for part in block_folds(np.arange(len(blocks)), 1000 + seed, count):
            held = np.zeros(len(blocks), dtype=np.bool_)
            held[part] = True
            unseen = np.concatenate([blocks.parts[block] for block in part])
            training = np.ones(blocks.questions, dtype=np.bool_)
            training[unseen] = False
            partition.append(Fold(held, np.flatnonzero(training), unseen))
        yield partition


def block_folds(numbers: Integers, seed: int, count: int = FOLDS) -> list[Integers]:
    """These blocks, shuffled and split into folds."""
    order = np.random.default_rng(seed).permutation(numbers)
    return np.array_split(order, min(count, len(order)))


@dataclass(frozen=True, slots=True)
class Affordable:
    """What a budget allows: candidates by number, and the members (rows) that it allows alone."""

    allowed: Integers
    members: tuple[int, ...]

    def same_as(self, other: Affordable) -> bool:
        return self.members == other.members and np.array_equal(self.allowed, other.allowed)


class Unseen(NamedTuple):
    """Outcomes of a way of choosing on questions that it did not see.

    `scores` is (partitions, questions). `instability` is the mean square, over the folds, of the difference in accuracy
    on all questions between what a fold chose and what is chosen on all of them: so far is the one that is written from
    those that were measured.
    """

    scores: Floats
    instability: float


class Selections:
    """Candidates by their scores on several samples of the questions: `samples` is (samples, blocks), 1 for the blocks
    of each, and `of_models` (models, blocks) scores of single models. Rules that are less than `margin` apart are
    about as good."""

    def __init__(
        self, candidates: Candidates, blocks: Blocks, samples: Singles, of_models: Floats, margin: float
    ) -> None:
        self.scores = samples @ candidates.sums.T
        self._of_models = samples @ of_models.T
        self._weakest = candidates.weakest(self._of_models)
        self._cost = candidates.cost_to_rank
        self._contests = [(each, each.verdicts(samples, blocks.sizes, margin)) for each in candidates.contests]

    def best(self, budget: Affordable) -> Integers:
        """(samples,): of the panels whose members are among the best that are affordable, the most accurate one; of
        equals the cheapest, and of those the first, which has the fewest members. Disputes are settled by the rule
        that wins its contest."""
        ranked = np.sort(self._of_models[:, list(budget.members)], axis=1)
        among = self._weakest[:, budget.allowed] >= ranked[:, -POOL:][:, :1]
        among &= ~self.beaten(budget.allowed)
        among |= ~among.any(axis=1, keepdims=True)
        scores = np.where(among, self.scores[:, budget.allowed], -np.inf)
        cost = np.where(scores >= scores.max(axis=1, keepdims=True) - 1e-4, self._cost[budget.allowed], np.inf)
        found: Integers = budget.allowed[cost.argmin(axis=1)]
        return found

    def beaten(self, among: Integers) -> Booleans:
        """(samples, among): the candidates that settle disputes by a rule that loses to that of another of them."""
        found = np.zeros((len(self.scores), len(among)), dtype=np.bool_)
        for contest, verdicts in self._contests:
            found |= contest.loses(verdicts, among)
        return found


class CrossValidation:
    """Chooses on training folds and measures on held-out ones. Measures of one design on one fold are kept."""

    def __init__(
        self, answers: Answers, candidates: Candidates, blocks: Blocks, margin: float, seeds: int = SEEDS
    ) -> None:
        self._margin = margin
        self._answers = answers
        self._candidates = candidates
        self._blocks = blocks
        self._of_models = np.array([answers.score[:, part].sum(axis=1) for part in blocks.parts]).T
        self._partitions = list(folds(blocks, seeds=seeds))
        self._designs: dict[int, Design] = {}
        self._measures: dict[tuple[int, int, int], Floats] = {}
        self._by_order: dict[Ensemble, Floats] = {}

    def unseen(self, budgets: Sequence[Affordable]) -> list[Unseen]:
        """Of each budget the outcomes of the ensemble that it chooses without a question."""

        def choose(training: Booleans) -> Integers:
            selections = self._selections(training)
            return np.array([selections.best(budget) for budget in budgets]).T

        return self._outcomes(choose, [self.chosen(budget) for budget in budgets])

    def unseen_choice(self, choose: Callable[[Booleans], Integers], chosen: int) -> Unseen:
        """The outcomes on unseen questions if `choose` picks a candidate for each sample by its training blocks, of
        shape (samples, blocks). `chosen` is the candidate picked on all questions."""
        return self._outcomes(lambda training: choose(training)[:, None], [chosen])[0]

    def _outcomes(self, choose: Callable[[Booleans], Integers], on_all: Sequence[int]) -> list[Unseen]:
        """`choose` gives (samples, choices) for some training blocks (samples, blocks)."""
        everyone = list(self._folds())
        training = np.array([~fold.held for _, _, fold in everyone])
        at_once = max(1, AT_ONCE // len(self._candidates))
        chosen = np.concatenate([choose(training[i : i + at_once]) for i in range(0, len(training), at_once)])
        scores = np.zeros((chosen.shape[1], len(self._partitions), self._blocks.questions))
        for (seed, number, fold), of_fold in zip(everyone, chosen.tolist(), strict=True):
            for place, candidate in enumerate(of_fold):
                scores[place, seed, fold.unseen] = self._measured(candidate, seed, number, fold)
        apart = self._candidates.sums[chosen].sum(axis=2) - self._candidates.sums[on_all].sum(axis=1)
        instability = ((apart / self._blocks.questions) ** 2).mean(axis=0)
        return [Unseen(*each) for each in zip(scores, instability.tolist(), strict=True)]

    def best_of(self, scores: Floats) -> tuple[int, Floats]:
        """Of some options (options, questions) the one with the highest mean, and (partitions, questions) the score
        of the one that has it on the training folds."""
        found = np.zeros((len(self._partitions), self._blocks.questions))
        for seed, _, fold in self._folds():
            best = scores[:, fold.training].sum(axis=1).argmax()
            found[seed, fold.unseen] = scores[best, fold.unseen]
        return int(scores.sum(axis=1).argmax()), found

    def chosen(self, budget: Affordable) -> int:
        """The candidate that the budget chooses on all questions."""
        return int(self._on_all().best(budget)[0])

    def beaten(self, chosen: Sequence[int], budget: Affordable) -> Booleans:
        """(chosen,): which of them settle disputes by a rule that loses to another one within the budget."""
        found: Booleans = np.isin(chosen, budget.allowed[self._on_all().beaten(budget.allowed)[0]])
        return found

    def fitted(self, candidate: int) -> Ensemble:
        """The candidate with its numbers learned from all questions."""
        return fit(self._answers, self._candidates.design(candidate), np.arange(self._blocks.questions))

    def _selections(self, training: Booleans) -> Selections:
        samples = training.astype(np.float32)
        return Selections(self._candidates, self._blocks, samples, self._of_models, self._margin)

    def _on_all(self) -> Selections:
        return self._selections(np.ones((1, len(self._blocks)), dtype=np.bool_))

    def _folds(self) -> Iterator[tuple[int, int, Fold]]:
        for seed, partition in enumerate(self._partitions):
            for number, fold in enumerate(partition):
                yield seed, number, fold

    def _measured(self, candidate: int, seed: int, number: int, fold: Fold) -> Floats:
        place = (candidate, seed, number)
        if place not in self._measures:
            design = self._designs.get(candidate) or self._designs.setdefault(
                candidate, self._candidates.design(candidate)
            )
            self._measures[place] = self._scores(fit(self._answers, design, fold.training))[fold.unseen]
        return self._measures[place]

    def _scores(self, ensemble: Ensemble) -> Floats:
        """(questions,): kept for an ensemble that learns at most an order, since other folds teach the same one."""
        kept = by_order(self._answers, ensemble)
        if kept is None:
            return evaluate(self._answers, ensemble).score
        if kept not in self._by_order:
            self._by_order[kept] = evaluate(self._answers, ensemble).score
        return self._by_order[kept]
