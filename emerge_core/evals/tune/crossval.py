"""What choosing gains on questions that nobody has seen: nested cross-validation.

For each of several partitions into folds, every fold is held out in turn: on the others an ensemble is
chosen and its numbers are learned; it is measured on the held-out fold alone. Each question is so
answered once per partition by an ensemble that was made without it. The figures of a budget are of
the *procedure* "choose the best within this budget", as is the promise to a user who then takes the
ensemble chosen on all questions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
    """Blocks held out, and the questions in and outside of them."""

    held: Booleans  # (blocks,)
    training: Integers
    unseen: Integers


def folds(blocks: Blocks, count: int = FOLDS, seeds: int = SEEDS) -> Iterator[list[Fold]]:
    """One partition of the blocks per seed."""
    for seed in range(seeds):
        order = np.random.default_rng(1000 + seed).permutation(len(blocks))
        partition = []
        for part in np.array_split(order, min(count, len(blocks))):
            held = np.zeros(len(blocks), dtype=np.bool_)
            held[part] = True
            unseen = np.concatenate([blocks.parts[block] for block in part])
            training = np.setdiff1d(np.arange(blocks.questions), unseen)
            partition.append(Fold(held, training, unseen))
        yield partition


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be chosen: candidates by number, and the members (rows) that are affordable by themselves."""

    allowed: Integers
    members: tuple[int, ...]


class CrossValidation:
    """Choices on training folds, measured on held-out ones. Measures of one design on one fold are kept."""

    def __init__(self, answers: Answers, candidates: Candidates, blocks: Blocks, seeds: int = SEEDS) -> None:
        self._answers = answers
        self._candidates = candidates
        self._blocks = blocks
        self._partitions = list(folds(blocks, seeds=seeds))
        self._measures: dict[tuple[Design, int, int], Floats] = {}

    def unseen(self, budgets: Sequence[Budget]) -> Floats:
        """(budgets, questions): how often, over the partitions, the ensemble that is chosen without a question
        answers it right."""
        right = np.zeros((len(budgets), self._blocks.questions))
        counts = self._candidates.right.astype(np.float32)
        total = counts.sum(axis=1)
        for seed, partition in enumerate(self._partitions):
            held = counts @ np.array([fold.held for fold in partition], dtype=np.float32).T
            for number, fold in enumerate(partition):
                seen = _Choice(self._answers, self._candidates, total - held[:, number], fold.training)
                for place, budget in enumerate(budgets):
                    design = self._candidates.design(seen.best(budget))
                    right[place, fold.unseen] += self._measured(design, seed, number, fold)
        return right / len(self._partitions)

    def best_of(self, right: Booleans) -> tuple[int, Floats]:
        """Of some options (options, questions) the one that is right most often, and (questions,): how often, over
        the partitions, the one that is so on the training folds answers the question right."""
        unseen = np.zeros(self._blocks.questions)
        for partition in self._partitions:
            for fold in partition:
                best = right[:, fold.training].sum(axis=1).argmax()
                unseen[fold.unseen] += right[best, fold.unseen]
        return int(right.sum(axis=1).argmax()), unseen / len(self._partitions)

    def _measured(self, design: Design, seed: int, number: int, fold: Fold) -> Floats:
        found = self._measures.get((design, seed, number))
        if found is None:
            outcomes = evaluate(self._answers, fit(self._answers, design, fold.training))
            found = self._measures[design, seed, number] = outcomes.score[fold.unseen]
        return found

    def chosen(self, budget: Budget) -> Ensemble:
        """The choice on all questions, with the numbers learned from all."""
        everything = np.arange(self._blocks.questions)
        total = self._candidates.right.sum(axis=1, dtype=np.float32)
        seen = _Choice(self._answers, self._candidates, total, everything)
        return fit(self._answers, self._candidates.design(seen.best(budget)), everything)


class _Choice:
    """Candidates as some of the questions show them: right answers (candidates,) among them."""

    def __init__(self, answers: Answers, candidates: Candidates, right: Singles, questions: Integers) -> None:
        self._accuracy = answers.right[:, questions].mean(axis=1)
        self._weakest = candidates.weakest(self._accuracy)
        self._right = right
        self._cost = candidates.cost

    def best(self, budget: Budget) -> int:
        """Of the panels whose members are among the best that are affordable, the one that is right most often; of
        equals the cheapest, and of those the first, which has the fewest members."""
        ranked = np.sort(self._accuracy[list(budget.members)])
        allowed = budget.allowed[self._weakest[budget.allowed] >= ranked[-POOL:][0]]
        allowed = allowed if len(allowed) else budget.allowed
        score = self._right[allowed]
        best = allowed[score >= score.max()]
        return int(best[np.nan_to_num(self._cost[best], nan=np.inf).argmin()])
