"""Panels of three whose middle reply speaks: consensus, by the built-in embedder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from emerge_core.evals.offline.arrays import Answers
from emerge_core.evals.offline.speakers import nearest, nearness
from emerge_core.evals.tune.search.bit_rows import mean_of_slowest
from emerge_core.evals.tune.search.model_facts import Facts
from emerge_core.evals.tune.search.space import Family, Scored

if TYPE_CHECKING:
    from emerge_core.evals.types import Integers

POOL = 8  # members that are right most often: their texts are embedded


def scored(answers: Answers, facts: Facts, panels: Integers) -> Iterator[Scored]:
    """`panels` are places in the pool."""
    pool = facts.rows[: panels.max() + 1]
    near = nearness(answers, pool.tolist())
    usable, replies = answers.usable[pool], answers.score[pool]
    every, unrated = np.arange(len(answers.questions)), np.full((3, len(answers.questions)), np.nan)
    right = [
        replies[panel[nearest(near[np.ix_(panel, panel)], usable[panel], np.ones(3), unrated)], every]
        * usable[panel].any(axis=0)
        for panel in panels
    ]
    cost = facts.costs.mean(axis=1)[panels].sum(axis=1)
    count = facts.block_sums(np.array(right))
    yield Scored(Family(facts.rows[panels], "consensus"), count, cost, mean_of_slowest(facts.latency, panels))
