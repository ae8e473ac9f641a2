"""Which budget's ensemble to recommend, or which single model: one rule, for all questions and inside the folds.

1. Of the budgets the one whose ensemble is most accurate on unseen questions sets the mark. One that settles disputes
   by a rule that loses its contest (see `search.contests`) counts only if the better rule is beyond every budget.
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
from emerge_core.evals.tune.crossval import FOLDS, Affordable, Selections, block_folds
from emerge_core.evals.tune.search.search import Candidates

if TYPE_CHECKING:
    from emerge_core.evals.types import Booleans, Floats, Integers, Singles

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

    def choose(self, training: Booleans) -> Integers:
        """(samples,): the candidate that the rule picks by the blocks of `training` (samples, blocks) alone."""
        parts = [block_folds(np.flatnonzero(blocks), INNER_SEED) for blocks in training]
        marks = [_marks(blocks, of_sample) for blocks, of_sample in zip(training, parts, strict=True)]
        inner = Selections(self.candidates, self.blocks, np.concatenate(marks), self.of_models, self.margin)
        best = np.array([inner.best(budget) for budget in self.budgets])  # (budgets, marks)
        most = self.budgets[-1].allowed
        lost = [most[beaten] for beaten in inner.beaten(most)]
        found, start = [], 0
        for blocks, of_sample in zip(training, parts, strict=True):
            whole = start + len(of_sample)
            counts = inner.scores[start : whole + 1]
            found.append(self._chosen(blocks, of_sample, best[:, start : whole + 1], counts, lost[whole]))
            start = whole + 1
        return np.array(found)

    def _chosen(
        self, training: Booleans, parts: Sequence[Integers], best: Integers, counts: Singles, lost: Integers
    ) -> int:
        """`best` is (budgets, marks) and `counts` (marks, candidates): without each part, then with all. `lost` are
        the candidates that a better rule beats."""
        unseen = self._unseen(best, parts)
        size = (self.blocks.sizes * training).sum()
        taken = pick(unseen.sum(axis=1) / size, self.margin, self.wanted, np.isin(best[:, -1], lost))
        chosen = int(best[taken, -1])
        if self.candidates.single[chosen]:
            return chosen
        rivals = affordable_singles(self.candidates, chosen)
        if not len(rivals):
            return chosen
        singles = self._unseen(rivals[counts[:, rivals].argmax(axis=1)][None], parts)[0]
        if _lowest(unseen[taken] - singles, self.blocks.sizes * training) > 0:
            return chosen
        return cheapest_single(self.candidates, rivals, counts[-1, rivals] / size, self.margin)

    def _unseen(self, best: Integers, parts: Sequence[Integers]) -> Floats:
        """(choices, blocks): the score on each held-out block of the candidate chosen without it; `best` is
        (choices, samples)."""
        found = np.zeros((len(best), len(self.blocks)))
        for place, part in enumerate(parts):
            found[:, part] = self.candidates.right[best[:, place][:, None], part]
        return found


def _marks(training: Booleans, parts: Sequence[Integers]) -> Singles:
    """(samples, blocks): the training blocks without each part, then all."""
    found = np.tile(training.astype(np.float32), (len(parts) + 1, 1))
    for place, part in enumerate(parts):
        found[place, part] = 0
    return found


def pick(accuracies: Floats, margin: float, wanted: float | None = None, beaten: Booleans | None = None) -> int:
    """The place of the first budget that is good enough. If no accuracy is wanted, those that are `beaten` are not."""
    if wanted is None and beaten is not None and not beaten.all():
        accuracies = np.where(beaten, -np.inf, accuracies)
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
