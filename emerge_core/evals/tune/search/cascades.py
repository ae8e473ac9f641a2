"""Cascades that stop as soon as two agree: members, and after them the stronger models of a reserve.

Two members are asked together, then one model at a time. If no two agree, the one of greatest weight speaks. Only
models of known cost take part, since cost is what a cascade saves.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

from emerge_core.evals.offline.learning import log_odds
from emerge_core.evals.tune.search.bit_rows import mean_of_slowest, mean_where
from emerge_core.evals.tune.search.model_facts import Facts
from emerge_core.evals.tune.search.space import Family, Scored

if TYPE_CHECKING:
    from emerge_core.evals.types import Bits, Floats, Integers


def of_pairs(facts: Facts, panels: Integers) -> Iterator[Scored]:
    """With every two targets, in both orders. (With one target it is a pair that escalates.)"""
    for reserve in permutations(_priced(facts), 2):
        yield _scored(facts, panels, reserve)


def of_triples(facts: Facts, panels: Integers) -> Iterator[Scored]:
    """Alone, and with every target. The last of the three is the one that makes the cascade cheapest."""
    cheapest = _cheapest_order(facts, panels)
    yield _scored(facts, cheapest, ())
    for target in _priced(facts):
        yield _scored(facts, cheapest, (target,))


def _priced(facts: Facts) -> list[int]:
    return [target for target in facts.targets if not np.isnan(facts.costs[target]).any()]


def _cheapest_order(facts: Facts, panels: Integers) -> Integers:
    orders = [panels[:, order] for order in ([0, 1, 2], [0, 2, 1], [1, 2, 0])]
    costs = [_first_two(facts, each) + _asked(facts, ~_equal(facts, each, 0, 1), each[:, 2])[0] for each in orders]
    best = np.argmin(costs, axis=0)
    found: Integers = np.stack(orders)[best, np.arange(len(panels))]
    return found


def _scored(facts: Facts, panels: Integers, reserve: tuple[int, ...]) -> Scored:
    asked = np.concatenate([panels, np.tile(np.array(reserve, dtype=np.int64), (len(panels), 1))], axis=1)
    agreed = _equal(facts, asked, 0, 1)
    right = agreed & facts.right[asked[:, 0]]
    cost, latency = _first_two(facts, panels), mean_of_slowest(facts.latency, panels[:, :2])
    for step in range(2, asked.shape[1]):
        spent, waited = _asked(facts, ~agreed, asked[:, step])
        cost, latency = cost + spent, latency + waited
        for earlier in range(step):
            joins = _equal(facts, asked, earlier, step) & ~agreed
            right |= joins & facts.right[asked[:, earlier]]
            agreed |= joins
    right |= _heaviest(facts, asked) & ~agreed
    rows = tuple(int(facts.rows[place]) for place in reserve)
    family = Family(facts.rows[panels], "cascade", reserve=rows)
    return Scored(family, facts.blocks.count(right), cost, latency)


def _heaviest(facts: Facts, asked: Integers) -> Bits:
    """Where the one is right that speaks if all differ: the heaviest that states an answer, of equals the first."""
    weights = log_odds(facts.hits[asked], facts.blocks.questions)
    right, left = np.zeros_like(facts.keyed[asked[:, 0]]), np.full_like(facts.keyed[asked[:, 0]], ~np.uint64(0))
    for place in np.argsort(-weights, axis=1, kind="stable").T:
        speaks = np.take_along_axis(asked, place[:, None], axis=1)[:, 0]
        right |= left & facts.right[speaks]
        left &= ~facts.keyed[speaks]
    return right


def _equal(facts: Facts, asked: Integers, a: int, b: int) -> Bits:
    equal: Bits = facts.agree[asked[:, a], asked[:, b]]
    return equal


def _first_two(facts: Facts, panels: Integers) -> Floats:
    cost: Floats = facts.costs.mean(axis=1)[panels[:, :2]].sum(axis=1)
    return cost


def _asked(facts: Facts, where: Bits, models: Integers) -> tuple[Floats, Floats]:
    """Mean cost and latency of asking a model (n,) only there."""
    flags = facts.blocks.unpack(where)
    cost = mean_where(flags, facts.costs[models])
    if np.isnan(facts.latency[models]).all():
        return cost, np.full(len(models), np.nan)
    return cost, mean_where(flags, facts.latency[models])
