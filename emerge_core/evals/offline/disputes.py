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
    found: Shown = {}
    groups = together(answers, members)
    for question in questions:
        texts = _distinct(answers, members, groups, int(question))
        if len(texts) > 1:
            found[int(question)] = texts
    return found


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
    in_hand: Shown = {}
    groups = together(verdicts, range(len(members)))
    for place, question in enumerate(numbers):
        if np.isnan(voted.agreement[place]) or not verdicts.usable[:, place].any():
            continue  # no verdict that can be counted: the first round's answers stay in hand
        speaker = int(voted.winner[place])
        state.winner[question] = rows[speaker]
        state.score[question] = verdicts.score[speaker, place]
        state.agreement[question] = voted.agreement[place]
        in_hand[int(question)] = _distinct(verdicts, range(len(members)), groups, place)
    return in_hand


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


def _distinct(answers: Answers, members: Sequence[int], groups: Booleans, question: int) -> tuple[str, ...]:
    """As `strategies.adjudication.distinct_answers`, for members of equal weight: of each group the first one's text;
    if some member calls tools and some text has no key, to make no call is one answer."""
    rows = np.array(members)
    usable, called = answers.usable[rows, question], answers.called[rows, question]
    keyed = usable & (answers.codes[rows, question] != NO_KEY)
    texts = usable & ~called
    one_text = bool(called.any() and (texts & ~keyed).any())
    speakers, seen = [], np.zeros(len(rows), dtype=np.bool_)
    for place in np.flatnonzero(keyed & ~texts if one_text else keyed):
        if not seen[place]:
            speakers.append(int(place))
            seen |= groups[place, :, question]
    if one_text:
        speakers.append(int(np.flatnonzero(texts)[0]))
    id_ = answers.questions[question]
    replies = [answers.texts[answers.models[rows[place]]][id_] for place in speakers]
    return shown_texts([consensus.content(reply.completion()) for reply in replies])
