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
from emerge_core.evals.offline.ensembles import Design, Ensemble, evaluate, fit
from emerge_core.evals.tune.bitsets import Blocks
from emerge_core.evals.tune.search.search import Candidates

if TYPE_CHECKING:
    from emerge_core.evals.types import Booleans, Floats, Integers, Singles

SEEDS = 10
FOLDS = 5
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
            training = np.setdiff1d(np.arange(blocks.questions), unseen)
            partition.append(Fold(held, training, unseen))
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


class Unseen(NamedTuple):
    """Outcomes of a way of choosing on questions that it did not see.

    `scores` is (partitions, questions). `instability` is the variance, over the folds, of the accuracy on all
    questions of what was chosen: the accuracy of one choice differs by so much from the mean of all.
    """

    scores: Floats
    instability: float


class Selection:
    """Candidates by their scores on some of the questions: `score` is (candidates,), `of_models` (models,)."""

    def __init__(self, candidates: Candidates, score: Singles, of_models: Floats) -> None:
        self._of_models = of_models
        self._weakest = candidates.weakest(of_models)
        self._score = score
        self._cost = candidates.cost_to_rank

    def best(self, budget: Affordable) -> int:
        """Of the panels whose members are among the best that are affordable, the most accurate one; of equals the
        cheapest, and of those the first, which has the fewest members."""
        ranked = np.sort(self._of_models[list(budget.members)])
        allowed = budget.allowed[self._weakest[budget.allowed] >= ranked[-POOL:][0]]
        allowed = allowed if len(allowed) else budget.allowed
        score = self._score[allowed]
        best = allowed[score >= score.max() - 1e-4]
        return int(best[self._cost[best].argmin()])


class CrossValidation:
    """Chooses on training folds and measures on held-out ones. Measures of one design on one fold are kept."""

    def __init__(self, answers: Answers, candidates: Candidates, blocks: Blocks, seeds: int = SEEDS) -> None:
        self._answers = answers
        self._candidates = candidates
        self._blocks = blocks
        self._of_models = np.array([answers.score[:, part].sum(axis=1) for part in blocks.parts]).T
        self._partitions = list(folds(blocks, seeds=seeds))
        self._measures: dict[tuple[Design, int, int], Floats] = {}
        self._fixed: dict[Design, Floats] = {}  # scores of designs that learn nothing

    def unseen(self, budgets: Sequence[Affordable]) -> list[Unseen]:
        """Of each budget the outcomes of the ensemble that it chooses without a question."""

        def choose(training: Booleans) -> list[int]:
            selection = self._selection(training)
            return [selection.best(budget) for budget in budgets]

        return self._outcomes(len(budgets), choose)

    def unseen_choice(self, choose: Callable[[Booleans], int]) -> Unseen:
        """The outcomes of the candidate that `choose` picks by the training blocks alone."""
        return self._outcomes(1, lambda training: [choose(training)])[0]

    def _outcomes(self, count: int, choose: Callable[[Booleans], list[int]]) -> list[Unseen]:
        scores = np.zeros((count, len(self._partitions), self._blocks.questions))
        chosen: list[list[int]] = []
        for seed, number, fold in self._folds():
            chosen.append(choose(~fold.held))
            for place, candidate in enumerate(chosen[-1]):
                measured = self._measured(self._candidates.design(candidate), seed, number, fold)
                scores[place, seed, fold.unseen] = measured
        sums = self._candidates.sums[np.array(chosen)].sum(axis=2) / self._blocks.questions  # (folds, count)
        return [Unseen(score, float(of_choices.var())) for score, of_choices in zip(scores, sums.T, strict=True)]

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
        return self._selection(np.ones(len(self._blocks), dtype=np.bool_)).best(budget)

    def fitted(self, candidate: int) -> Ensemble:
        """The candidate with its numbers learned from all questions."""
        return fit(self._answers, self._candidates.design(candidate), np.arange(self._blocks.questions))

    def _selection(self, training: Booleans) -> Selection:
        shown = training.astype(np.float32)
        sizes = self._blocks.sizes[training].sum()
        return Selection(self._candidates, self._candidates.sums @ shown, self._of_models @ training / sizes)

    def _folds(self) -> Iterator[tuple[int, int, Fold]]:
        for seed, partition in enumerate(self._partitions):
            for number, fold in enumerate(partition):
                yield seed, number, fold

    def _measured(self, design: Design, seed: int, number: int, fold: Fold) -> Floats:
        if design.adjudicates:
            return self._scores(design)[fold.unseen]
        found = self._measures.get((design, seed, number))
        if found is None:
            outcomes = evaluate(self._answers, fit(self._answers, design, fold.training))
            found = self._measures[design, seed, number] = outcomes.score[fold.unseen]
        return found

    def _scores(self, design: Design) -> Floats:
        """(questions,): the scores of a design that learns nothing."""
        if design not in self._fixed:
            every = np.arange(self._blocks.questions)
            self._fixed[design] = evaluate(self._answers, fit(self._answers, design, every)).score
        return self._fixed[design]
