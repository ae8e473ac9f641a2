"""A panel's vote over arrays: the rules of `aggregators.vote`, for all questions of a task at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from emerge_core.aggregators import consensus
from emerge_core.aggregators.tally import TOLERANCE
from emerge_core.evals.arrays import NO_KEY, Answers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Booleans = NDArray[np.bool_]
    Floats = NDArray[np.float64]

NOBODY = -1


class Vote(NamedTuple):
    """(questions,): the place in the panel of the member that speaks, or NOBODY; and the agreement, NaN
    where there are no keys."""

    winner: NDArray[np.int64]
    agreement: Floats


def vote(answers: Answers, members: Sequence[int], weights: Sequence[float] | None = None) -> Vote:
    """The weighted plurality of a panel without confidences. `members` are rows of the arrays, in config order."""
    weight = np.ones(len(members)) if weights is None else np.array(weights, dtype=np.float64)
    rows = np.array(members)
    keyed = answers.codes[rows] != NO_KEY
    groups = _groups(answers, members)
    sums = np.einsum("ijq,j->iq", groups, weight)
    sums[~keyed] = -1.0
    heaviest = sums.max(axis=0)
    first = (keyed & (sums >= heaviest - TOLERANCE)).argmax(axis=0)  # of the tied groups, the one that stands first
    spoken = np.take_along_axis(groups, first[None, None, :], axis=0)[0]
    strength = np.where(spoken, weight[:, None], -1.0)
    winner = np.where(keyed.any(axis=0), strength.argmax(axis=0), NOBODY)
    agreement = np.where(keyed.any(axis=0), heaviest / weight.sum(), np.nan)
    for question in np.flatnonzero(winner == NOBODY):
        winner[question] = _without_keys(answers, members, weight, int(question))
    return Vote(winner, agreement)


def right_of(answers: Answers, members: Sequence[int], winner: NDArray[np.int64]) -> Booleans:
    """(questions,): whether the winning member's own reply is right."""
    rows = np.array(members)[winner.clip(0)]
    right: Booleans = answers.right[rows, np.arange(len(winner))] & (winner != NOBODY)
    return right


def _groups(answers: Answers, members: Sequence[int]) -> Booleans:
    """(members, members, questions): who votes together."""
    rows = np.array(members)
    codes = answers.codes[rows]
    groups: Booleans = (codes[:, None] == codes[None]) & (codes != NO_KEY)[:, None]
    for question, matrix in answers.joined.items():
        together = groups[:, :, question] | matrix[np.ix_(rows, rows)]
        for _ in members:  # to the end of every chain
            together |= together @ together
        groups[:, :, question] = together
    return groups


def _without_keys(answers: Answers, members: Sequence[int], weight: Floats, question: int) -> int:
    """Prose: the medoid of the usable replies; where there are none, a refusal is what the caller gets."""
    able = [place for place, row in enumerate(members) if answers.usable[row, question]]
    if not able:
        return next((place for place, row in enumerate(members) if answers.refused[row, question]), NOBODY)
    if len(able) == 1:
        return able[0]
    id_ = answers.questions[question]
    texts = [answers.texts[answers.models[members[place]]][id_].text.strip() for place in able]
    ties = consensus.nearest(consensus.built_in(texts), [float(weight[place]) for place in able])
    return max((able[tie] for tie in ties), key=lambda place: (weight[place], -place))
