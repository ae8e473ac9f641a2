"""Estimates how reliable models are when the right answers are unknown: from agreement alone, or from agreement and a
few labels.

The model is that of Dawid and Skene (see `dawid_skene`). It has limits. Errors that members share for reasons other
than difficulty (one family, one training set, a trap in the question) count as agreement and inflate the estimates.
Two members are not enough: their agreement does not show which of them is wrong. The estimate assumes that an agreeing
majority tends to be right; if most members are wrong in the same way, it is mirrored.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from emerge_core.errors import EmergeError
from emerge_core.evals.diversity.dawid_skene import WARM_ROUNDS, Fit, Labels, reliabilities
from emerge_core.evals.offline.arrays import NO_KEY, Answers
from emerge_core.evals.statistics.intervals import wilson
from emerge_core.evals.statistics.resampling import Estimate

if TYPE_CHECKING:
    from emerge_core.evals.types import Floats, Integers

LEAST_MEMBERS = 3
KEYED = 0.85  # of a model's replies that must state an answer which can be compared
RESAMPLES = 200
MARGIN = 0.05  # with it, intervals from 100 questions held the true accuracy of 92 to 100 % of models (80 % once)
TO_LABEL = 10
PANEL = 3
CROWD = 12  # of more members, panels are sought among this many most reliable ones


class IncomparableError(EmergeError):
    """Raised if too few models state answers that can be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """The estimates for a task with no or few gold answers. Intervals are 95 % bootstraps over questions. Those of
    accuracies are wider by MARGIN on both sides, because the model is an approximation; labelled questions do not
    widen them."""

    task: str
    questions: int
    models: tuple[str, ...]
    left_out: tuple[str, ...]  # models that rarely state an answer that can be compared
    accuracy: tuple[Estimate, ...]  # by model
    labelled: int  # number of labelled questions
    agreed: tuple[Estimate, ...]  # by model, without the labels
    counted: tuple[Estimate, ...]  # by model, from the labels alone
    agreement: Floats  # (models, models): of the questions that both answer, the share with equal answers
    coincide: float  # chance that two wrong answers are the same
    panel: tuple[str, ...]  # three models, whose vote is expected to be right most often
    vote: Estimate  # the panel's
    gain: Estimate  # of the panel's vote over the most reliable model
    alternatives: int  # other panels whose expected vote lies within the interval of the chosen one's
    to_label: tuple[str, ...]  # ids of the questions whose labels would help most


def estimate(
    answers: Answers,
    models: Sequence[str] | None = None,
    *,
    limit: int | None = None,
    labelled: Collection[str] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Reliability:
    """Estimates from the first `limit` questions; the right answers to those in `labelled` (ids) are known. Raises
    IncomparableError if fewer than three models can be compared."""
    wanted = tuple(models or answers.models)
    codes = partition(answers, [answers.index(name) for name in wanted], limit)
    keyed = (codes != NO_KEY).mean(axis=1) >= KEYED
    names = tuple(name for name, kept in zip(wanted, keyed, strict=True) if kept)
    if len(names) < LEAST_MEMBERS:
        raise IncomparableError(
            f"{answers.task}: reliability cannot be estimated from agreement: it takes {LEAST_MEMBERS} models whose "
            f"replies state answers that can be compared, and there are {len(names)} (long prose has no answer key)"
        )
    codes = codes[keyed]
    count = codes.shape[1]
    known = np.array([id_ in labelled for id_ in answers.questions[:count]])
    rows = [answers.index(name) for name in names]
    labels = Labels(known, answers.right[rows, :count]) if known.any() else None
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    fit, drawn = refits(codes, draws, labels)
    accuracy = accuracy_intervals(fit, drawn, MARGIN * (1 - known.mean()))
    of_models = np.array([each.right for each in drawn])
    panels = _panels(fit)
    votes = np.array([_expected(codes, panel, fit.posterior) for panel in panels])
    best = int(votes.mean(axis=1).argmax())
    top = int(fit.right.argmax())
    of_best = np.array(
        [draw @ _expected(codes, panels[best], each.posterior) / count for draw, each in zip(draws, drawn, strict=True)]
    )
    low = np.quantile(of_best, 0.025)
    return Reliability(
        task=answers.task,
        questions=count,
        models=names,
        left_out=tuple(name for name, kept in zip(wanted, keyed, strict=True) if not kept),
        accuracy=accuracy,
        labelled=int(known.sum()),
        agreed=accuracy if labels is None else accuracy_intervals(*refits(codes, draws, None), MARGIN),
        counted=() if labels is None else _counted(labels),
        agreement=agreement(codes),
        coincide=fit.coincide,
        panel=tuple(names[m] for m in panels[best]),
        vote=_interval(float(votes[best].mean()), of_best, MARGIN * (1 - known.mean())),
        gain=_interval(float(votes[best].mean() - fit.right[top]), of_best - of_models[:, top]),
        alternatives=int((votes.mean(axis=1) >= low).sum()) - 1,
        to_label=tuple(answers.questions[q] for q in np.argsort(-_entropy(fit.posterior), kind="stable")[:TO_LABEL]),
    )


def refits(codes: Integers, draws: Integers, labels: Labels | None) -> tuple[Fit, list[Fit]]:
    """The fit to all questions, and the fit to each draw."""
    fit = reliabilities(codes, labels=labels)
    again = partial(reliabilities, codes, labels=labels, start=fit, rounds=WARM_ROUNDS)
    return fit, [again(draw.astype(np.float64)) for draw in draws]


def accuracy_intervals(fit: Fit, drawn: Sequence[Fit], margin: float) -> tuple[Estimate, ...]:
    of_models = np.array([each.right for each in drawn])
    return tuple(_interval(right, of_models[:, m], margin) for m, right in enumerate(fit.right))


def _counted(labels: Labels) -> tuple[Estimate, ...]:
    hits, of = labels.right[:, labels.known].sum(axis=1), int(labels.known.sum())
    return tuple(Estimate(right / of, *wilson(right, of)) for right in map(int, hits))


def partition(answers: Answers, rows: Sequence[int], limit: int | None = None) -> Integers:
    """(models, questions): answers as numbers; models with equal answers have equal numbers, from 0 in the order of the
    models. NO_KEY stands for no answer."""
    codes = answers.codes[list(rows), :limit].astype(np.int64)
    for question in range(codes.shape[1]):
        column = codes[:, question]
        if (together := answers.joined.get(question)) is not None:
            for a, b in combinations(range(len(rows)), 2):
                if together[rows[a], rows[b]]:
                    column[column == column[b]] = column[a]
        numbers: dict[int, int] = {NO_KEY: NO_KEY}
        column[:] = [numbers.setdefault(int(code), len(numbers) - 1) for code in column]
    return codes


def agreement(codes: Integers) -> Floats:
    """(models, models): how often two models agree; NaN if they have no question in common."""
    keyed = codes != NO_KEY
    both = (keyed[:, None] & keyed[None]).sum(axis=2)
    same = ((codes[:, None] == codes[None]) & keyed[:, None]).sum(axis=2)
    found: Floats = np.where(both > 0, same / np.maximum(both, 1), np.nan)
    return found


def _panels(fit: Fit) -> list[tuple[int, ...]]:
    """Panels of three, each in the models' own order."""
    crowd = sorted(int(m) for m in np.argsort(-fit.right, kind="stable")[:CROWD])
    return list(combinations(crowd, PANEL))


def _expected(codes: Integers, panel: Sequence[int], posterior: Floats) -> Floats:
    """(questions,): the probability that the panel's vote is right. In a tie the first member's answer counts."""
    chosen = codes[list(panel)]
    votes = ((chosen[:, None] == chosen[None]) & (chosen != NO_KEY)[:, None]).sum(axis=1)
    winner = np.take_along_axis(chosen, votes.argmax(axis=0)[None], axis=0)[0]
    picked = posterior[np.arange(len(posterior)), winner.clip(0)]
    found: Floats = np.where(winner == NO_KEY, 0.0, picked)
    return found


def _entropy(posterior: Floats) -> Floats:
    found: Floats = -(posterior * np.log(posterior.clip(1e-12))).sum(axis=1)
    return found


def _interval(value: float, drawn: Floats, margin: float = 0.0) -> Estimate:
    low, high = np.quantile(drawn, [0.025, 0.975])
    bounds = (max(0.0, low - margin), min(1.0, high + margin)) if margin else (low, high)
    return Estimate(float(value), *map(float, bounds))
