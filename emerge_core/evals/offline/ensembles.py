"""Ensembles over arrays: what one is before anything is learned, what is learned, and what it answers.

A `Design` is what a search chooses between. `fit` learns the numbers it needs (order, weights,
calibration) from some of the questions; `evaluate` gives, for all questions, whose reply the proxy
would return and what it would have cost, by the rules of `strategies` and `aggregators`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor
from typing import TYPE_CHECKING, Literal

import numpy as np

from emerge_core.aggregators.tally import TOLERANCE
from emerge_core.evals.offline.arrays import Answers
from emerge_core.evals.offline.cascades import cascade
from emerge_core.evals.offline.learning import Calibration, calibrate, log_odds, reliability
from emerge_core.evals.offline.speakers import adaptive, medoid, surest
from emerge_core.evals.offline.voting import NOBODY, vote

if TYPE_CHECKING:
    from emerge_core.evals.types import Booleans, Floats, Integers

Rule = Literal["vote", "weighted", "confidence", "adaptive", "consensus", "cascade"]
RATED = ("confidence", "adaptive")  # what learns how sure a member is
Final = Literal["replace", "vote"]


@dataclass(frozen=True, slots=True)
class Design:
    """`trusted` says which agreement of the panel is good enough not to escalate: that of at least so
    many members, or, of a weighted panel, that of its so many heaviest pairs. `reserve`: the stronger models
    that a cascade asks after its members."""

    members: tuple[int, ...]  # rows of the arrays, in no order; of a cascade in that of asking
    rule: Rule = "vote"
    target: int | None = None
    trusted: int = 0
    final: Final = "replace"
    reserve: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Ensemble:
    """A design with its numbers. Members are in config order."""

    members: tuple[int, ...]
    rule: Rule
    weights: tuple[float, ...]  # of the members, then of the reserve
    reliability: tuple[float, ...] = ()  # of members with a confidence: what stands in where no probability is known
    calibration: tuple[Calibration, ...] = ()
    target: int | None = None
    below_agreement: float = 1.0
    final: Final = "replace"
    reserve: tuple[int, ...] = ()

    @property
    def stronger(self) -> tuple[int, ...]:
        """Models that are asked where the members do not agree."""
        return self.reserve if self.target is None else (self.target,)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """(questions,): what an ensemble answers to each question."""

    winner: Integers  # row of the arrays whose reply it is, or NOBODY
    score: Floats  # of the winning reply; 0 if there is none
    agreement: Floats
    escalated: Booleans
    cost_usd: Floats  # NaN where it is not known
    calls: Integers
    latency_ms: Floats  # NaN where none was recorded


def fit(answers: Answers, design: Design, questions: Integers) -> Ensemble:
    """Learned from these questions alone: the members' order by accuracy, and what the rule needs."""
    right = {row: int(answers.right[row, questions].sum()) for row in (*design.members, *design.reserve)}
    members = design.members
    if design.rule != "cascade":
        members = tuple(sorted(members, key=lambda row: (-right[row], row)))
    counts = np.array([right[row] for row in (*members, *design.reserve)], dtype=np.float64)
    weighted = design.rule in ("weighted", "cascade")
    weights = tuple(log_odds(counts, len(questions)).tolist()) if weighted else (1.0,) * len(members)
    rated = design.rule in RATED
    return Ensemble(
        members=members,
        rule=design.rule,
        weights=weights,
        reliability=reliability(counts, len(questions)) if rated else (),
        calibration=tuple(_calibration(answers, row, questions) for row in members) if rated else (),
        target=design.target,
        below_agreement=_threshold(design, weights),
        final=design.final,
        reserve=design.reserve,
    )


def _threshold(design: Design, weights: Sequence[float]) -> float:
    """An agreement between what is trusted and what is not."""
    count = len(weights)
    if design.target is None:
        return 1.0
    if design.rule != "weighted":
        return 1.0 if design.trusted >= count else (design.trusted - 0.5) / count
    pairs = sorted((a + b for place, a in enumerate(weights) for b in weights[:place]), reverse=True)
    trusted, next_best = pairs[design.trusted - 1], pairs[design.trusted]
    return floor((trusted + next_best) / 2 / sum(weights) * 10_000) / 10_000  # down: of equal pairs all are trusted


def _calibration(answers: Answers, row: int, questions: Integers) -> Calibration:
    if not answers.has_logprobs(row):
        return ()
    known = questions[~np.isnan(answers.confidence[row, questions]) & answers.usable[row, questions]]
    return calibrate(answers.confidence[row, known], answers.right[row, known])


def evaluate(answers: Answers, ensemble: Ensemble) -> Outcomes:
    """What the proxy answers, and at what cost with early decision off."""
    if ensemble.rule == "cascade":
        found = cascade(answers, (*ensemble.members, *ensemble.reserve), ensemble.weights)
        reserve = found.calls > 2  # the first two are asked together, the others only if those do not agree
        score = _score(answers, found.winner)
        return Outcomes(found.winner, score, found.agreement, reserve, found.cost_usd, found.calls, found.latency_ms)
    members, rows = ensemble.members, np.array(ensemble.members)
    sure = confidences(answers, ensemble)
    if ensemble.rule == "adaptive":
        place, agreement = adaptive(answers, members, ensemble.weights, sure, ensemble.reliability)
    else:
        place, agreement = _DECIDE[ensemble.rule](answers, members, ensemble.weights, sure)
    winner = _rows(place, members)
    cost = np.sum([answers.costs(row) for row in members], axis=0)
    calls = np.full(len(winner), len(members))
    latency = answers.latency_ms[rows].max(axis=0)
    escalated = np.zeros(len(winner), dtype=np.bool_)
    if ensemble.target is not None:
        able = answers.usable[rows].any(axis=0)
        asked = ~able | (agreement < ensemble.below_agreement - TOLERANCE)
        escalated, settled = asked, asked & answers.usable[ensemble.target]
        agreement = np.where(able, agreement, 0.0)
        stronger, reached = _stronger(answers, ensemble, sure, able, agreement)
        winner, agreement = np.where(settled, stronger, winner), np.where(settled, reached, agreement)
        winner = np.where(asked & (winner == NOBODY) & answers.refused[ensemble.target], ensemble.target, winner)
        cost = cost + np.where(asked, answers.costs(ensemble.target), 0.0)
        latency = latency + np.where(asked, answers.latency_ms[ensemble.target], 0.0)
        calls = calls + asked
    return Outcomes(winner, _score(answers, winner), agreement, escalated, cost, calls, latency)


def _stronger(
    answers: Answers, ensemble: Ensemble, sure: Floats, able: Booleans, agreement: Floats
) -> tuple[Integers, Floats]:
    """Whose reply it is where the target was asked, and the agreement that is told."""
    assert ensemble.target is not None  # noqa: S101
    replaced = np.full(len(answers.questions), ensemble.target)
    if ensemble.final == "replace":
        return replaced, agreement
    mean = sum(ensemble.weights) / len(ensemble.weights)
    everyone = (*ensemble.members, ensemble.target)
    unrated = np.full((1, len(answers.questions)), np.nan)
    voted = vote(answers, everyone, (*ensemble.weights, mean), np.concatenate([sure, unrated]))
    return np.where(able, _rows(voted.winner, everyone), replaced), np.where(able, voted.agreement, agreement)


def confidences(answers: Answers, ensemble: Ensemble) -> Floats:
    """(members, questions): as `Extractor.confidence` gives it."""
    found = np.full((len(ensemble.members), len(answers.questions)), np.nan)
    for place, row in enumerate(ensemble.members):
        if ensemble.reliability:
            found[place] = ensemble.reliability[place]
        if ensemble.calibration and ensemble.calibration[place]:
            bounds, accuracies = np.array(ensemble.calibration[place]).T
            stated = answers.confidence[row]
            bins = np.searchsorted(bounds, np.nan_to_num(stated)).clip(0, len(bounds) - 1)
            found[place] = np.where(np.isnan(stated), found[place], accuracies[bins])
        found[place, ~answers.usable[row]] = np.nan
    return found


_DECIDE = {"vote": vote, "weighted": vote, "confidence": surest, "consensus": medoid}


def _rows(places: Integers, members: Sequence[int]) -> Integers:
    return np.where(places == NOBODY, NOBODY, np.array(members)[places])


def _score(answers: Answers, winner: Integers) -> Floats:
    return np.where(winner == NOBODY, 0.0, answers.score[winner, np.arange(len(winner))])
