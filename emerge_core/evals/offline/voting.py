"""The array form of `aggregators.vote`: a panel's vote on all questions of a task at once."""

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
    if there are no keys."""

    winner: Integers
    agreement: Floats


def vote(
    answers: Answers,
    members: Sequence[int],
    weights: Sequence[float] | None = None,
    confidence: Floats | None = None,
) -> Vote:
    """The weighted plurality; where tools are offered, first call against text. `members` are rows of the arrays,
    in config order; `confidence` is (members, questions), NaN for a candidate without one."""
    weight = np.ones(len(members)) if weights is None else np.array(weights, dtype=np.float64)
    sure = np.full((len(members), len(answers.questions)), np.nan) if confidence is None else confidence
    keyed = answers.codes[np.array(members)] != NO_KEY
    groups = together(answers, members)
    if answers.offers_tools.any():
        return _vote_with_tools(answers, members, weight, sure, groups)
    winner, heaviest = _plurality(groups, keyed, weight, sure)
    agreement = np.where(keyed.any(axis=0), heaviest / weight.sum(), np.nan)
    for question in np.flatnonzero(winner == NOBODY):
        winner[question] = middle(answers, members, weight, sure, int(question))
    return Vote(winner, agreement)


def _plurality(groups: Booleans, voting: Booleans, weight: Floats, sure: Floats) -> tuple[Integers, Floats]:
    """(questions,): the speaker of the heaviest group among those `voting` (members, questions), NOBODY if there is
    none, and the group's weight. `groups` holds who says the same."""
    groups = groups & voting[:, None] & voting[None]
    sums = np.einsum("ijq,j->iq", groups, weight)
    sums[~voting] = -1.0
    heaviest = sums.max(axis=0)
    tied = voting & (sums >= heaviest - TOLERANCE)
    # A group's confidence is its most confident member's; it breaks ties if every tied group has one.
    surest = np.where(groups & ~np.isnan(sure)[None], sure[None], -1.0).max(axis=1)
    rated = (~tied | (surest >= 0)).all(axis=0)
    first = _first(tied, np.where(rated, surest, 0.0))
    speakers = np.take_along_axis(groups, first[None, None], axis=0)[0]
    return np.where(voting.any(axis=0), strongest(speakers, weight, sure), NOBODY), heaviest


def _vote_with_tools(answers: Answers, members: Sequence[int], weight: Floats, sure: Floats, groups: Booleans) -> Vote:
    """Calls win against text if they weigh as much. Of calls the majority's, else those of the most frequent names;
    of texts as without tools. Where text wins and some text has no key, making no call is what is agreed on."""
    rows = np.array(members)
    usable, called, keyed = answers.usable[rows], answers.called[rows], answers.codes[rows] != NO_KEY
    texts = usable & ~called
    calling, writing = weight @ called, weight @ texts
    by_call = called.any(axis=0) & (calling >= writing - TOLERANCE)
    same_calls, heaviest = _plurality(groups, called & keyed, weight, sure)
    names = answers.names[rows]
    same_names = (names[:, None] == names[None]) & called[:, None] & called[None]
    same_names, _ = _plurality(same_names, called, weight, sure)
    majority = (same_calls != NOBODY) & (2 * heaviest > calling + TOLERANCE)
    caller = np.where(majority, same_calls, same_names)
    writer, _ = _plurality(groups, texts & keyed, weight, sure)
    for question in np.flatnonzero((writer == NOBODY) & ~by_call):
        able = [place for place in range(len(members)) if texts[place, question]]
        writer[question] = middle(answers, members, weight, sure, int(question), able)
    winner = np.where(by_call, caller, writer)
    said = np.take_along_axis(groups, winner.clip(0)[None, None], axis=0)[0]
    silent = ~by_call & answers.offers_tools & (texts & ~keyed).any(axis=0)
    agreed = np.where(silent, writing, weight @ said)
    counted = keyed.any(axis=0) | silent
    return Vote(winner, np.where(counted & (winner != NOBODY), agreed / weight.sum(), np.nan))


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


def score_of(answers: Answers, members: Sequence[int], winner: Integers) -> Floats:
    """(questions,): what the winning member's own reply scores; 0 where nobody wins."""
    rows = np.array(members)[winner.clip(0)]
    return np.where(winner == NOBODY, 0.0, answers.score[rows, np.arange(len(winner))])


def _first(among: Booleans, score: Floats) -> Integers:
    """The first of those with the highest score."""
    best = np.where(among, score, -np.inf)
    found: Integers = (among & (best >= best.max(axis=0))).argmax(axis=0)
    return found


def middle(
    answers: Answers,
    members: Sequence[int],
    weight: Floats,
    confidence: Floats,
    question: int,
    able: Sequence[int] | None = None,
) -> int:
    """Of prose: the place of the medoid of the `able` replies (default: the usable ones). If there are none, the
    client gets a refusal."""
    if able is None or not able:
        able = [place for place, row in enumerate(members) if answers.usable[row, question]]
    if not able:
        return next((place for place, row in enumerate(members) if answers.refused[row, question]), NOBODY)
    if len(able) == 1:
        return able[0]
    id_ = answers.questions[question]
    texts = tuple(consensus.content(answers.texts[answers.models[members[place]]][id_].completion()) for place in able)
    among = np.zeros((len(members), 1), dtype=np.bool_)
    among[[able[tie] for tie in _nearest(texts, tuple(float(weight[place]) for place in able))]] = True
    return int(strongest(among, weight, confidence[:, question : question + 1])[0])


@lru_cache(maxsize=100_000)  # the same replies stand together in many panels
def _nearest(texts: tuple[str, ...], weights: tuple[float, ...]) -> tuple[int, ...]:
    return tuple(consensus.nearest(consensus.built_in(texts), weights))
