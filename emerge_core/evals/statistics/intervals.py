"""95 % intervals of an accuracy, of the difference of two on the same questions, and of means of graded replies.

Small samples decide here: at 30 questions a percentile bootstrap of a paired difference covers 58 to 95 % instead
of 95, and has no width if two models never differ. So differences of right and wrong use the adjusted interval
of D. Bonett and R. Price, "Adjusted Wald confidence interval for a difference of binomial proportions based on
paired data", Journal of Educational and Behavioral Statistics 37, 2012 (one win and one loss are added), with a t
quantile. Accuracies use Wilson's interval.

Cross-validated figures share training questions, so their variance is larger than that of independent trials: it
is multiplied by 1 + 1 / (folds - 1). Partitions of the same questions add no information: variances are averaged
over them. `extra` is a variance of the mean that comes from elsewhere, such as from choosing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from emerge_core.evals.types import Floats

Z = 1.959964  # the normal distribution's 97.5 % quantile
RESAMPLES = 5_000
SEED = 0


class Interval(NamedTuple):
    low: float
    high: float


def wilson(right: float, of: float) -> Interval:
    """For a share of right answers. Honest near 0 and 1, unlike the plain formula."""
    if of == 0:
        return Interval(0.0, 1.0)
    share, squared = right / of, Z * Z / of
    middle = share + squared / 2
    spread = Z * math.sqrt(share * (1 - share) / of + squared / (4 * of))
    return Interval(max(0.0, (middle - spread) / (1 + squared)), min(1.0, (middle + spread) / (1 + squared)))


def t_quantile(degrees: int) -> float:
    """The 97.5 % quantile of Student's distribution, by the expansion of Cornish and Fisher."""
    v = max(degrees, 1)
    return (
        Z
        + (Z**3 + Z) / (4 * v)
        + (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * v**2)
        + (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / (384 * v**3)
    )


def paired(ours: Sequence[float], theirs: Sequence[float], *, graded: bool = False) -> tuple[float, Interval]:
    """The difference of two accuracies (or, if `graded`, mean scores) on the same questions."""
    import numpy as np

    difference = np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64)
    return paired_outcomes(difference[None], graded=graded)


def paired_outcomes(
    differences: Floats, *, graded: bool = False, folds: int | None = None, extra: float = 0.0
) -> tuple[float, Interval]:
    """As `paired`, of cross-validated outcomes: `differences` is (partitions, questions)."""
    count = differences.shape[1]
    if count == 0:
        return 0.0, Interval(0.0, 0.0)
    value = float(differences.mean())
    inflation = _inflation(folds)
    if graded:
        return value, _bootstrap(differences, inflation, extra)
    won, lost = ((differences * sign > 0.5).sum(axis=1) for sign in (1, -1))
    centre, variance = zip(*(_adjusted(int(w), int(x), count) for w, x in zip(won, lost, strict=True)), strict=True)
    reach = t_quantile(count - 1) * math.sqrt(fmean(variance) * inflation + extra)
    middle = fmean(centre)
    return value, Interval(max(-1.0, middle - reach), min(1.0, middle + reach))


def accuracy(scores: Sequence[float], *, graded: bool = False) -> Interval:
    """Of the mean of scores that are 0 or 1, or, if `graded`, anything between."""
    import numpy as np

    found = np.asarray(scores, dtype=np.float64)
    return accuracy_outcomes(found[None], graded=graded)


def accuracy_outcomes(
    scores: Floats, *, graded: bool = False, folds: int | None = None, extra: float = 0.0
) -> Interval:
    """As `accuracy`, of cross-validated outcomes: `scores` is (partitions, questions)."""
    inflation = _inflation(folds)
    if graded:
        low, high = _bootstrap(scores, inflation, extra)
        return Interval(max(0.0, low), min(1.0, high))
    count = scores.shape[1]
    if not count:
        return wilson(0, 0)
    effective, mean = count / inflation, float(scores.mean())
    binomial = (mean * count + 1) / (count + 2) * (1 - (mean * count + 1) / (count + 2))
    effective = binomial / (binomial / effective + extra)
    return wilson(mean * effective, effective)


def _adjusted(won: int, lost: int, count: int) -> tuple[float, float]:
    """The centre and the variance of the difference with one win and one loss added."""
    plus, minus = (won + 1) / (count + 2), (lost + 1) / (count + 2)
    return plus - minus, (plus + minus - (plus - minus) ** 2) / (count + 2)


def _inflation(folds: int | None) -> float:
    return 1.0 if folds is None else 1 + 1 / (folds - 1)


def _bootstrap(values: Floats, inflation: float, extra: float) -> Interval:
    """By drawing questions with replacement, each time of one partition; widened about the mean."""
    import numpy as np

    random = np.random.default_rng(SEED)
    partitions, count = values.shape
    drawn = []
    for partition in values:
        counts = random.multinomial(count, np.full(count, 1 / count), size=max(1, RESAMPLES // partitions))
        drawn.append(counts @ partition / count)
    low, high = np.quantile(np.concatenate(drawn), [0.025, 0.975])
    mean, variance = float(values.mean()), float(np.concatenate(drawn).var())
    wider = math.sqrt(inflation + (extra / variance if variance > 0 else 0.0)) * t_quantile(count - 1) / Z
    return Interval(mean + (float(low) - mean) * wider, mean + (float(high) - mean) * wider)
