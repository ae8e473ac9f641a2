"""The array form of `strategies.escalation` for ensembles that adjudicate, on recorded adjudications.

A recorded adjudication answers only the very texts that were shown, so an ensemble is evaluated only if all of its
disputes are recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from emerge_core.aggregators import consensus
from emerge_core.aggregators.tally import TOLERANCE
from emerge_core.evals.offline.arrays import NO_KEY, Answers
from emerge_core.evals.offline.voting import NOBODY, together, vote
from emerge_core.strategies.adjudication import shown_texts

if TYPE_CHECKING:
    from emerge_core.evals.types import Booleans, Floats, Integers

Shown = dict[int, tuple[str, ...]]  # by question: two or more distinct answers as an adjudicator is shown them


class Round(NamedTuple):
    """(questions,): the state of all requests after a round of calls; the fields are those of `Outcomes`."""

    winner: Integers
    score: Floats
    agreement: Floats
    escalated: Booleans
    cost_usd: Floats
    calls: Integers
    latency_ms: Floats


def adjudicate(
    answers: Answers,
    members: Sequence[int],
    panel: Round,
    panel_below: float | None,
    target: int | None,
    below_agreement: float,
) -> Round:
    """What becomes of a panel's round: its members (of equal weight, in config order) judge their dispute if they
    agree less than `panel_below`, then the target does, below `below_agreement`. Raises LookupError if one of the
    verdicts is not recorded."""
    able = answers.usable[np.array(members)].any(axis=0)
    state = deepcopy(panel)
    state.agreement[~able] = 0.0
    in_hand: Shown = {}  # of the questions on which the panel has given a verdict, even if only one answer is left
    if panel_below is not None:
        asked = able & (state.agreement < panel_below - TOLERANCE)
        in_hand = _panel_step(answers, members, state, np.flatnonzero(asked))
    if target is not None:
        asked = ~able | (state.agreement < below_agreement - TOLERANCE)
        _target_step(answers, members, target, state, np.flatnonzero(asked), able, in_hand)
    return state


def shown(answers: Answers, members: Sequence[int], questions: Iterable[int]) -> Shown:
    """The distinct answers of the panel to these questions, as an adjudicator would be shown them; questions with
    fewer than two are left out."""
    numbers = np.array(list(questions), dtype=np.int64)
    if not len(numbers):
        return {}
    several = (speaks := _speakers(answers, members, numbers)).sum(axis=0) > 1
    return _texts(answers, members, numbers[several], speaks[:, several])


def _panel_step(answers: Answers, members: Sequence[int], state: Round, asked: Integers) -> Shown:
    """Every member judges the dispute. Returns the distinct verdicts by question."""
    disputes = shown(answers, members, asked)
    if not disputes:
        return {}
    verdicts = _verdicts(answers, members, disputes)
    rows, numbers = np.array(members), np.array(list(disputes))
    voted = vote(verdicts, range(len(members)))
    state.cost_usd[numbers] += np.sum([verdicts.costs(place) for place in range(len(members))], axis=0)
    state.calls[numbers] += len(members)
    state.latency_ms[numbers] += verdicts.latency_ms.max(axis=0)
    state.escalated[numbers] = True
    # Without a verdict that can be counted the first round's answers stay in hand.
    counted = np.flatnonzero(~np.isnan(voted.agreement) & verdicts.usable.any(axis=0))
    settled, speakers = numbers[counted], voted.winner[counted]
    state.winner[settled] = rows[speakers]
    state.score[settled] = verdicts.score[speakers, counted]
    state.agreement[settled] = voted.agreement[counted]
    everyone = range(len(members))
    texts = _texts(verdicts, everyone, counted, _speakers(verdicts, everyone, counted))
    return {int(numbers[place]): each for place, each in texts.items()}


def _target_step(
    answers: Answers,
    members: Sequence[int],
    target: int,
    state: Round,
    asked: Integers,
    able: Booleans,
    in_hand: Shown,
) -> None:
    """The target settles what is in dispute; without two answers to show it is asked blind."""
    first = shown(answers, members, (question for question in asked if able[question] and int(question) not in in_hand))
    disputes = {**first, **{q: texts for q in asked.tolist() if len(texts := in_hand.get(q, ())) > 1}}
    state.calls[asked] += 1
    state.escalated[asked] = True
    if disputes:
        verdicts = _verdicts(answers, (target,), disputes)
        numbers = np.array(list(disputes))
        state.cost_usd[numbers] += verdicts.costs(0)
        state.latency_ms[numbers] += verdicts.latency_ms[0]
        settled = numbers[verdicts.usable[0]]
        state.winner[settled] = target
        state.score[settled] = verdicts.score[0, verdicts.usable[0]]
    blind = np.array([question for question in asked.tolist() if question not in disputes], dtype=np.int64)
    state.cost_usd[blind] += answers.costs(target)[blind]
    state.latency_ms[blind] += answers.latency_ms[target, blind]
    refusals = answers.refused[target, blind] & (state.winner[blind] == NOBODY)
    settled = blind[answers.usable[target, blind] | refusals]
    state.winner[settled] = target
    state.score[settled] = answers.score[target, settled]


def _verdicts(answers: Answers, models: Sequence[int], disputes: Shown) -> Answers:
    """The recorded verdicts of these models as arrays of the disputed questions, in this order."""
    recorded = answers.adjudications
    names = [answers.models[row] for row in models]
    texts = {answers.questions[question]: candidates for question, candidates in disputes.items()}
    found = recorded.answers(answers.task, answers.known, names, texts) if recorded else None
    if found is None:
        raise LookupError("a dispute of this panel is not recorded")
    return found


def _speakers(answers: Answers, members: Sequence[int], numbers: Integers) -> Booleans:
    """(members, numbers): as `strategies.adjudication.distinct_answers`, for members of equal weight: of each group
    the first one; if some member calls tools and some text has no key, to make no call is one answer."""
    rows = np.array(members)[:, None]
    called = answers.called[rows, numbers]
    keyed = answers.usable[rows, numbers] & (answers.codes[rows, numbers] != NO_KEY)
    texts = answers.usable[rows, numbers] & ~called
    one_text = called.any(axis=0) & (texts & ~keyed).any(axis=0)
    groups = together(answers, members)[:, :, numbers]
    speaks: Booleans = np.zeros_like(keyed)
    seen = np.zeros_like(keyed)
    for place, able in enumerate(keyed & ~(texts & one_text)):
        speaks[place] = able & ~seen[place]
        seen |= groups[place] & speaks[place]
    speaks[texts.argmax(axis=0)[one_text], np.flatnonzero(one_text)] = True
    return speaks


def _texts(answers: Answers, members: Sequence[int], numbers: Integers, speaks: Booleans) -> Shown:
    """By question: the texts of those who speak."""
    of_members = [answers.texts[answers.models[row]] for row in members]
    found: Shown = {}
    for number, places in zip(numbers.tolist(), speaks.T, strict=True):
        id_ = answers.questions[number]
        replies = [of_members[place][id_] for place in np.flatnonzero(places)]
        found[number] = shown_texts([consensus.content(reply.completion()) for reply in replies])
    return found
