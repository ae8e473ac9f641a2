"""A panel's vote over arrays: the rules of `aggregators.vote`, for all questions of a task at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from emerge_core.aggregators import consensus
from emerge_core.aggregators.tally import TOLERANCE
from emerge_core.evals.offline.arrays import NO_KEY, Answers

if TYPE_CHECKING:
    from emerge_core.evals.types import Booleans, Floats, Integers

NOBODY = -1


class Vote(NamedTuple):
    """(questions,): the place in the panel of the member that speaks, or NOBODY; and the agreement, NaN
    where there are no keys."""

    winner: Integers
    agreement: Floats


def vote(
    answers: Answers,
    members: Sequence[int],
    weights: Sequence[float] | None = None,
    confidence: Floats | None = None,
) -> Vote:
    """The weighted plurality. `members` are rows of the arrays, in config order; `confidence` is
    (members, questions), NaN where a candidate has none."""
    weight = np.ones(len(members)) if weights is None else np.array(weights, dtype=np.float64)
    sure = np.full((len(members), len(answers.questions)), np.nan) if confidence is None else confidence
    keyed = answers.codes[np.array(members)] != NO_KEY
    groups = together(answers, members)
    sums = np.einsum("ijq,j->iq", groups, weight)
    sums[~keyed] = -1.0
    heaviest = sums.max(axis=0)
    tied = keyed & (sums >= heaviest - TOLERANCE)
    # A group's confidence is its most confident member's; it breaks ties where every tied group has one.
    surest = np.where(groups & ~np.isnan(sure)[None], sure[None], -1.0).max(axis=1)
    rated = (~tied | (surest >= 0)).all(axis=0)
    first = _first(tied, np.where(rated, surest, 0.0))
    speakers = np.take_along_axis(groups, first[None, None], axis=0)[0]
    winner = np.where(keyed.any(axis=0), strongest(speakers, weight, sure), NOBODY)
    agreement = np.where(keyed.any(axis=0), heaviest / weight.sum(), np.nan)
    for question in np.flatnonzero(winner == NOBODY):
        winner[question] = middle(answers, members, weight, sure, int(question))
    return Vote(winner, agreement)


def strongest(among: Booleans, weight: Floats, confidence: Floats) -> Integers:
    """(questions,): of the members that `among` (members, questions) holds, the heaviest, then the most
    confident if every one has a confidence, then the first."""
    heavy = np.where(among, weight[:, None], -1.0)
    rated = (~among | ~np.isnan(confidence)).all(axis=0)
    return _first(among & (heavy >= heavy.max(axis=0)), np.where(rated, confidence, 0.0))


def together(answers: Answers, members: Sequence[int]) -> Booleans:
    """(members, members, questions): who votes together."""
    rows = np.array(members)
    codes = answers.codes[rows]
    groups: Booleans = (codes[:, None] == codes[None]) & (codes != NO_KEY)[:, None]
    for question, matrix in answers.joined.items():
        joined = groups[:, :, question] | matrix[np.ix_(rows, rows)]
        for _ in members:  # to the end of every chain
            joined |= joined @ joined
        groups[:, :, question] = joined
    return groups


def right_of(answers: Answers, members: Sequence[int], winner: Integers) -> Booleans:
    """(questions,): whether the winning member's own reply is right."""
    rows = np.array(members)[winner.clip(0)]
    right: Booleans = answers.right[rows, np.arange(len(winner))] & (winner != NOBODY)
    return right


def _first(among: Booleans, score: Floats) -> Integers:
    """The first of those with the highest score."""
    best = np.where(among, score, -np.inf)
    found: Integers = (among & (best >= best.max(axis=0))).argmax(axis=0)
    return found


def middle(answers: Answers, members: Sequence[int], weight: Floats, confidence: Floats, question: int) -> int:
    """Of prose: the place of the medoid of the usable replies; where there are none, a refusal is what the
    caller gets."""
    able = [place for place, row in enumerate(members) if answers.usable[row, question]]
    if not able:
        return next((place for place, row in enumerate(members) if answers.refused[row, question]), NOBODY)
    if len(able) == 1:
        return able[0]
    id_ = answers.questions[question]
    texts = tuple(answers.texts[answers.models[members[place]]][id_].text.strip() for place in able)
    among = np.zeros((len(members), 1), dtype=np.bool_)
    among[[able[tie] for tie in _nearest(texts, tuple(float(weight[place]) for place in able))]] = True
    return int(strongest(among, weight, confidence[:, question : question + 1])[0])


@lru_cache(maxsize=100_000)  # the same replies stand together in many panels
def _nearest(texts: tuple[str, ...], weights: tuple[float, ...]) -> tuple[int, ...]:
    return tuple(consensus.nearest(consensus.built_in(texts), weights))
