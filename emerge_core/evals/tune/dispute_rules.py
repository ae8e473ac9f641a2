"""What to do when a panel disagrees: replace, vote, adjudicate, or let the panel judge first.

The rules are compared on one panel, that whose adjudications are recorded, and each asks about every dispute: nothing
is chosen and nothing is learned, so all questions count and the intervals are those of a plain paired comparison.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from emerge_core.evals.offline.arrays import Answers
from emerge_core.evals.offline.ensembles import Design, Ensemble, Final, Outcomes, evaluate, fit
from emerge_core.evals.statistics.intervals import accuracy_outcomes, paired_outcomes
from emerge_core.evals.statistics.resampling import Estimate
from emerge_core.evals.tune.search.search import Candidates

if TYPE_CHECKING:
    from emerge_core.evals.types import Floats

BLIND: tuple[Final, ...] = ("replace", "vote")


@dataclass(frozen=True, slots=True, kw_only=True)
class DisputeRule:
    """One rule. `behind` is the difference of the most accurate rule to this one, None for that rule itself."""

    name: str
    ensemble: Ensemble
    accuracy: Estimate
    cost: float | None  # US dollars per 1,000 questions
    calls: float
    behind: Estimate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DisputeRules:
    """Rules for one panel's disputes, the most accurate first."""

    members: tuple[str, ...]
    disputed: float  # share of questions
    rules: tuple[DisputeRule, ...]

    @property
    def best(self) -> DisputeRule:
        return self.rules[0]

    @property
    def rivals(self) -> tuple[DisputeRule, ...]:
        """The rules that are not clearly worse than the best one."""
        return tuple(rule for rule in self.rules[1:] if rule.behind is not None and rule.behind.low <= 0)


def dispute_rules(answers: Answers, candidates: Candidates) -> DisputeRules | None:
    """None if no panel's disputes are recorded. Of several panels the largest one, then the most accurate one."""
    found = candidates.adjudicating
    if not found:
        return None
    chosen = max(found, key=lambda number: (len(candidates.design(number).members), candidates.sums[number].sum()))
    panel = candidates.design(chosen).members
    settled = [each for number in found if (each := candidates.design(number)).members == panel]
    every = np.arange(len(answers.questions))
    outcomes: list[tuple[str, Ensemble, Outcomes]] = []
    for name, design in _rules(answers, settled):
        ensemble = fit(answers, design, every)
        outcomes.append((name, ensemble, evaluate(answers, ensemble)))
    outcomes.sort(key=lambda each: (-each[2].score.mean(), np.nan_to_num(each[2].cost_usd.mean(), nan=np.inf)))
    best = outcomes[0][2].score
    asked = [found for name, ensemble, found in outcomes if ensemble.adjudicates]
    return DisputeRules(
        members=tuple(answers.models[row] for row in panel),
        disputed=float(np.mean(asked[0].escalated)),
        rules=tuple(
            _measured(answers, name, ensemble, found, None if place == 0 else best)
            for place, (name, ensemble, found) in enumerate(outcomes)
        ),
    )


def _rules(answers: Answers, settled: list[Design]) -> Iterator[tuple[str, Design]]:
    """The panel alone, and of each kind of rule the one that asks about most disputes."""
    members, size = settled[0].members, len(settled[0].members)
    yield "no model: the panel's vote stands", Design(members, ordered_members=True)
    targets = sorted({design.target for design in settled if design.target is not None})
    for target in targets:
        for final in BLIND:
            blind = Design(members, "vote", target, size, final, ordered_members=True)
            yield f"{final}: {answers.models[target]}", blind
    kinds: dict[tuple[bool, int | None], Design] = {}
    for design in sorted(settled, key=lambda each: (each.panel_trusted, each.trusted), reverse=True):
        kinds.setdefault((design.panel_trusted > 0, design.target), design)
    for (by_panel, adjudicator), design in kinds.items():
        if adjudicator is None:
            name = "adjudicate: the panel itself"
        elif by_panel:
            name = f"adjudicate: the panel, then {answers.models[adjudicator]}"
        else:
            name = f"adjudicate: {answers.models[adjudicator]}"
        yield name, design


def _measured(answers: Answers, name: str, ensemble: Ensemble, found: Outcomes, best: Floats | None) -> DisputeRule:
    behind = None
    if best is not None:
        value, interval = paired_outcomes((best - found.score)[None], graded=answers.graded)
        behind = Estimate(value, *interval)
    cost = float(found.cost_usd.mean() * 1000)
    return DisputeRule(
        name=name,
        ensemble=ensemble,
        accuracy=Estimate(float(found.score.mean()), *accuracy_outcomes(found.score[None], graded=answers.graded)),
        cost=None if np.isnan(cost) else cost,
        calls=float(found.calls.mean()),
        behind=behind,
    )
