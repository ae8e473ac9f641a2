"""The contents of the report on a scored task, gathered from the arrays before anything is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isnan
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from emerge_core.evals.diversity.measures import PanelDiversity, measure
from emerge_core.evals.offline.arrays import NO_KEY, Answers
from emerge_core.evals.offline.voting import score_of, vote
from emerge_core.evals.report.scatter import Spot
from emerge_core.evals.statistics.intervals import accuracy
from emerge_core.evals.statistics.resampling import Estimate

if TYPE_CHECKING:
    from emerge_core.evals.types import Floats

SHOWN = 12  # models; of more, the most accurate
BINS = 8
EXAMPLES = 5


class Trio(NamedTuple):
    """A panel of three: its vote's gain over its best member, by how far its members' accuracies are apart."""

    names: tuple[str, ...]
    spread: float
    gain: float
    vote: float
    cost: float
    same_family: bool


class Curve(NamedTuple):
    """Of bins of stated confidence: the mean confidence and the share of right answers."""

    model: str
    confidence: tuple[float, ...]
    right: tuple[float, ...]
    questions: int


class Example(NamedTuple):
    """A question that every model gets wrong, and how many of them give the same answer."""

    question: str
    together: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    diversity: PanelDiversity
    hidden: int  # models that are not shown
    models: tuple[Spot, ...]
    trios: tuple[Trio, ...]
    best_for_cost: tuple[Spot, ...]  # panels of three that no cheaper one beats
    curves: tuple[Curve, ...]
    shared_failures: int
    examples: tuple[Example, ...]


def gather(answers: Answers, models: Sequence[str] | None = None) -> Contents:
    """Of the named models (default: all), at most SHOWN, the most accurate first."""
    wanted = [answers.index(name) for name in models or answers.models]
    accuracies = answers.score.mean(axis=1)
    rows = sorted(wanted, key=lambda row: -accuracies[row])[:SHOWN]
    names = tuple(answers.models[row] for row in rows)
    spots = tuple(_model(answers, row) for row in rows)
    trios = tuple(_trio(answers, trio) for trio in combinations(rows, 3))
    failed, examples = _failures(answers, rows)
    return Contents(
        diversity=measure(answers, names),
        hidden=len(wanted) - len(rows),
        models=spots,
        trios=trios,
        best_for_cost=_best_for_cost(answers, trios),
        curves=tuple(curve for row in rows if (curve := _curve(answers, row))),
        shared_failures=failed,
        examples=examples,
    )


def _model(answers: Answers, row: int) -> Spot:
    cost = float(answers.costs(row).mean()) * 1000
    return Spot(answers.models[row], cost, _estimate(answers, answers.score[row]))


def _estimate(answers: Answers, scores: Floats) -> Estimate:
    return Estimate(float(scores.mean()), *accuracy(scores.tolist(), graded=answers.graded))


def _trio(answers: Answers, rows: tuple[int, ...]) -> Trio:
    accuracies = answers.score[list(rows)].mean(axis=1)
    voted = score_of(answers, rows, vote(answers, rows).winner).mean()
    names = tuple(answers.models[row] for row in rows)
    families = [answers.family(name) for name in names]
    return Trio(
        names,
        float(np.ptp(accuracies)),
        float(voted - accuracies.max()),
        float(voted),
        1000 * sum(float(answers.costs(row).mean()) for row in rows),
        families[0] is not None and len(set(families)) == 1,
    )


def _best_for_cost(answers: Answers, trios: Sequence[Trio]) -> tuple[Spot, ...]:
    found: list[Spot] = []
    for trio in sorted((trio for trio in trios if not isnan(trio.cost)), key=lambda trio: (trio.cost, -trio.vote)):
        if not found or trio.vote > found[-1].accuracy.value:
            rows = [answers.index(name) for name in trio.names]
            scores = score_of(answers, rows, vote(answers, rows).winner)
            found.append(Spot(" + ".join(trio.names), trio.cost, _estimate(answers, scores)))
    return tuple(found)


def _curve(answers: Answers, row: int) -> Curve | None:
    """None if hardly any confidence was recorded. The bins hold about equally many questions."""
    known = ~np.isnan(answers.confidence[row])
    if known.sum() < 5 * BINS:
        return None
    stated, right = answers.confidence[row][known], answers.right[row][known]
    parts = np.array_split(np.argsort(stated, kind="stable"), BINS)
    return Curve(
        answers.models[row],
        tuple(float(stated[part].mean()) for part in parts),
        tuple(float(right[part].mean()) for part in parts),
        int(known.sum()),
    )


def _failures(answers: Answers, rows: Sequence[int]) -> tuple[int, tuple[Example, ...]]:
    """How many questions no model gets right, and those on which most fail alike. Graded replies have no answers that
    could be equal: there are none of either."""
    if answers.graded:
        return 0, ()
    lost = np.flatnonzero(~answers.right[list(rows)].any(axis=0))
    found = []
    for question in lost:
        codes = answers.codes[list(rows), question]
        alike = int(np.bincount(codes[codes != NO_KEY]).max()) if (codes != NO_KEY).any() else 0
        found.append(Example(answers.questions[question], alike))
    return len(lost), tuple(sorted(found, key=lambda each: -each.together)[:EXAMPLES])
