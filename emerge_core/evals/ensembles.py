"""Ensembles over arrays: what one is before anything is learned, what is learned, and what it answers.

A `Design` is what a search chooses between. `fit` learns the numbers it needs (order, weights,
calibration) from some of the questions; `evaluate` gives, for all questions, whose reply the proxy
would return and what it would have cost, by the rules of `strategies` and `aggregators`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, inf
from typing import TYPE_CHECKING, Literal

import numpy as np

from emerge_core.aggregators.tally import TOLERANCE
from emerge_core.evals.arrays import NO_KEY, UNKNOWN, Answers
from emerge_core.evals.learning import Calibration, calibrate, log_odds, reliability
from emerge_core.evals.voting import NOBODY, strongest, together, vote

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from emerge_core.evals.voting import Booleans, Floats, Places

Rule = Literal["vote", "weighted", "confidence", "cascade"]
Final = Literal["replace", "vote"]


@dataclass(frozen=True, slots=True)
class Design:
    """`trusted` says which agreement of the panel is good enough not to escalate: that of at least so
    many members, or, of a weighted panel, that of its so many heaviest pairs."""

    members: tuple[int, ...]  # rows of the arrays, in no order
    rule: Rule = "vote"
    target: int | None = None
    trusted: int = 0
    final: Final = "replace"


@dataclass(frozen=True, slots=True)
class Ensemble:
    """A design with its numbers. Members are in config order."""

    members: tuple[int, ...]
    rule: Rule
    weights: tuple[float, ...]
    reliability: tuple[float, ...] = ()  # of members with a confidence: what stands in where no probability is known
    calibration: tuple[Calibration, ...] = ()
    target: int | None = None
    below_agreement: float = 1.0
    final: Final = "replace"


@dataclass(frozen=True, slots=True)
class Outcomes:
    """(questions,): what an ensemble answers to each question."""

    winner: Places  # row of the arrays whose reply it is, or NOBODY
    right: Booleans
    agreement: Floats
    escalated: Booleans
    cost_usd: Floats  # NaN where it is not known
    calls: NDArray[np.int64]
    latency_ms: Floats  # NaN where none was recorded


def fit(answers: Answers, design: Design, questions: NDArray[np.int64]) -> Ensemble:
    """Learned from these questions alone: the members' order by accuracy, and what the rule needs."""
    right = {row: int(answers.right[row, questions].sum()) for row in design.members}
    members = tuple(sorted(design.members, key=lambda row: (-right[row], row)))
    counts = np.array([right[row] for row in members], dtype=np.float64)
    weights = tuple(log_odds(counts, len(questions)).tolist()) if design.rule == "weighted" else (1.0,) * len(members)
    rated = design.rule == "confidence"
    return Ensemble(
        members=members,
        rule=design.rule,
        weights=weights,
        reliability=reliability(counts, len(questions)) if rated else (),
        calibration=tuple(_calibration(answers, row, questions) for row in members) if rated else (),
        target=design.target,
        below_agreement=_threshold(design, weights),
        final=design.final,
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


def _calibration(answers: Answers, row: int, questions: NDArray[np.int64]) -> Calibration:
    if not answers.has_logprobs(row):
        return ()
    known = questions[~np.isnan(answers.confidence[row, questions]) & answers.usable[row, questions]]
    return calibrate(answers.confidence[row, known], answers.right[row, known])


def evaluate(answers: Answers, ensemble: Ensemble) -> Outcomes:
    """What the proxy answers, and at what cost with early decision off."""
    if ensemble.rule == "cascade":
        return _cascade(answers, ensemble)
    members, rows = ensemble.members, np.array(ensemble.members)
    sure = confidences(answers, ensemble)
    choose = _surest if ensemble.rule == "confidence" else _plurality
    place, agreement = choose(answers, ensemble, sure)
    winner = _rows(place, members)
    cost = np.sum([answers.costs(row) for row in members], axis=0)
    calls = np.full(len(winner), len(members))
    latency = answers.latency_ms[rows].max(axis=0)
    escalated = np.zeros(len(winner), dtype=np.bool_)
    if ensemble.target is not None:
        able = answers.usable[rows].any(axis=0)
        asked = ~able | (agreement < ensemble.below_agreement - TOLERANCE)
        escalated = asked & answers.usable[ensemble.target]
        agreement = np.where(able, agreement, 0.0)
        stronger, reached = _stronger(answers, ensemble, sure, able, agreement)
        winner, agreement = np.where(escalated, stronger, winner), np.where(escalated, reached, agreement)
        winner = np.where(asked & (winner == NOBODY) & answers.refused[ensemble.target], ensemble.target, winner)
        cost = cost + np.where(asked, answers.costs(ensemble.target), 0.0)
        latency = latency + np.where(asked, answers.latency_ms[ensemble.target], 0.0)
        calls = calls + asked
    return Outcomes(winner, _right(answers, winner), agreement, escalated, cost, calls, latency)


def _stronger(
    answers: Answers, ensemble: Ensemble, sure: Floats, able: Booleans, agreement: Floats
) -> tuple[Places, Floats]:
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


def _plurality(answers: Answers, ensemble: Ensemble, sure: Floats) -> tuple[Places, Floats]:
    voted = vote(answers, ensemble.members, ensemble.weights, sure)
    return voted.winner, voted.agreement


def _surest(answers: Answers, ensemble: Ensemble, sure: Floats) -> tuple[Places, Floats]:
    """The most confident usable reply, and who says the same. (Every usable reply has a confidence.)"""
    rows, weight = np.array(ensemble.members), np.array(ensemble.weights)
    usable, keyed = answers.usable[rows], answers.codes[rows] != NO_KEY
    best = np.where(usable, sure, -1.0).max(axis=0)
    place = strongest(usable & (sure >= best - TOLERANCE), weight, sure)
    groups = together(answers, ensemble.members)
    own = np.take_along_axis(groups, place[None, None], axis=0)[0]
    keyless = usable & ~keyed
    with_key = np.take_along_axis(keyed, place[None], axis=0)[0]
    said = np.where(with_key, weight @ own, weight @ keyless)
    agreement = np.where(keyed.any(axis=0), said / weight.sum(), np.nan)
    refused = answers.refused[rows]
    nobody = np.where(refused.any(axis=0), refused.argmax(axis=0), NOBODY)
    return np.where(usable.any(axis=0), place, nobody), agreement


def _cascade(answers: Answers, ensemble: Ensemble) -> Outcomes:
    """`stop: agree`, `order: cost`: the two cheapest together, then one at a time until two agree."""
    order = sorted(ensemble.members, key=lambda row: (list_price(answers, row), ensemble.members.index(row)))
    voted = vote(answers, ensemble.members, ensemble.weights)
    winner, agreement = _rows(voted.winner, ensemble.members), voted.agreement
    groups = together(answers, order)
    count = len(answers.questions)
    stopped = np.zeros(count, dtype=np.bool_)
    cost, calls = np.zeros(count), np.zeros(count, dtype=np.int64)
    latency = np.zeros(count)
    for asked in range(1, len(order) + 1):
        row = order[asked - 1]
        cost += np.where(stopped, 0.0, answers.costs(row))
        calls += ~stopped
        alone = asked > 2  # the first two are asked together
        latency = np.where(
            stopped,
            latency,
            (latency + answers.latency_ms[row]) if alone else np.maximum(latency, answers.latency_ms[row]),
        )
        if asked == 1:
            continue
        agreeing = groups[:asked, :asked].sum(axis=1)
        now = ~stopped & (agreeing >= 2).any(axis=0)
        winner = np.where(now, np.array(order)[agreeing.argmax(axis=0)], winner)
        agreement = np.where(now, agreeing.max(axis=0) / asked, agreement)
        stopped |= now
    escalated = np.zeros(count, dtype=np.bool_)
    return Outcomes(winner, _right(answers, winner), agreement, escalated, cost, calls, latency)


def list_price(answers: Answers, row: int) -> float:
    price = answers.known.get(answers.models[row], UNKNOWN).price
    return sum(price) if price else inf


def _rows(places: Places, members: Sequence[int]) -> Places:
    return np.where(places == NOBODY, NOBODY, np.array(members)[places])


def _right(answers: Answers, winner: Places) -> Booleans:
    found: Booleans = answers.right[winner, np.arange(len(winner))] & (winner != NOBODY)
    return found
