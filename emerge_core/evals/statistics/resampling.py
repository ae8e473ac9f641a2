"""95 % intervals by drawing questions with replacement: the same draws for every figure, so that figures are paired."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from emerge_core.evals.types import Floats, Integers, Values

RESAMPLES = 1000
SEED = 0


class Estimate(NamedTuple):
    """A figure with its 95 % interval; NaN if it is not defined (a model without errors has no phi)."""

    value: float
    low: float
    high: float


class Figures(NamedTuple):
    """Figures on all questions (n,) and on every resample (n, resamples)."""

    whole: Floats
    drawn: Floats

    def take(self, places: Integers) -> Figures:
        return Figures(self.whole[places], self.drawn[places])

    def at(self, place: int) -> Estimate:
        drawn = self.drawn[place][~np.isnan(self.drawn[place])]
        if np.isnan(self.whole[place]) or not len(drawn):
            return Estimate(float("nan"), float("nan"), float("nan"))
        low, high = np.quantile(drawn, [0.025, 0.975])
        return Estimate(float(self.whole[place]), float(low), float(high))


class Draws:
    """How often each question is drawn, in every resample."""

    def __init__(self, questions: int, resamples: int, seed: int) -> None:
        drawn = np.random.default_rng(seed).multinomial(questions, np.full(questions, 1 / questions), size=resamples)
        self._counts = drawn.T.astype(np.float32)  # whole numbers: sums of them are exact

    def means(self, values: Values) -> Figures:
        """Of values (n, questions) the mean over questions, on all and on every resample."""
        sums = (values.astype(np.float32) @ self._counts).astype(np.float64)
        return Figures(values.mean(axis=1), sums / values.shape[1])

    def mean(self, values: Values) -> Estimate:
        return self.means(values[None]).at(0)
