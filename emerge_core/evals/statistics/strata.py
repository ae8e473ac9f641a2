"""A weighted mean over independent groups of questions, such as the tasks of a mix."""

from __future__ import annotations

import math
from collections.abc import Sequence

from emerge_core.evals.statistics.intervals import Interval


def weighted(
    values: Sequence[float], intervals: Sequence[Interval], weights: Sequence[float]
) -> tuple[float, Interval]:
    """The mean of the groups' values and its interval. `weights` add up to 1.

    The interval is recovered from those of the groups, each side by itself: "the method of variance estimates
    recovery" of G. Zou and A. Donner, "Construction of confidence limits about effect measures: a general approach",
    Statistics in Medicine 27, 2008.
    """
    groups = list(zip(weights, values, intervals, strict=True))
    value = math.fsum(weight * value for weight, value, _ in groups)
    below = math.hypot(*(weight * (value - interval.low) for weight, value, interval in groups))
    above = math.hypot(*(weight * (interval.high - value) for weight, value, interval in groups))
    return value, Interval(value - below, value + above)
