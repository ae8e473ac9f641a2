"""The array form of `aggregators.confidence`, `adaptive` and `consensus`: whose reply is returned.

As in `voting`, members are rows of the arrays in config order, and `confidence` is (members, questions),
NaN if a candidate has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from emerge_core.aggregators import consensus
from emerge_core.aggregators.tally import TOLERANCE
from emerge_core.evals.offline.arrays import NO_KEY, Answers
from emerge_core.evals.offline.voting import NOBODY, Vote, middle, strongest, together, vote

if TYPE_CHECKING:
    from emerge_core.evals.types import Booleans, Floats, Integers, Singles


def surest(answers: Answers, members: Sequence[int], weights: Sequence[float], confidence: Floats) -> Vote:
    """The most confident usable reply. (Every usable reply must have a confidence.)"""
    usable, weight = answers.usable[np.array(members)], np.array(weights)
    return _decided(answers, members, weight, _surest(usable, weight, confidence))


def adaptive(
    answers: Answers,
    members: Sequence[int],
    weights: Sequence[float],
    confidence: Floats,
    reliability: Sequence[float] = (),
) -> Vote:
    """The most confident of the majority; without one the most confident of those that state an answer. If
    confidences are missing it is the vote, and if most is prose the most reliable member, or without
    reliabilities the medoid. (There is no merger.)"""
    rows, weight = np.array(members), np.array(weights)
    usable, keyed = answers.usable[rows], answers.codes[rows] != NO_KEY
    voted = vote(answers, members, weights, confidence)
    first = np.take_along_axis(together(answers, members), voted.winner.clip(0)[None, None], axis=0)[0]
    majority = 2 * (weight @ first) > weight.sum() + TOLERANCE
    among = np.where(majority, first, keyed)
    rated = (~among | ~np.isnan(confidence)).all(axis=0)
    place = np.where(
        rated & keyed.any(axis=0) & ~answers.offers_tools, _surest(among, weight, confidence), voted.winner
    )
    mostly_prose = 2 * (weight @ keyed) <= weight @ usable + TOLERANCE
    several = (usable.sum(axis=0) > 1) & ~answers.offers_tools
    for question in np.flatnonzero(mostly_prose & several & (keyed.any(axis=0) | bool(reliability))):
        if reliability:
            able = usable[:, [question]]
            rated = np.where(able, np.array(reliability)[:, None], -1.0)
            place[question] = strongest(able & (rated >= rated.max() - TOLERANCE), weight, confidence[:, [question]])[0]
        else:
            place[question] = middle(answers, members, weight, confidence, int(question))
    return _decided(answers, members, weight, place)


def medoid(answers: Answers, members: Sequence[int], weights: Sequence[float], confidence: Floats) -> Vote:
    """The usable reply that is nearest to the others, by the built-in embedder."""
    usable, weight = answers.usable[np.array(members)], np.array(weights)
    near = nearness(answers, members)
    return _decided(answers, members, weight, nearest(near, usable, weight, confidence))


def nearest(near: Singles, usable: Booleans, weight: Floats, confidence: Floats) -> Integers:
    """(questions,): the place of the usable reply that is on weighted average most similar to the others."""
    voices = usable * weight[:, None]
    others = 1.0 - np.eye(len(weight))
    company = others @ voices
    means = np.einsum("ijq,ij,jq->iq", near.astype(np.float64), others, voices) / np.where(company > 0, company, 1.0)
    means[~usable] = -np.inf
    return strongest(usable & (means >= means.max(axis=0) - consensus.TOLERANCE), weight, confidence)


def nearness(answers: Answers, rows: Sequence[int]) -> Singles:
    """(rows, rows, questions): cosine similarities of the replies; of those that are not usable, 0."""
    near = np.zeros((len(rows), len(rows), len(answers.questions)), dtype=np.float32)
    for number, id_ in enumerate(answers.questions):
        able = [place for place, row in enumerate(rows) if answers.usable[row, number]]
        texts = [consensus.content(answers.texts[answers.models[rows[place]]][id_].completion()) for place in able]
        distinct = tuple(dict.fromkeys(texts))
        where = [distinct.index(text) for text in texts]
        if able:
            near[np.ix_(able, able, [number])] = _similar(distinct)[np.ix_(where, where)][:, :, None]
    return near


@lru_cache(maxsize=10_000)  # recorded letters are the same few texts at every question
def _similar(texts: tuple[str, ...]) -> Singles:
    return consensus.built_in(texts)


def _surest(among: Booleans, weight: Floats, confidence: Floats) -> Integers:
    best = np.where(among, confidence, -1.0).max(axis=0)
    return strongest(among & (confidence >= best - TOLERANCE), weight, confidence)


def _decided(answers: Answers, members: Sequence[int], weight: Floats, place: Integers) -> Vote:
    """That member's reply with the share of the weight that says the same; if no reply is usable, a refusal."""
    rows = np.array(members)
    usable, keyed, refused = answers.usable[rows], answers.codes[rows] != NO_KEY, answers.refused[rows]
    own = np.take_along_axis(together(answers, members), place.clip(0)[None, None], axis=0)[0]
    with_key = np.take_along_axis(keyed, place.clip(0)[None], axis=0)[0]
    said = np.where(with_key, weight @ own, weight @ (usable & ~keyed))
    texts = usable & ~answers.called[rows]
    writes = np.take_along_axis(texts, place.clip(0)[None], axis=0)[0]
    silent = answers.offers_tools & writes & (texts & ~keyed).any(axis=0)
    said = np.where(silent, weight @ texts, said)
    agreement = np.where(keyed.any(axis=0) | silent, said / weight.sum(), np.nan)
    nobody = np.where(refused.any(axis=0), refused.argmax(axis=0), NOBODY)
    return Vote(np.where(usable.any(axis=0), place, nobody), agreement)
