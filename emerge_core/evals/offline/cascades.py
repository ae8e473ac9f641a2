"""The array form of `strategies.cascade` with `order: config` and `stop: agree`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from emerge_core.evals.offline.arrays import Answers
from emerge_core.evals.offline.voting import NOBODY, together, vote

if TYPE_CHECKING:
    from emerge_core.evals.types import Floats, Integers


class Cascaded(NamedTuple):
    """(questions,), as in `Outcomes`."""

    winner: Integers  # row of the arrays, or NOBODY
    agreement: Floats
    cost_usd: Floats
    calls: Integers
    latency_ms: Floats


def cascade(answers: Answers, order: Sequence[int], weights: Sequence[float]) -> Cascaded:
    """Ask the first two together, then one at a time until two agree; if no two do, vote."""
    rows, weight = np.array(order), np.array(weights)
    voted = vote(answers, order, weights)
    winner = np.where(voted.winner == NOBODY, NOBODY, rows[voted.winner])
    agreement = voted.agreement
    stopped = np.zeros(len(answers.questions), dtype=np.bool_)
    cost = sum(answers.costs(row) for row in order[:2])
    calls = np.full(len(stopped), min(2, len(order)))
    latency = answers.latency_ms[rows[:2]].max(axis=0)
    everyone = together(answers, order)
    for asked in range(2, len(order) + 1):
        if asked > 2:
            last = order[asked - 1]
            cost = cost + np.where(stopped, 0.0, answers.costs(last))
            latency = latency + np.where(stopped, 0.0, answers.latency_ms[last])
            calls = calls + ~stopped
        # Short texts may join two others, which counts only once all three are known.
        groups = together(answers, order[:asked]) if answers.joined else everyone[:asked, :asked]
        agreeing = groups.sum(axis=1)
        now = ~stopped & (agreeing >= 2).any(axis=0)
        first = agreeing.argmax(axis=0)
        own = np.take_along_axis(groups, first[None, None], axis=0)[0]
        winner = np.where(now, rows[first], winner)
        agreement = np.where(now, weight[:asked] @ own / weight[:asked].sum(), agreement)
        stopped |= now
    return Cascaded(winner, agreement, np.asarray(cost, dtype=np.float64), calls, latency)
