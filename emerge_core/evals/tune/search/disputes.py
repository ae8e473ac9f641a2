"""Panels whose disputes were adjudicated: by a target, by the panel itself, or by the panel and then a target.

Few panels are: a recorded adjudication counts for another panel only if that one would show the same texts. Bits
leave out the others; those that remain are evaluated as they would be served.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations, permutations
from typing import TYPE_CHECKING

import numpy as np

from emerge_core.evals.offline.arrays import Answers
from emerge_core.evals.offline.ensembles import Design, evaluate, fit
from emerge_core.evals.tune.search.bit_rows import all_of, any_of
from emerge_core.evals.tune.search.contests import Contest
from emerge_core.evals.tune.search.model_facts import Facts
from emerge_core.evals.tune.search.panels import Chunk
from emerge_core.evals.tune.search.space import Family, Scored

if TYPE_CHECKING:
    from emerge_core.evals.types import Bits, Booleans, Integers

TOLERATED = 0.05  # share of a panel's disputes that bits may get wrong: short texts of several groups, replies to tools
LARGEST = 4  # members: a larger panel is tried in the order of accuracy alone


def scored(answers: Answers, facts: Facts, panels: Integers) -> Iterator[Scored]:
    """Every design of these panels whose disputes are all recorded."""
    recorded = _recorded(answers, facts)
    chunk = Chunk(facts, panels)
    disputed = any_of(
        [chunk.keyed[i] & chunk.keyed[j] & ~chunk.pairs[i, j] for i, j in combinations(range(chunk.size), 2)]
    )
    targets = {target: _covered(disputed, recorded[target][None]) for target in facts.targets}
    itself = _covered(disputed, all_of([recorded[column] for column in panels.T]))
    for number, panel in enumerate(panels):
        able = [target for target in facts.targets if itself[number] or targets[target][number]]
        if itself[number] or able:
            rows = [int(facts.rows[place]) for place in panel]
            yield from _of_panel(
                answers, facts, rows, [int(facts.rows[t]) for t in facts.targets], bool(itself[number])
            )


def designs(members: tuple[int, ...], targets: list[int], *, by_panel: bool) -> Iterator[Design]:
    """The ways in which a panel in this order can settle a dispute. Thresholds do not rise from step to step."""
    size = len(members)
    for trusted in range(size, 1, -1):
        for target in targets:
            yield Design(members, "vote", target, trusted, "adjudicate")
        if by_panel:
            yield Design(members, "vote", panel_trusted=trusted)
            for target in targets:
                for then in range(trusted, 1, -1):
                    yield Design(members, "vote", target, then, "adjudicate", panel_trusted=trusted)


def contests(scored: Sequence[Scored]) -> Iterator[Contest]:
    """One for each panel and target whose every dispute is recorded."""
    found: dict[tuple[frozenset[int], int], list[Scored]] = defaultdict(list)
    for each in scored:
        if each.against_blind is not None and each.family.target is not None:
            found[frozenset(each.family.panels[0].tolist()), each.family.target].append(each)
    for (members, target), designs in found.items():
        designs.sort(key=lambda each: -each.family.trusted)
        won, lost = np.array([each.against_blind for each in designs]).swapaxes(0, 1)
        asking = [_asking(each.family, members, target) for each in scored]
        shows = np.repeat([_shows(each.family) for each in scored], [len(asks) for asks in asking])
        yield Contest(np.concatenate(asking) & shows, np.concatenate(asking) & ~shows, won, lost)


def _of_panel(answers: Answers, facts: Facts, rows: list[int], targets: list[int], by_panel: bool) -> Iterator[Scored]:
    """In the first order of the members in which disputes are recorded; the most accurate member comes first."""
    every = np.arange(len(answers.questions))
    orders = permutations(rows) if len(rows) <= LARGEST else iter([tuple(rows)])
    for order in orders:
        found = False
        for design in designs(order, targets, by_panel=by_panel):
            try:
                outcomes = evaluate(answers, fit(answers, design, every))
            except LookupError:
                continue
            later = outcomes.calls - len(rows)
            if not (later % len(rows) == 1 if design.target is not None else later > 0).any():
                continue  # the later step is never reached
            found = True
            family = Family(
                np.array([order]), "vote", design.target, design.trusted, design.final, (), design.panel_trusted
            )
            cost, latency = np.array([outcomes.cost_usd.mean()]), np.array([outcomes.latency_ms.mean()])
            against = None
            if design.target is not None and not design.panel_trusted:
                blind = evaluate(answers, fit(answers, replace(design, final="replace", ordered_members=True), every))
                apart = np.array([outcomes.score > blind.score, outcomes.score < blind.score])
                against = facts.block_sums(apart).astype(np.int64)
            yield Scored(family, facts.block_sums(outcomes.score[None]), cost, latency, against)
        if found:
            return


def _recorded(answers: Answers, facts: Facts) -> Bits:
    """(models, words): the questions on which a model has recorded adjudications."""
    by_model = answers.adjudications.by_model if answers.adjudications else {}
    names = [by_model.get(answers.models[row], frozenset()) for row in facts.rows]
    return facts.blocks.pack(np.array([[id_ in questions for id_ in answers.questions] for questions in names]))


def _covered(disputed: Bits, recorded: Bits) -> Booleans:
    """(panels,): whether nearly all of a panel's disputes are recorded."""
    of = np.bitwise_count(disputed).sum(axis=1)
    missing = np.bitwise_count(disputed & ~recorded).sum(axis=1)
    covered: Booleans = (of > 0) & (missing <= TOLERATED * of)
    return covered


def _asking(family: Family, members: frozenset[int], target: int) -> Booleans:
    """Which of the panels are of these members and ask this target, and nobody else, about their disputes."""
    if family.panel_trusted or (family.target != target and family.reserve != (target,)):
        return np.zeros(len(family.panels), dtype=np.bool_)
    return np.asarray(np.isin(family.panels, list(members)).all(axis=1))


def _shows(family: Family) -> bool:
    return family.target is not None and family.final == "adjudicate"
