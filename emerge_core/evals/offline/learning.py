"""The numbers that an ensemble learns from a task's questions: a weight, a reliability and a short calibration per
member, which is all that some hundreds of questions support. They are shrunk towards the common value, and rounded as
the config writes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from emerge_core.evals.types import Booleans, Floats

Calibration = tuple[tuple[float, float], ...]
"""(upper bound of a bin of the stated probability, accuracy in it), ascending in both; the last bound is 1."""

PRIOR = 20  # questions' worth of belief in the panel's common accuracy
ALTERNATIVES = 9  # equally likely wrong answers: a vote counts by how much likelier it is right than one of them
LIGHTEST = 0.1
BINS = 8
FEWEST = 20  # of a bin


def shrunk(right: Floats, of: int) -> Floats:
    """Accuracies (…, members) of so many right answers, drawn towards the panel's mean as by `PRIOR` questions more."""
    mean = (right.sum(axis=-1, keepdims=True) + 1) / (of * right.shape[-1] + 2)
    drawn: Floats = (right + PRIOR * mean) / (of + PRIOR)
    return drawn


def log_odds(right: Floats, of: int) -> Floats:
    """Weights (…, members) of mean 1: log-odds of being right against one certain wrong answer (Nitzan & Paroush,
    "Optimal decision rules in uncertain dichotomous choice situations", 1982, for several options)."""
    share = shrunk(right, of)
    odds = np.maximum(LIGHTEST, np.log(ALTERNATIVES * share / (1 - share)))
    weights: Floats = np.round(odds / odds.mean(axis=-1, keepdims=True), 3)
    return weights


def reliability(right: Floats, of: int) -> tuple[float, ...]:
    """The probability that a reply of each member is right, if nothing else is known of the reply."""
    return tuple(np.round((right + 1) / (of + 2), 4).tolist())


def calibrate(stated: Floats, right: Booleans) -> Calibration:
    """Bins of about equally many replies, their accuracies made ascending by pooling neighbours that are not
    (Zadrozny & Elkan, "Transforming classifier scores into accurate multiclass probability estimates", 2002)."""
    if not len(stated):
        return ()
    order = np.argsort(stated, kind="stable")
    stated, right = stated[order], right[order]
    bins: list[_Bin] = []
    for part in np.array_split(np.arange(len(stated)), max(1, min(BINS, len(stated) // FEWEST))):
        bins = _pooled([*bins, (float(stated[part[-1]]), float(right[part].sum()), len(part))])
    mean = (int(right.sum()) + 1) / (len(right) + 2)
    return _written(stated, [(bound, (hits + FEWEST / 2 * mean) / (of + FEWEST / 2)) for bound, hits, of in bins])


_Bin = tuple[float, float, int]  # highest stated probability, right replies, replies


def _pooled(bins: list[_Bin]) -> list[_Bin]:
    """Bins with one bound are one bin; a bin less accurate than the one before is joined to it."""
    while len(bins) > 1:
        (bound, hits, of), (last_bound, last_hits, last_of) = bins[-2:]
        if last_bound > bound and last_hits / last_of > hits / of:
            break
        bins = [*bins[:-2], (last_bound, hits + last_hits, of + last_of)]
    return bins


def _written(stated: Floats, bins: Sequence[tuple[float, float]]) -> Calibration:
    """Bounds half-way to the next stated probability, so that no rounding moves a reply to another bin."""
    found: list[tuple[float, float]] = []
    for bound, accuracy in bins[:-1]:
        above = stated[stated > bound]
        middle = (bound + float(above[0])) / 2 if len(above) else 1.0
        found.append((middle, round(accuracy, 4)))
    return (*found, (1.0, round(bins[-1][1], 4)))
