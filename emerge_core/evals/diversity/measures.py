"""How differently models fail on the same questions, and what that is worth to a panel.

Measures of pairs as in Kuncheva & Whitaker, "Measures of diversity in classifier ensembles and their
relationship with the ensemble accuracy", Machine Learning 51, 2003. All are of *errors*: a reply that
is wrong or states no answer. Of graded replies accuracies are mean scores, the correlation is that of
the scores, and a reply that scores half or less counts as an error. Intervals are 95 % percentile
bootstraps over questions, the same resamples for all figures. Values are shares from 0 to 1 unless
they are coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from emerge_core.errors import EmergeError
from emerge_core.evals.offline.arrays import Answers
from emerge_core.evals.offline.voting import score_of, vote
from emerge_core.evals.statistics.resampling import RESAMPLES, SEED, Draws, Figures
from emerge_core.evals.statistics.resampling import Estimate as Estimate

if TYPE_CHECKING:
    from emerge_core.evals.types import Floats, Values


@dataclass(frozen=True, slots=True, kw_only=True)
class PairDiversity:
    """Two models on the same questions."""

    a: str
    b: str
    same_family: bool
    same_provider: bool
    phi: Estimate  # correlation of their errors (graded: of their scores): 0 = independent, 1 = the same errors
    double_fault: Estimate  # share of questions on which both are wrong
    q: Estimate  # Yule's Q: (n11 n00 - n01 n10) / (n11 n00 + n01 n10)
    same_wrong: (
        Estimate  # of the questions on which both are wrong, the share with the same wrong answer; NaN if graded
    )
    disagreement: Estimate  # share of questions on which exactly one is right


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberDiversity:
    """One model of the panel."""

    model: str
    provider: str | None
    family: str | None
    accuracy: Estimate
    marginal: Estimate  # accuracy of the panel's vote, less that of the vote without this member


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelDiversity:
    """A panel as a whole. `members` are in the given order, which is the vote's order for ties. If `graded`, accuracies
    are mean scores and the vote takes the medoid."""

    task: str
    questions: int
    left_out: int
    members: tuple[MemberDiversity, ...]
    pairs: tuple[PairDiversity, ...]
    best: str  # the most accurate member; the first of several
    vote: Estimate  # accuracy of the plain vote
    gain: Estimate  # of the vote over the best member
    oracle: Estimate  # what a perfect picker would reach
    spread: Estimate  # the best member's accuracy less the worst's
    graded: bool = False


def measure(
    answers: Answers, models: Sequence[str] | None = None, *, resamples: int = RESAMPLES, seed: int = SEED
) -> PanelDiversity:
    """Diversity of the named models (default: all) as a panel. Raises EmergeError for an unknown model, or for one
    alone."""
    names = tuple(models or answers.models)
    if len(names) < 2:
        raise EmergeError(f"{answers.task}: diversity is between models, and only {names[0]} has answers to compare")
    rows = [answers.index(name) for name in names]
    scores = scores_of(answers, rows)
    draw = Draws(scores.shape[1], resamples, seed)
    accuracy = draw.means(scores)
    voted = voted_scores(answers, rows)
    best = int(accuracy.whole.argmax())
    members = tuple(
        MemberDiversity(
            model=name,
            provider=answers.provider(name),
            family=answers.family(name),
            accuracy=accuracy.at(place),
            marginal=draw.mean(voted - voted_scores(answers, [*rows[:place], *rows[place + 1 :]])),
        )
        for place, name in enumerate(names)
    )
    spread = Figures(np.ptp(accuracy.whole, axis=0)[None], np.ptp(accuracy.drawn, axis=0)[None])
    return PanelDiversity(
        task=answers.task,
        questions=scores.shape[1],
        left_out=answers.left_out,
        members=members,
        pairs=_pairs(answers, rows, draw),
        best=names[best],
        vote=draw.mean(voted),
        gain=draw.mean(voted - scores[best]),
        oracle=draw.mean(scores.max(axis=0)),
        spread=spread.at(0),
        graded=answers.graded,
    )


def scores_of(answers: Answers, rows: Sequence[int]) -> Values:
    """(rows, questions): the models' scores; whole numbers unless they are grades."""
    scores = answers.score[list(rows)]
    return scores if answers.graded else scores.astype(np.int8)


def voted_scores(answers: Answers, rows: Sequence[int]) -> Values:
    """(questions,): what the panel's vote scores. Without members it scores nothing."""
    if not rows:
        return np.zeros(len(answers.questions), dtype=np.int8)
    scores = score_of(answers, rows, vote(answers, rows).winner)
    return scores if answers.graded else scores.astype(np.int8)


def _pairs(answers: Answers, rows: Sequence[int], draw: Draws) -> tuple[PairDiversity, ...]:
    places = list(combinations(range(len(rows)), 2))
    if not places:
        return ()
    wrong = 1 - answers.right[rows].astype(np.int8)
    first, second = np.array(places).T
    both = draw.means(wrong[first] * wrong[second])
    same = np.array([answers.equal(rows[a], rows[b]) for a, b in places])
    alike = draw.means(wrong[first] * wrong[second] * same)
    errors = draw.means(wrong)
    a, b = errors.take(first), errors.take(second)
    phi, q, same_wrong, differing = (
        Figures(*(formula(*parts) for parts in zip(a, b, both, alike, strict=True)))
        for formula in (_phi, _yule, _same_wrong, _disagreement)
    )
    if answers.graded:
        phi = _score_correlation(answers.score[rows], places, draw)
        same_wrong = Figures(np.full_like(same_wrong.whole, np.nan), np.full_like(same_wrong.drawn, np.nan))
    found = []
    for number, (one, other) in enumerate(places):
        x, y = answers.models[rows[one]], answers.models[rows[other]]
        found.append(
            PairDiversity(
                a=x,
                b=y,
                same_family=_same(answers.family(x), answers.family(y)),
                same_provider=_same(answers.provider(x), answers.provider(y)),
                phi=phi.at(number),
                double_fault=both.at(number),
                q=q.at(number),
                same_wrong=same_wrong.at(number),
                disagreement=differing.at(number),
            )
        )
    return tuple(found)


def _score_correlation(scores: Floats, places: Sequence[tuple[int, int]], draw: Draws) -> Figures:
    first, second = np.array(places).T
    means, squares = draw.means(scores), draw.means(scores**2)
    products = draw.means(scores[first] * scores[second])

    def correlation(mean: Floats, square: Floats, product: Floats) -> Floats:
        spread = np.sqrt(np.maximum(square - mean**2, 0.0))
        return _ratio(product - mean[first] * mean[second], spread[first] * spread[second])

    return Figures(*(correlation(*parts) for parts in zip(means, squares, products, strict=True)))


def _same(a: str | None, b: str | None) -> bool:
    return a is not None and a == b


# From shares of questions: both wrong, `a` wrong, `b` wrong, both wrong with the same answer.


def _phi(a: Floats, b: Floats, both: Floats, _: Floats) -> Floats:
    return _ratio(both - a * b, np.sqrt(a * (1 - a) * b * (1 - b)))


def _yule(a: Floats, b: Floats, both: Floats, _: Floats) -> Floats:
    neither, only_a, only_b = 1 - a - b + both, a - both, b - both
    return _ratio(both * neither - only_a * only_b, both * neither + only_a * only_b)


def _same_wrong(_: Floats, __: Floats, both: Floats, alike: Floats) -> Floats:
    return _ratio(alike, both)


def _disagreement(a: Floats, b: Floats, both: Floats, _: Floats) -> Floats:
    return a + b - 2 * both


def _ratio(above: Floats, below: Floats) -> Floats:
    defined = below > 1e-12
    quotient: Floats = np.where(defined, above / np.where(defined, below, 1.0), np.nan)
    return quotient
