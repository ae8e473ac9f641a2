"""Every ensemble of a space, scored on every block of questions at once.

A vote depends only on who agrees with whom, so a panel's outcome on 64 questions is a few operations
on words of bits. Panels are scored with orders, weights and calibrations learned from all
questions. That is only for choosing between them: what is chosen is learned again and measured separately (see
`crossval`). Short texts that join two groups, and prose, are scored as if they stood alone, except for consensus,
which is scored by the texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from emerge_core.evals.offline.arrays import Answers
from emerge_core.evals.tune.bitsets import Blocks
from emerge_core.evals.tune.search import cascades, disputes, medoids, panels
from emerge_core.evals.tune.search.model_facts import Facts
from emerge_core.evals.tune.search.space import Candidates, Scored, Space

if TYPE_CHECKING:
    from emerge_core.evals.types import Integers

Job = Callable[[], Iterator[Scored]]

__all__ = ["Candidates", "Space", "search"]

CHUNK = 1024  # panels at once: their words stay in the processor's cache
THREADS = 2
POOL = 16  # members from which panels of more than three are made: there are too many of all


def search(answers: Answers, space: Space, blocks: Blocks) -> Candidates:
    """Single models, then all pairs and triples (larger panels: of the `POOL` members that are right most often),
    then cascades, and what embeddings choose. Graded replies state no answers to vote on: of them single models
    and what embeddings choose alone."""
    facts = Facts(answers, space, blocks)
    with ThreadPoolExecutor(THREADS) as pool:
        scored = [each for found in pool.map(lambda job: list(job()), _jobs(answers, facts, space)) for each in found]
    sizes = [len(each.family.panels) for each in scored]
    return Candidates(
        families=tuple(each.family for each in scored),
        starts=np.cumsum([0, *sizes[:-1]]),
        right=np.concatenate([each.right for each in scored]),
        cost=np.concatenate([each.cost for each in scored]).astype(np.float32),
        latency=np.concatenate([each.latency for each in scored]).astype(np.float32),
        contests=tuple(disputes.contests(scored)),
    )


def _jobs(answers: Answers, facts: Facts, space: Space) -> Iterator[Job]:
    yield partial(panels.singles, facts)
    if answers.graded:
        if space.max_members >= 3:
            yield from _chunked(partial(medoids.scored, answers, facts), facts.members[: medoids.POOL], 3)
        return
    for size in range(2, space.max_members + 1):
        pool = facts.members if size <= 3 else facts.members[:POOL]
        yield from _chunked(partial(panels.scored, facts), pool, size)
        if answers.adjudications:
            yield from _chunked(partial(disputes.scored, answers, facts), pool, size)
    if space.max_members >= 2:
        yield from _chunked(partial(cascades.of_pairs, facts), facts.worthy, 2)
    if space.max_members >= 3:
        yield from _chunked(partial(cascades.of_triples, facts), facts.worthy, 3)
        yield from _chunked(partial(medoids.scored, answers, facts), facts.members[: medoids.POOL], 3)


def _chunked(score: Callable[[Integers], Iterator[Scored]], pool: Sequence[int], size: int) -> Iterator[Job]:
    """Panels as places among the members, the one that is right most often first."""
    of_size = np.array(list(combinations(pool, size)), dtype=np.int64).reshape(-1, size)
    for start in range(0, len(of_size), CHUNK):
        yield partial(score, of_size[start : start + CHUNK])
