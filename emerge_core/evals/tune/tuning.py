"""The best ensemble for a task, from recordings alone: searched, measured on unseen questions, written.

For each of several budgets the best ensemble within it is chosen on all questions; its accuracy is
that of the same choice in nested cross-validation (see `crossval`). Beside it stand the controls: the
best single member, alone and asked several times, the best panel that asks no stronger model, each
frontier model, the oracle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emerge_core.config import Config
from emerge_core.errors import EmergeError
from emerge_core.evals.offline.arrays import Answers, read_answers
from emerge_core.evals.offline.early import waited
from emerge_core.evals.offline.ensembles import Ensemble, Outcomes, evaluate
from emerge_core.evals.offline.repeats import repeated
from emerge_core.evals.recordings.recording import Recordings
from emerge_core.evals.statistics.resampling import Draws, Estimate
from emerge_core.evals.tune.bitsets import Blocks
from emerge_core.evals.tune.config_writer import config_of
from emerge_core.evals.tune.crossval import FOLDS, SEEDS, Budget, CrossValidation
from emerge_core.evals.tune.search.search import Candidates, Space, search

if TYPE_CHECKING:
    from emerge_core.evals.types import Booleans, Floats

RESAMPLES = 2000
SHARES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)  # of the reference model's cost
MEMBERS = ("small", "mid", None)  # tiers; of an unlabelled model everything is possible
FRONTIER = "frontier"


@dataclass(frozen=True, slots=True)
class Cost:
    """US dollars per 1,000 questions, or a share of what the reference model costs."""

    amount: float
    share: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to search, and what the choice must keep to."""

    recordings: Path
    task: str
    models: tuple[str, ...] | None = None  # members; else those of the small and mid tiers
    max_members: int = 3
    reference: str | None = None
    max_cost: Cost | None = None
    min_accuracy: float | None = None
    max_latency_ms: float | None = None
    frontier: bool = True  # whether a frontier model may be asked where the panel disagrees
    seeds: int = SEEDS
    config: Config | None = None  # whose models and providers are written


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """An ensemble of the frontier. `accuracy` and `versus` (the reference) are of unseen questions; costs are US
    dollars per 1,000 questions with early decision off."""

    ensemble: Ensemble
    members: tuple[str, ...]
    to: tuple[str, ...]  # the models that are asked on disagreement, one after the other
    accuracy: Estimate
    versus: Estimate | None
    cost: float | None
    calls: float
    escalated: float
    latency_ms: float | None  # all members waited for
    early_ms: float | None  # with early decision, where the ensemble has it


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """A vote among several answers of one model."""

    model: str
    times: int
    accuracy: Estimate
    cost: float  # US dollars per 1,000 questions


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """What the chosen ensemble is to be measured against. Accuracies of choices are of unseen questions."""

    best_single: str
    best_single_accuracy: Estimate
    best_single_cost: float | None
    repeated: Again | None  # one member asked several times, for no more than the chosen ensemble costs
    panel: Point  # the best within the same limits that asks no frontier model
    frontier: dict[str, Estimate]
    frontier_cost: dict[str, float | None]
    oracle: float  # share of questions that a considered member or target answers right
    panel_oracle: float  # that a member of the chosen panel does


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    answers: Answers
    tried: int
    points: tuple[Point, ...]
    chosen: int
    controls: Controls
    reference: str | None
    limit: float | None  # US dollars per 1,000 questions
    plan: Plan

    @property
    def config(self) -> dict[str, Any]:
        return self.config_of(self.points[self.chosen])

    def config_of(self, point: Point) -> dict[str, Any]:
        return config_of(self.answers, point.ensemble, self.plan.config)


def tune(plan: Plan) -> Tuned:
    answers = _read(plan)
    space = _space(answers, plan)
    reference = _reference(answers, plan)
    blocks = Blocks(len(answers.questions))
    candidates = search(answers, space, blocks)
    limit = _limit(answers, plan, reference)
    return _Tuner(plan, answers, space, candidates, blocks, reference, limit).tuned()


def _read(plan: Plan) -> Answers:
    """The named members with every possible target, or all models."""
    recordings = Recordings(plan.recordings)
    if plan.models is None:
        return read_answers(recordings, plan.task)
    frontier = [name for name, known in recordings.models().items() if known.tier == FRONTIER and plan.frontier]
    named = dict.fromkeys((*plan.models, *([plan.reference] if plan.reference else [])))
    return read_answers(recordings, plan.task, tuple(named), also=tuple(frontier))


def _space(answers: Answers, plan: Plan) -> Space:
    named = plan.models or tuple(name for name in answers.models if answers.tier(name) in MEMBERS)
    members = [answers.index(name) for name in named]
    targets = [row for row, name in enumerate(answers.models) if answers.tier(name) == FRONTIER and plan.frontier]
    if plan.max_cost:
        members, targets = ([row for row in rows if _priced(answers, row)] for rows in (members, targets))
    if not members:
        why = " with a known cost" if plan.max_cost else ""
        raise EmergeError(f"no model of the small and mid tiers{why} is recorded in {plan.task}: name some by --models")
    if len(answers.questions) < FOLDS:
        raise EmergeError(f"{plan.task} has {len(answers.questions)} questions: too few to choose and to measure by")
    return Space(tuple(members), tuple(targets), min(plan.max_members, len(members)))


def _priced(answers: Answers, row: int) -> bool:
    return not np.isnan(answers.costs(row)).any()


def _reference(answers: Answers, plan: Plan) -> str | None:
    """The named model, else the frontier model that is right most often."""
    if plan.reference:
        answers.index(plan.reference)
        return plan.reference
    frontier = [row for row, name in enumerate(answers.models) if answers.tier(name) == FRONTIER]
    frontier = [row for row in frontier if _priced(answers, row)] or frontier
    return answers.models[max(frontier, key=lambda row: answers.right[row].sum())] if frontier else None


def _limit(answers: Answers, plan: Plan, reference: str | None) -> float | None:
    """US dollars per question."""
    if plan.max_cost is None:
        return None
    if not plan.max_cost.share:
        return plan.max_cost.amount / 1000
    if reference is None:
        raise EmergeError("--max-cost is a share of the reference model's cost: name that model by --reference")
    spent = answers.costs(answers.index(reference)).mean()
    if np.isnan(spent):
        raise EmergeError(f"--max-cost is a share of the cost of {reference}, which is not known: give US dollars")
    return float(spent * plan.max_cost.amount)


class _Tuner:
    """One search, from its candidates to the choice."""

    def __init__(
        self,
        plan: Plan,
        answers: Answers,
        space: Space,
        candidates: Candidates,
        blocks: Blocks,
        reference: str | None,
        limit: float | None,
    ) -> None:
        self.plan = plan
        self.answers = answers
        self.space = space
        self.candidates = candidates
        self.reference = reference
        self.limit = limit
        self.validation = CrossValidation(answers, candidates, blocks, plan.seeds)
        self.draws = Draws(len(answers.questions), RESAMPLES, 0)
        self.own_cost = {row: float(answers.costs(row).mean()) for row in space.members}
        self.possible = np.ones(len(candidates), dtype=np.bool_)
        if plan.max_latency_ms is not None:
            if np.isnan(candidates.latency).all():
                raise EmergeError(f"--max-latency: no latency is recorded in {plan.task}")
            self.possible = candidates.latency <= plan.max_latency_ms

    def tuned(self) -> Tuned:
        budgets = [budget for limit in self._limits() if (budget := self._budget(limit)) is not None]
        if not budgets:
            raise EmergeError(f"no ensemble is within the limits; {self._cheapest()}")
        alone = self._budget(self.limit, ~self.candidates.escalate) or budgets[0]
        *rows, panel = self.validation.unseen([*budgets, alone])
        points = _pareto([self._point(budget, row) for budget, row in zip(budgets, rows, strict=True)])
        chosen = self._choose(points)
        return Tuned(
            answers=self.answers,
            tried=len(self.candidates),
            points=tuple(points),
            chosen=chosen,
            controls=self._controls(self._point(alone, panel), points[chosen]),
            reference=self.reference,
            limit=None if self.limit is None else self.limit * 1000,
            plan=self.plan,
        )

    def _limits(self) -> list[float | None]:
        """Budgets of the frontier, in US dollars per question: None is no limit."""
        spent = self.answers.costs(self.answers.index(self.reference)).mean() if self.reference else np.nan
        limits = [] if np.isnan(spent) else [float(spent * share) for share in SHARES]
        if self.limit is None:
            return [*limits, None]
        return [*(limit for limit in limits if limit < self.limit), self.limit]

    def _budget(self, limit: float | None, among: Booleans | None = None) -> Budget | None:
        allowed = self.possible if among is None else self.possible & among
        members = self.space.members
        if limit is not None:
            allowed = allowed & (self.candidates.cost <= limit * (1 + 1e-6))
            members = tuple(row for row in members if self.own_cost[row] <= limit) or members
        return Budget(np.flatnonzero(allowed), members) if allowed.any() else None

    def _cheapest(self) -> str:
        known = self.candidates.cost[~np.isnan(self.candidates.cost)]
        if not len(known):
            return "no cost is known"
        return f"the cheapest costs {known.min() * 1000:.4f} USD per 1,000 questions"

    def _point(self, budget: Budget, unseen: Floats) -> Point:
        ensemble = self.validation.chosen(budget)
        outcomes = evaluate(self.answers, ensemble)
        latency = _known(outcomes.latency_ms.mean())
        early = None if latency is None else waited(self.answers, ensemble)
        versus = None
        if self.reference:
            versus = self.draws.mean(unseen - self.answers.right[self.answers.index(self.reference)])
        return Point(
            ensemble=ensemble,
            members=tuple(self.answers.models[row] for row in ensemble.members),
            to=tuple(self.answers.models[row] for row in ensemble.stronger),
            accuracy=self.draws.mean(unseen),
            versus=versus,
            cost=_known(outcomes.cost_usd.mean() * 1000),
            calls=float(outcomes.calls.mean()),
            escalated=float(_asked(ensemble, outcomes)),
            latency_ms=latency,
            early_ms=None if early is None else _known(early.mean()),
        )

    def _choose(self, points: Sequence[Point]) -> int:
        """The most accurate point; with --min-accuracy the first, and so the cheapest, that reaches it."""
        wanted = self.plan.min_accuracy
        if wanted is None:
            return len(points) - 1
        for number, point in enumerate(points):
            if point.accuracy.value >= wanted:
                return number
        best = points[-1].accuracy.value
        raise EmergeError(f"no ensemble within the limits reaches an accuracy of {wanted:g}: the best has {best:.3f}")

    def _controls(self, panel: Point, chosen: Point) -> Controls:
        answers = self.answers
        best, single = self.validation.best_of(answers.right[list(self.space.members)])
        frontier = [row for row, name in enumerate(answers.models) if answers.tier(name) == FRONTIER]
        considered = [*self.space.members, *self.space.targets]
        return Controls(
            best_single=answers.models[self.space.members[best]],
            best_single_accuracy=self.draws.mean(single),
            best_single_cost=_known(answers.costs(self.space.members[best]).mean() * 1000),
            repeated=self._repeated(chosen),
            panel=panel,
            frontier={answers.models[row]: self.draws.mean(answers.right[row]) for row in frontier},
            frontier_cost={answers.models[row]: _known(answers.costs(row).mean() * 1000) for row in frontier},
            oracle=float(answers.right[considered].any(axis=0).mean()),
            panel_oracle=float(answers.right[list(chosen.ensemble.members)].any(axis=0).mean()),
        )

    def _repeated(self, chosen: Point) -> Again | None:
        """Of the members that were recorded several times the one whose vote is right most often."""
        if chosen.cost is None:
            return None
        recordings = Recordings(self.plan.recordings)
        options = repeated(recordings, self.answers, self.space.members, chosen.cost / 1000)
        if not options:
            return None
        place, unseen = self.validation.best_of(np.array([option.right for option in options]))
        best = options[place]
        return Again(model=best.model, times=best.times, accuracy=self.draws.mean(unseen), cost=best.cost * 1000)


def _pareto(points: Sequence[Point]) -> list[Point]:
    """Points by cost; those that a cheaper one equals or beats are left out."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda point: np.inf if point.cost is None else point.cost):
        if not kept or point.accuracy.value > kept[-1].accuracy.value:
            kept.append(point)
    return kept


def _asked(ensemble: Ensemble, outcomes: Outcomes) -> float:
    """How often a stronger model was asked."""
    if not ensemble.stronger:
        return 0.0
    return float((outcomes.calls > len(ensemble.members)).mean())


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
