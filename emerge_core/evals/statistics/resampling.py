"""95 % intervals by drawing questions with replacement: the same draws for every figure, so that figures are paired."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from emerge_core.evals.types import Floats, Integers, Values

RESAMPLES = 1000
SEED = 0
AT_ONCE = 10_000  # questions
DRAWN = 20  # resamples: each holds a number of eight bytes for every question


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
    """How often each question is drawn, in every resample. Of many questions the numbers are kept as bytes: as the
    numbers that are multiplied they would take several kilobytes a question."""

    def __init__(self, questions: int, resamples: int, seed: int) -> None:
        random, shares = np.random.default_rng(seed), np.full(questions, 1 / questions)
        dtype = np.float32 if questions <= AT_ONCE else np.uint8
        self._counts = np.empty((resamples, questions), dtype=dtype)
        for start in range(0, resamples, DRAWN):
            part = self._counts[start : start + DRAWN]
            part[:] = random.multinomial(questions, shares, size=len(part))

    def means(self, values: Values) -> Figures:
        """Of values (n, questions) the mean over questions, on all and on every resample."""
        questions = values.shape[1]
        sums = np.zeros((len(values), len(self._counts)))
        for start in range(0, questions, AT_ONCE):
            part = slice(start, start + AT_ONCE)
            # Whole numbers: sums of them are exact.
            sums += values[:, part].astype(np.float32) @ self._counts[:, part].T.astype(np.float32, copy=False)
        return Figures(values.mean(axis=1), sums / questions)

    def mean(self, values: Values) -> Estimate:
        return self.means(values[None]).at(0)
