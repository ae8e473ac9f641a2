"""Which budget's ensemble to recommend, or which single model: one rule, for all questions and inside the folds.

1. Of the budgets the one whose ensemble is most accurate on unseen questions sets the mark.
2. The cheapest budget within `margin` of the mark is taken.
3. If it chose an ensemble, this must be clearly better than the best single model that costs no more: the interval
   of the difference on unseen questions lies above zero. Otherwise that single model is recommended, or the cheapest
   one within `margin` of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from emerge_core.evals.statistics.intervals import t_quantile
from emerge_core.evals.tune.bitsets import Blocks
from emerge_core.evals.tune.crossval import FOLDS, Affordable, Selection, block_folds
from emerge_core.evals.tune.search.search import Candidates

if TYPE_CHECKING:
    from emerge_core.evals.types import Booleans, Floats, Integers

MARGIN = 0.003
INNER_SEED = 77


@dataclass(frozen=True, slots=True)
class ChoiceRule:
    """The rule on blocks of questions, by the candidates' scores per block. `budgets` ascend by cost. `wanted`: an
    accuracy, of which the cheapest budget that reaches it is taken instead of the most accurate one."""

    candidates: Candidates
    blocks: Blocks
    of_models: Floats  # (models, blocks): scores of single models
    budgets: tuple[Affordable, ...]
    margin: float = MARGIN
    wanted: float | None = None

    def choose(self, training: Booleans) -> int:
        """The candidate that the rule picks by the blocks of `training` (blocks,) alone."""
        numbers = np.flatnonzero(training)
        parts = block_folds(numbers, INNER_SEED)
        marks = np.zeros((len(self.blocks), len(parts) + 1), dtype=np.float32)
        marks[numbers] = 1
        for place, part in enumerate(parts):
            marks[part, place] = 0
        counts = self.candidates.sums @ marks
        size = marks.T @ self.blocks.sizes
        shares = (self.of_models @ marks) / size
        inner = [Selection(self.candidates, counts[:, place], shares[:, place]) for place in range(len(parts))]
        whole = Selection(self.candidates, counts[:, -1], shares[:, -1])
        unseen = np.array([self._unseen(budget, inner, parts) for budget in self.budgets])
        taken = pick(unseen.sum(axis=1) / size[-1], self.margin, self.wanted)
        chosen = whole.best(self.budgets[taken])
        if self.candidates.single[chosen]:
            return chosen
        rivals = affordable_singles(self.candidates, chosen)
        if not len(rivals):
            return chosen
        singles = np.zeros(len(self.blocks))
        for place, part in enumerate(parts):
            best = rivals[counts[rivals, place].argmax()]
            singles[part] = self.candidates.right[best, part]
        if _lowest(unseen[taken] - singles, self.blocks.sizes * training) > 0:
            return chosen
        return cheapest_single(self.candidates, rivals, counts[rivals, -1] / size[-1], self.margin)

    def _unseen(self, budget: Affordable, inner: Sequence[Selection], parts: Sequence[Integers]) -> Floats:
        """(blocks,): the score on each held-out block of the candidate chosen without it."""
        found = np.zeros(len(self.blocks))
        for selection, part in zip(inner, parts, strict=True):
            found[part] = self.candidates.right[selection.best(budget), part]
        return found


def pick(accuracies: Floats, margin: float, wanted: float | None = None) -> int:
    """The place of the first budget that is good enough."""
    mark = accuracies.max() - margin if wanted is None else min(wanted, accuracies.max())
    return int(np.flatnonzero(accuracies >= mark - 1e-12)[0])


def affordable_singles(candidates: Candidates, chosen: int) -> Integers:
    """Single models that cost no more than the chosen candidate; all, if its cost is unknown."""
    limit = candidates.cost[chosen]
    singles = np.flatnonzero(candidates.single)
    return singles if np.isnan(limit) else singles[candidates.cost[singles] <= limit * (1 + 1e-6)]


def cheapest_single(candidates: Candidates, singles: Integers, accuracies: Floats, margin: float) -> int:
    """Of single models the cheapest whose accuracy is within the margin of the best one's."""
    enough = singles[accuracies >= accuracies.max() - margin - 1e-9]
    return int(enough[np.nan_to_num(candidates.cost[enough], nan=np.inf).argmin()])


def _lowest(differences: Floats, sizes: Floats) -> float:
    """The lower end of the mean difference per question, from sums per block."""
    count, blocks = float(sizes.sum()), int((sizes > 0).sum())
    mean = differences.sum() / count
    spread = float(((differences - mean * sizes) ** 2).sum()) * blocks / max(blocks - 1, 1) / count**2
    variance = max(spread, 2 / (count + 2) ** 2) * (1 + 1 / (FOLDS - 1))
    return float(mean - t_quantile(blocks - 1) * sqrt(variance))
