"""How many questions it takes to detect a difference between two ensembles, and what that costs.

Two ensembles answer the same questions; only those on which exactly one of them is right speak for either.
With d the difference of their accuracies and s the share of such questions, the number needed for a
two-sided McNemar test at level alpha with power 1 - beta is

    n = (z_(1-alpha/2) sqrt(s) + z_(1-beta) sqrt(s - d^2))^2 / d^2

(R. Connor, "Sample size for testing differences in proportions for the paired-sample design", Biometrics
43, 1987). A test simulates it.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

from emerge_core.errors import EmergeError

ALPHA, POWER = 0.05, 0.8


class Size(NamedTuple):
    questions: int
    discordant: float  # expected number of questions on which exactly one is right


def questions_needed(difference: float, disagreement: float, *, alpha: float = ALPHA, power: float = POWER) -> Size:
    """`difference` of accuracies and `disagreement` are shares. Raises EmergeError for impossible ones."""
    if not 0 < difference <= 1:
        raise EmergeError(f"a difference of {100 * difference:g} points cannot be planned for: it must be more than 0")
    if not difference <= disagreement <= 1:
        raise EmergeError(
            f"two ensembles whose accuracies differ by {100 * difference:g} points are apart on at least "
            f"{100 * difference:g} % of the questions, and on at most 100 %: {100 * disagreement:g} % cannot be"
        )
    normal = NormalDist()
    at_level, at_power = normal.inv_cdf(1 - alpha / 2), normal.inv_cdf(power)
    spread = at_level * math.sqrt(disagreement) + at_power * math.sqrt(disagreement - difference**2)
    count = math.ceil((spread / difference) ** 2 - 1e-9)
    return Size(count, count * disagreement)


def detectable(questions: int, disagreement: float, *, alpha: float = ALPHA, power: float = POWER) -> float:
    """The smallest difference that so many questions detect with that power; NaN if there is none."""
    low, high = 0.0, disagreement
    if questions_needed(high, disagreement, alpha=alpha, power=power).questions > questions:
        return math.nan
    for _ in range(40):
        middle = (low + high) / 2
        enough = questions_needed(middle, disagreement, alpha=alpha, power=power).questions <= questions
        low, high = (low, middle) if enough else (middle, high)
    return high


def mcnemar(won: int, lost: int) -> float:
    """The two-sided p value of McNemar's test without correction, for numbers of discordant questions."""
    if won + lost == 0:
        return 1.0
    return 2 * (1 - NormalDist().cdf(abs(won - lost) / math.sqrt(won + lost)))
