"""What diversity gains, over many panels of one task: the gain of a plain vote by the spread of its members'
accuracies, one family against three providers, and four members against three.

Figures are cross-fitted: the best member, the spread and the order of the members are taken from one half of the
questions, and the gain is measured on the other half, so that no choice is measured on the questions that made it.
Intervals are over questions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from emerge_core.errors import EmergeError
from emerge_core.evals.diversity.measures import scores_of, voted_scores
from emerge_core.evals.offline.arrays import Answers
from emerge_core.evals.statistics.resampling import RESAMPLES, SEED, Draws, Estimate, Figures

if TYPE_CHECKING:
    from emerge_core.evals.types import Values

    Panel = tuple[int, ...]

PANELS = 1000  # of one kind; of more, a sample
BINS = ((0.0, 0.05), (0.05, 0.10), (0.10, 0.15), (0.15, 0.20), (0.20, 1.0))  # spread of accuracy
MATCHED = 0.10  # a fourth member is tried where accuracies are no farther apart


class Row(NamedTuple):
    """Panels whose spread of accuracies is from `low` to `high`. A panel counts once for each half."""

    low: float
    high: float
    panels: int
    gain: Estimate  # of the vote over the best member
    same_family_panels: int
    same_family: Estimate
    cross_provider_panels: int
    cross_provider: Estimate
    difference: Estimate  # cross provider less same family


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    task: str
    questions: int
    models: tuple[str, ...]
    trios: int  # panels of three that exist
    tried: int  # panels of three that were measured
    by_spread: tuple[Row, ...]
    fourth_panels: int
    fourth: Estimate  # vote of four less that of the same panel without its weakest member


def findings(answers: Answers, models: Sequence[str] | None = None, *, panels: int = PANELS) -> Findings:
    """Measures the named models; by default those of the small and mid tiers, or all if no tiers are recorded."""
    tiers = [row for row, name in enumerate(answers.models) if answers.tier(name) in ("small", "mid")]
    rows = [answers.index(name) for name in models] if models else tiers or list(range(len(answers.models)))
    if len(rows) < 4:
        raise EmergeError(f"findings compare panels of three and four: {len(rows)} model(s) are too few")
    rng = np.random.default_rng(SEED)
    trios: list[Panel] = list(combinations(rows, 3))
    kinds = {
        "any": _sample(trios, panels, rng),
        "family": _sample(
            [t for t in trios if len(_distinct(map(answers.family, _names(answers, t)))) == 1], panels, rng
        ),
        "cross": _sample(
            [t for t in trios if len(_distinct(map(answers.provider, _names(answers, t)))) == 3], panels, rng
        ),
    }
    table = _Table(answers)
    by_kind = {name: [table.row(panel, half) for panel in found for half in (0, 1)] for name, found in kinds.items()}
    fours = (
        _sample(list(combinations(rows, 4)), panels, rng) if comb(len(rows), 4) <= 10**6 else _drawn(rows, panels, rng)
    )
    fourth = [pair for panel in fours for half in (0, 1) if (pair := table.fourth(panel, half)) is not None]
    return Findings(
        task=answers.task,
        questions=len(answers.questions),
        models=tuple(answers.models[row] for row in rows),
        trios=len(trios),
        tried=len(set().union(*kinds.values())),
        by_spread=tuple(table.summed(low, high, by_kind) for low, high in BINS),
        fourth_panels=len(fourth),
        fourth=table.mean(fourth).at(0),
    )


class _Gain(NamedTuple):
    """A panel's gain on the questions of one half, and its spread on the other half."""

    half: int
    spread: float
    gain: Values


class _Table:
    """Computes the gain of each panel once."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        count = len(answers.questions)
        self._half = np.zeros(count, dtype=np.int8)
        self._half[np.random.default_rng(SEED).permutation(count)[count // 2 :]] = 1
        self._scores = scores_of(answers, range(len(answers.models)))
        self._accuracy = [self._scores[:, self._half != half].mean(axis=1) for half in (0, 1)]
        self._draws = Draws(count, RESAMPLES, SEED)
        self._known: dict[tuple[Panel, int], _Gain] = {}

    def row(self, panel: Panel, half: int) -> _Gain:
        """The panel's gain on `half`, with the choices made on the other half."""
        if (panel, half) not in self._known:
            order = self._ordered(panel, half)
            accuracy = self._accuracy[half][list(order)]
            gain = self._voted(order, half) - self._scores[order[0]][self._half == half]
            self._known[panel, half] = _Gain(half, float(accuracy[0] - accuracy[-1]), gain)
        return self._known[panel, half]

    def fourth(self, panel: Panel, half: int) -> _Gain | None:
        order = self._ordered(panel, half)
        accuracy = self._accuracy[half][list(order)]
        spread = float(accuracy[0] - accuracy[-1])
        if spread > MATCHED:
            return None
        return _Gain(half, spread, self._voted(order, half) - self._voted(order[:-1], half))

    def summed(self, low: float, high: float, by_kind: dict[str, list[_Gain]]) -> Row:
        within = {name: [each for each in gains if low <= each.spread < high] for name, gains in by_kind.items()}
        figures = {name: self.mean(gains) for name, gains in within.items()}
        apart = Figures(*(a - b for a, b in zip(figures["cross"], figures["family"], strict=True)))
        return Row(
            low,
            high,
            len(within["any"]),
            figures["any"].at(0),
            len(within["family"]),
            figures["family"].at(0),
            len(within["cross"]),
            figures["cross"].at(0),
            apart.at(0),
        )

    def mean(self, gains: Sequence[_Gain]) -> Figures:
        """The mean over panels and questions, on all questions and on every resample."""
        sums, counts = np.zeros((2, len(self._half)))
        for half in (0, 1):
            of_half = [each.gain for each in gains if each.half == half]
            if of_half:
                sums[self._half == half] = np.sum(of_half, axis=0, dtype=np.float64)
                counts[self._half == half] = len(of_half)
        above, below = self._draws.means(sums[None]), self._draws.means(counts[None])
        with np.errstate(invalid="ignore"):
            return Figures(above.whole / below.whole, above.drawn / below.drawn)

    def _ordered(self, panel: Panel, half: int) -> Panel:
        """The panel with its best member first."""
        return tuple(sorted(panel, key=lambda row: (-self._accuracy[half][row], row)))

    def _voted(self, order: Panel, half: int) -> Values:
        key = (order, -1)
        if key not in self._known:
            self._known[key] = _Gain(-1, 0.0, voted_scores(self._answers, order))
        found: Values = self._known[key].gain[self._half == half]
        return found


def _sample(panels: list[Panel], most: int, rng: np.random.Generator) -> list[Panel]:
    if len(panels) <= most:
        return panels
    return [panels[place] for place in sorted(rng.choice(len(panels), most, replace=False))]


def _drawn(rows: Sequence[int], most: int, rng: np.random.Generator) -> list[Panel]:
    return sorted({tuple(sorted(int(row) for row in rng.choice(rows, 4, replace=False))) for _ in range(most)})


def _names(answers: Answers, panel: Panel) -> list[str]:
    return [answers.models[row] for row in panel]


def _distinct(values: Iterable[str | None]) -> set[str | None]:
    """The distinct values; none if a value is not recorded."""
    found = list(values)
    return set() if None in found else set(found)
