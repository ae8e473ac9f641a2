"""What a search found: the best ensemble for each budget, the choice among them, and what it is measured against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from emerge_core.evals.offline.arrays import Answers
from emerge_core.evals.offline.ensembles import Ensemble
from emerge_core.evals.statistics.resampling import Estimate
from emerge_core.evals.tune.config_writer import config_of
from emerge_core.evals.tune.dispute_rules import DisputeRules
from emerge_core.evals.tune.settings import TuneSettings

FEW = 100  # questions: below this the intervals are wide and the choice is shaky


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The best ensemble for a budget, or a single model. `accuracy` and `versus` (the reference) are of unseen
    questions; costs are US dollars per 1,000 questions with early decision off."""

    ensemble: Ensemble
    members: tuple[str, ...]
    to: tuple[str, ...]  # the models that are asked on disagreement, one after the other
    accuracy: Estimate
    versus: Estimate | None
    cost: float | None
    calls: float
    asked: float  # share of questions on which a stronger model is asked
    latency_ms: float | None  # all members waited for
    early_ms: float | None  # with early decision, if the ensemble has it
    break_even: float | None = None  # output tokens of the asked model at which it costs what the reference does

    @property
    def asks(self) -> bool:
        """Whether anybody is asked after the first round."""
        return bool(self.to) or self.ensemble.panel_below is not None

    @property
    def single(self) -> bool:
        return len(self.members) == 1 and not self.to


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """A vote among several answers of one model."""

    model: str
    times: int
    accuracy: Estimate
    cost: float  # US dollars per 1,000 questions


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleModel:
    """One model alone. `versus` is its difference to the model that it is compared with."""

    model: str
    accuracy: Estimate
    cost: float | None
    versus: Estimate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """What the choice is to be measured against. Accuracies of choices are of unseen questions."""

    best_single: SingleModel  # of the members
    rival: SingleModel | None  # the best single model that costs no more than the chosen ensemble; `versus` is the
    # ensemble's difference to it
    repeated: Repeat | None  # one member asked several times, for no more than the chosen ensemble costs
    panel: Point  # the best within the same limits that asks no stronger model
    frontier: dict[str, Estimate]
    frontier_cost: dict[str, float | None]
    cheapest_as_good: SingleModel | None  # as the reference
    cheapest_frontier: SingleModel | None  # the cheapest frontier model that is as good as the best one
    best_reasoning: SingleModel | None
    oracle: float  # share of questions that a considered member or target answers right
    panel_oracle: float  # that a member of the chosen panel answers right


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    answers: Answers
    tried: int
    points: tuple[Point, ...]
    chosen: int
    controls: Controls
    reference: str | None
    reference_cost: float | None  # US dollars per 1,000 questions
    limit: float | None  # US dollars per 1,000 questions
    settings: TuneSettings
    disputes: DisputeRules | None = None  # if adjudications are recorded

    @property
    def choice(self) -> Point:
        return self.points[self.chosen]

    @property
    def kind(self) -> str:
        return "single" if self.choice.single else "ensemble"

    @property
    def few(self) -> bool:
        """Whether the recording has too few questions for a firm choice."""
        return len(self.answers.questions) < FEW

    @property
    def config(self) -> dict[str, Any]:
        return self.config_of(self.choice)

    def config_of(self, point: Point) -> dict[str, Any]:
        return config_of(self.answers, point.ensemble, self.settings.config)
