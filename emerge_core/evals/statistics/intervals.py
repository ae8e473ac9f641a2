"""95 % intervals: Wilson's for an accuracy, a paired bootstrap for the difference of two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

Z = 1.959964  # the normal distribution's 97.5 % quantile
RESAMPLES = 20_000
SEED = 0


class Interval(NamedTuple):
    low: float
    high: float


def wilson(right: int, of: int) -> Interval:
    """For a share of right answers. Honest near 0 and 1, where the plain formula is not."""
    if of == 0:
        return Interval(0.0, 1.0)
    share, squared = right / of, Z * Z / of
    middle = share + squared / 2
    spread = Z * math.sqrt(share * (1 - share) / of + squared / (4 * of))
    return Interval(max(0.0, (middle - spread) / (1 + squared)), min(1.0, (middle + spread) / (1 + squared)))


def paired(ours: Sequence[bool], theirs: Sequence[bool]) -> tuple[float, Interval]:
    """The difference of two accuracies on the same questions, with its bootstrap interval.

    A question's difference is -1, 0 or 1, so drawing questions with replacement is drawing how often
    each of the three occurs.
    """
    import numpy as np

    count = len(ours)
    if count == 0:
        return 0.0, Interval(0.0, 0.0)
    won = sum(a and not b for a, b in zip(ours, theirs, strict=True))
    lost = sum(b and not a for a, b in zip(ours, theirs, strict=True))
    shares = [lost / count, (count - won - lost) / count, won / count]
    drawn = np.random.default_rng(SEED).multinomial(count, shares, size=RESAMPLES)
    low, high = np.quantile((drawn[:, 2] - drawn[:, 0]) / count, [0.025, 0.975])
    return (won - lost) / count, Interval(float(low), float(high))
