"""The array form of `strategies` and `aggregators`: what an ensemble answers to all questions of a task, at what cost.

A `Design` is what a search chooses between. `fit` learns the numbers that it needs (order, weights, calibration) from
some of the questions. `evaluate` gives, for all questions, whose reply the proxy would return and what it would cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import floor
from typing import TYPE_CHECKING, Literal

import numpy as np

from emerge_core.aggregators.tally import TOLERANCE
from emerge_core.evals.offline.arrays import NO_KEY, Answers
from emerge_core.evals.offline.cascades import cascade
from emerge_core.evals.offline.disputes import Round, adjudicate
from emerge_core.evals.offline.learning import Calibration, calibrate, log_odds, reliability
from emerge_core.evals.offline.speakers import adaptive, medoid, surest
from emerge_core.evals.offline.voting import NOBODY, vote

if TYPE_CHECKING:
    from emerge_core.evals.types import Booleans, Floats, Integers

Rule = Literal["vote", "weighted", "confidence", "adaptive", "consensus", "cascade"]
RATED = ("confidence", "adaptive")  # rules that learn how sure a member is
Final = Literal["replace", "vote", "adjudicate"]


@dataclass(frozen=True, slots=True)
class Design:
    """An ensemble before anything is learned.

    `trusted` is the agreement of the panel that is good enough not to ask the target: that of at least so many
    members, or, of a weighted panel, that of its so many heaviest pairs. `reserve` are the stronger models that a
    cascade asks after its members. With `panel_trusted`, members that agree less than that judge their dispute
    themselves before the target is asked."""

    members: tuple[int, ...]  # rows of the arrays, in no order; in config order if the ensemble keeps it
    rule: Rule = "vote"
    target: int | None = None
    trusted: int = 0
    final: Final = "replace"
    reserve: tuple[int, ...] = ()
    panel_trusted: int = 0
    ordered_members: bool = False

    @property
    def adjudicates(self) -> bool:
        return self.panel_trusted > 0 or (self.target is not None and self.final == "adjudicate")

    @property
    def ordered(self) -> bool:
        """Whether the order of the members is part of the design: a cascade asks in that order, and recorded
        adjudications were shown the texts of the first member of each group."""
        return self.rule == "cascade" or self.adjudicates or self.ordered_members


@dataclass(frozen=True, slots=True)
class Ensemble:
    """A design with its numbers. Members are in config order."""

    members: tuple[int, ...]
    rule: Rule
    weights: tuple[float, ...]  # of the members, then of the reserve
    reliability: tuple[float, ...] = ()  # of each member, used if no probability of its answer is known
    calibration: tuple[Calibration, ...] = ()
    target: int | None = None
    below_agreement: float = 1.0
    final: Final = "replace"
    reserve: tuple[int, ...] = ()
    panel_below: float | None = None  # agreement below which the panel judges its dispute

    @property
    def stronger(self) -> tuple[int, ...]:
        """Models that are asked if the members do not agree."""
        return self.reserve if self.target is None else (self.target,)

    @property
    def adjudicates(self) -> bool:
        return self.panel_below is not None or (self.target is not None and self.final == "adjudicate")


@dataclass(frozen=True, slots=True)
class Outcomes:
    """(questions,): what an ensemble answers to each question."""

    winner: Integers  # row of the model whose reply it is, or NOBODY
    score: Floats  # of the winning reply; 0 if there is none
    agreement: Floats
    escalated: Booleans
    cost_usd: Floats  # NaN if it is not known
    calls: Integers
    latency_ms: Floats  # NaN if none was recorded


def fit(answers: Answers, design: Design, questions: Integers) -> Ensemble:
    """The design with the numbers that these questions teach: the members' order by accuracy, and what the rule
    needs."""
    right = {row: int(answers.right[row, questions].sum()) for row in (*design.members, *design.reserve)}
    members = design.members
    if not design.ordered:
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
        panel_below=_share(design.panel_trusted, len(weights)) if design.panel_trusted else None,
    )


def _threshold(design: Design, weights: Sequence[float]) -> float:
    """An agreement between what is trusted and what is not."""
    count = len(weights)
    if design.target is None:
        return 1.0
    if design.rule != "weighted":
        return _share(design.trusted, count)
    pairs = sorted((a + b for place, a in enumerate(weights) for b in weights[:place]), reverse=True)
    trusted, next_best = pairs[design.trusted - 1], pairs[design.trusted]
    return floor((trusted + next_best) / 2 / sum(weights) * 10_000) / 10_000  # down: of equal pairs all are trusted


def _share(trusted: int, count: int) -> float:
    """An agreement between that of `trusted` of `count` equal members and the next lower one."""
    return 1.0 if trusted >= count else (trusted - 0.5) / count


def _calibration(answers: Answers, row: int, questions: Integers) -> Calibration:
    if not answers.has_logprobs(row):
        return ()
    known = questions[~np.isnan(answers.confidence[row, questions]) & answers.usable[row, questions]]
    return calibrate(answers.confidence[row, known], answers.right[row, known])


def evaluate(answers: Answers, ensemble: Ensemble) -> Outcomes:
    """What the proxy answers, and at what cost with early decision off. Raises LookupError if a dispute that the
    ensemble would have settled is not recorded."""
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
    if ensemble.adjudicates:
        first = Round(winner, _score(answers, winner), agreement, escalated, cost, calls, latency)
        target = ensemble.target if ensemble.final == "adjudicate" else None
        settled = adjudicate(answers, members, first, ensemble.panel_below, target, ensemble.below_agreement)
        return Outcomes(*settled)
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


def by_order(answers: Answers, ensemble: Ensemble) -> Ensemble | None:
    """An ensemble that gives the same replies, and equals every other one that does so because its weights have the
    same order; None if more than an order decides."""
    if ensemble.reliability or ensemble.calibration:
        return None
    if len(set(ensemble.weights)) == 1:
        return ensemble
    asked = np.array((*ensemble.members, *ensemble.reserve))
    stated = (answers.codes[asked] != NO_KEY).any(axis=0).all()
    if ensemble.rule != "cascade" or answers.offers_tools.any() or not stated:
        return None
    ranks = np.unique(ensemble.weights, return_inverse=True)[1]  # they count only if no two members agree
    return replace(ensemble, weights=tuple((ranks + 1).tolist()))


def _stronger(
    answers: Answers, ensemble: Ensemble, sure: Floats, able: Booleans, agreement: Floats
) -> tuple[Integers, Floats]:
    """Whose reply it is if the target was asked, and the agreement that is reported."""
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
