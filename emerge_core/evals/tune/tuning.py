"""The best ensemble for a task, from recordings alone: searched, measured on unseen questions, written.

For each of several budgets the most accurate ensemble within it is chosen on all questions; its accuracy is that of
the same choice in nested cross-validation (see `crossval`). Among the budgets one is chosen, or a single model, by
the rule in `choice`; the accuracy of that choice is measured with the rule applied inside the folds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from emerge_core.errors import EmergeError
from emerge_core.evals.offline.arrays import Answers, read_answers
from emerge_core.evals.offline.early import waited
from emerge_core.evals.offline.ensembles import Ensemble, Outcomes, evaluate
from emerge_core.evals.offline.repeats import repeated
from emerge_core.evals.recordings.recording import Recordings
from emerge_core.evals.statistics.intervals import accuracy_outcomes, paired_outcomes
from emerge_core.evals.statistics.resampling import Estimate
from emerge_core.evals.tune.bitsets import Blocks
from emerge_core.evals.tune.choice import ChoiceRule, affordable_singles, cheapest_single, pick
from emerge_core.evals.tune.crossval import FOLDS, Affordable, CrossValidation, Unseen
from emerge_core.evals.tune.dispute_rules import dispute_rules
from emerge_core.evals.tune.result import Controls, Point, Repeat, SingleModel, Tuned
from emerge_core.evals.tune.search.search import Candidates, Space, search
from emerge_core.evals.tune.settings import TuneSettings

if TYPE_CHECKING:
    from emerge_core.evals.types import Booleans, Floats

SHARES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)  # of the reference model's cost
MEMBERS = ("small", "mid", None)  # tiers; a model without one may be anything
FRONTIER, REASONING = "frontier", "reasoning"
MILLION = 1_000_000

Progress = Callable[[str], object]
"""Called with the name of each step before it starts."""


def tune(settings: TuneSettings, progress: Progress = lambda _: None) -> Tuned:
    """Raises EmergeError if nothing can be chosen: unknown names, too few questions, limits that nothing keeps to."""
    progress("reading")
    recordings = Recordings(settings.recordings)
    return tune_answers(_read(recordings, settings), settings, recordings=recordings, progress=progress)


def tune_answers(
    answers: Answers,
    settings: TuneSettings,
    *,
    recordings: Recordings | None = None,
    progress: Progress = lambda _: None,
) -> Tuned:
    """As `tune`, of answers that are read already. Without `recordings` no model is asked several times."""
    space = _space(answers, settings)
    reference = _reference(answers, settings)
    blocks = Blocks(len(answers.questions))
    progress("searching")
    candidates = search(answers, space, blocks)
    limit = _limit(answers, settings, reference)
    return _Tuner(settings, answers, space, candidates, blocks, reference, limit, recordings, progress).tuned()


def _read(recordings: Recordings, settings: TuneSettings) -> Answers:
    """The named members with every possible target, or all models."""
    if settings.models is None:
        return read_answers(recordings, settings.task)
    stronger = [name for name, known in recordings.models().items() if known.tier in _asked_tiers(settings)]
    named = dict.fromkeys((*settings.models, *([settings.reference] if settings.reference else [])))
    return read_answers(recordings, settings.task, tuple(named), also=tuple(stronger))


def _asked_tiers(settings: TuneSettings) -> tuple[str, ...]:
    """Tiers of the models that a panel may ask."""
    return (FRONTIER, REASONING) if settings.frontier else ()


def _space(answers: Answers, settings: TuneSettings) -> Space:
    named = settings.models or tuple(name for name in answers.models if answers.tier(name) in MEMBERS)
    members = [answers.index(name) for name in named]
    targets = [
        row
        for row, name in enumerate(answers.models)
        if answers.tier(name) in _asked_tiers(settings)
        and row not in members
        and (answers.tier(name) != REASONING or settings.reasoning or answers.counted[row])
    ]
    if settings.max_cost:
        members, targets = ([row for row in rows if _priced(answers, row)] for rows in (members, targets))
    if not members:
        why = " with a known cost" if settings.max_cost else ""
        raise EmergeError(
            f"no model of the small and mid tiers{why} is recorded in {settings.task}: name some by --models"
        )
    if len(answers.questions) < FOLDS:
        raise EmergeError(
            f"{settings.task} has {len(answers.questions)} questions: too few to choose and to measure by"
        )
    return Space(tuple(members), tuple(targets), min(settings.max_members, len(members)))


def _priced(answers: Answers, row: int) -> bool:
    return not np.isnan(answers.costs(row)).any()


def _reference(answers: Answers, settings: TuneSettings) -> str | None:
    """The named model, else the most accurate frontier model."""
    if settings.reference:
        answers.index(settings.reference)
        return settings.reference
    frontier = [row for row, name in enumerate(answers.models) if answers.tier(name) == FRONTIER]
    frontier = [row for row in frontier if _priced(answers, row)] or frontier
    return answers.models[max(frontier, key=lambda row: answers.score[row].sum())] if frontier else None


def _limit(answers: Answers, settings: TuneSettings, reference: str | None) -> float | None:
    """US dollars per question."""
    if settings.max_cost is None:
        return None
    if not settings.max_cost.share:
        return settings.max_cost.amount / 1000
    if reference is None:
        raise EmergeError("--max-cost is a share of the reference model's cost: name that model by --reference")
    spent = answers.costs(answers.index(reference)).mean()
    if np.isnan(spent):
        raise EmergeError(f"--max-cost is a share of the cost of {reference}, which is not known: give US dollars")
    return float(spent * settings.max_cost.amount)


class _Tuner:
    """One search, from its candidates to the choice."""

    def __init__(
        self,
        settings: TuneSettings,
        answers: Answers,
        space: Space,
        candidates: Candidates,
        blocks: Blocks,
        reference: str | None,
        limit: float | None,
        recordings: Recordings | None,
        progress: Progress,
    ) -> None:
        self.recordings = recordings
        self.settings = settings
        self.answers = answers
        self.space = space
        self.candidates = candidates
        self.blocks = blocks
        self.reference = reference
        self.limit = limit
        self.progress = progress
        self.validation = CrossValidation(answers, candidates, blocks, settings.margin, settings.seeds)
        self.own_cost = {row: float(answers.costs(row).mean()) for row in space.members}
        self.possible = np.ones(len(candidates), dtype=np.bool_)
        if settings.max_latency_ms is not None:
            if np.isnan(candidates.latency).all():
                raise EmergeError(f"--max-latency: no latency is recorded in {settings.task}")
            self.possible = candidates.latency <= settings.max_latency_ms

    def tuned(self) -> Tuned:
        budgets = self._budgets()
        if not budgets:
            raise EmergeError(f"no ensemble is within the limits; {self._cheapest()}")
        alone = self._budget(self.limit, ~self.candidates.escalate & ~self._targets_alone()) or budgets[0]
        self.progress("measuring on unseen questions")
        *rows, panel = self.validation.unseen([*budgets, alone])
        accuracies = np.array([row.scores.mean() for row in rows])
        wanted = self.settings.min_accuracy
        if wanted is not None and accuracies.max() < wanted:
            raise EmergeError(
                f"no ensemble within the limits reaches an accuracy of {wanted:g}: the best has {accuracies.max():.3f}"
            )
        of_budgets = [self.validation.chosen(budget) for budget in budgets]
        beaten = self.validation.beaten(of_budgets, budgets[-1])
        taken = pick(accuracies, self.settings.margin, wanted, beaten)
        chosen, rival = self._choose(of_budgets[taken], rows[taken])
        self.progress("measuring the choice of the budget")
        rule = ChoiceRule(
            self.candidates,
            self.blocks,
            np.array([self.answers.score[:, part].sum(axis=1) for part in self.blocks.parts]).T,
            tuple(budgets),
            self.settings.margin,
            wanted,
        )
        choice = self._point(chosen, self.validation.unseen_choice(rule.choose, chosen))
        points = _pareto([self._point(candidate, row) for candidate, row in zip(of_budgets, rows, strict=True)])
        points = sorted([*(p for p in points if p.ensemble != choice.ensemble), choice], key=_cost)
        return Tuned(
            answers=self.answers,
            tried=len(self.candidates),
            points=tuple(points),
            chosen=points.index(choice),
            controls=self._controls(self._point(self.validation.chosen(alone), panel), choice, rival),
            reference=self.reference,
            reference_cost=self._cost_of(self.reference),
            limit=None if self.limit is None else self.limit * 1000,
            settings=self.settings,
            disputes=dispute_rules(self.answers, self.candidates) if self.answers.adjudications else None,
        )

    def _choose(self, chosen: int, unseen: Unseen) -> tuple[int, SingleModel | None]:
        """The chosen candidate if it is clearly better than every single model that costs no more, else the best of
        those; and that rival, with the difference to it. `unseen` are the outcomes of the budget's choices."""
        if self.candidates.single[chosen]:
            return chosen, None
        rivals = affordable_singles(self.candidates, chosen)
        rivals = rivals[self.possible[rivals]]
        if not len(rivals):
            return chosen, None
        rows = [self.candidates.design(int(each)).members[0] for each in rivals]
        scores = self._alone(rows)
        best, of_best = self.validation.best_of(scores)
        difference = self._difference(unseen.scores - of_best)
        rival = SingleModel(
            model=self.answers.models[rows[best]],
            accuracy=self._accuracy(of_best),
            cost=self._cost_of(self.answers.models[rows[best]]),
            versus=difference,
        )
        wanted = self.settings.min_accuracy
        if difference.low > 0 or (wanted is not None and of_best.mean() < wanted <= unseen.scores.mean()):
            return chosen, rival
        return cheapest_single(self.candidates, rivals, scores.mean(axis=1), self.settings.margin), rival

    def _targets_alone(self) -> Booleans:
        """Which candidates are a stronger model alone."""
        found = self.candidates.single.copy()
        for number in np.flatnonzero(found):
            found[number] = self.candidates.design(int(number)).members[0] in self.space.targets
        return found

    def _alone(self, rows: Sequence[int]) -> Floats:
        """(rows, questions): the scores of models alone; a reply that is not usable scores nothing."""
        able = self.answers.usable[list(rows)] | self.answers.refused[list(rows)]
        return np.where(able, self.answers.score[list(rows)], 0.0)

    def _limits(self) -> list[float | None]:
        """Budgets, in US dollars per question: None is no limit."""
        spent = self.answers.costs(self.answers.index(self.reference)).mean() if self.reference else np.nan
        limits = [] if np.isnan(spent) else [float(spent * share) for share in SHARES]
        if self.limit is None:
            return [*limits, None]
        return [*(limit for limit in limits if limit < self.limit), self.limit]

    def _budgets(self) -> list[Affordable]:
        """By cost; a budget that allows no more than the one before is left out."""
        found: list[Affordable] = []
        for limit in self._limits():
            budget = self._budget(limit)
            if budget and not (found and found[-1].same_as(budget)):
                found.append(budget)
        return found

    def _budget(self, limit: float | None, among: Booleans | None = None) -> Affordable | None:
        allowed = self.possible if among is None else self.possible & among
        members = self.space.members
        if limit is not None:
            allowed = allowed & (self.candidates.cost <= limit * (1 + 1e-6))
            members = tuple(row for row in members if self.own_cost[row] <= limit) or members
        return Affordable(np.flatnonzero(allowed), members) if allowed.any() else None

    def _cheapest(self) -> str:
        known = self.candidates.cost[~np.isnan(self.candidates.cost)]
        if not len(known):
            return "no cost is known"
        return f"the cheapest costs {known.min() * 1000:.4f} USD per 1,000 questions"

    def _point(self, candidate: int, unseen: Unseen) -> Point:
        ensemble = self.validation.fitted(candidate)
        outcomes = evaluate(self.answers, ensemble)
        latency = _known(outcomes.latency_ms.mean())
        early = None if latency is None else waited(self.answers, ensemble)
        versus = None
        if self.reference:
            of_reference = self.answers.score[self.answers.index(self.reference)]
            versus = self._difference(unseen.scores - of_reference, unseen.instability)
        return Point(
            ensemble=ensemble,
            members=tuple(self.answers.models[row] for row in ensemble.members),
            to=tuple(self.answers.models[row] for row in ensemble.stronger),
            accuracy=self._accuracy(unseen.scores, unseen.instability, outcomes.score),
            versus=versus,
            cost=_known(outcomes.cost_usd.mean() * 1000),
            calls=float(outcomes.calls.mean()),
            asked=_asked(ensemble, outcomes),
            latency_ms=latency,
            early_ms=None if early is None else _known(early.mean()),
            break_even=self._break_even(ensemble, outcomes),
        )

    def _break_even(self, ensemble: Ensemble, outcomes: Outcomes) -> float | None:
        """Output tokens per call below which a model of unknown cost keeps the ensemble cheaper than the reference;
        None if the cost is known, or a price is not."""
        spent = self._cost_of(self.reference)
        hidden = [row for row in (*ensemble.members, *ensemble.stronger) if not _priced(self.answers, row)]
        if spent is None or len(hidden) != 1:
            return None
        price = self.answers.price(hidden[0])
        share = 1.0 if hidden[0] in ensemble.members else _asked(ensemble, outcomes)
        others = sum(float(self.answers.costs(row).mean()) for row in ensemble.members if row not in hidden)
        if price is None or not share:
            return None
        per_call = (spent / 1000 - others) / share
        inputs = float(self.answers.prompt_tokens[hidden[0]].mean()) * price[0] / MILLION
        return max(0.0, (per_call - inputs) * MILLION / price[1]) if price[1] else None

    def _controls(self, panel: Point, choice: Point, rival: SingleModel | None) -> Controls:
        answers = self.answers
        best, of_best = self.validation.best_of(self._alone(self.space.members))
        frontier = [row for row, name in enumerate(answers.models) if answers.tier(name) == FRONTIER]
        thinking = [row for row, name in enumerate(answers.models) if answers.tier(name) == REASONING]
        considered = [*self.space.members, *self.space.targets]
        top = max(frontier, key=lambda row: answers.score[row].sum(), default=None)
        return Controls(
            best_single=replace(self._single(self.space.members[best]), accuracy=self._accuracy(of_best)),
            rival=rival,
            repeated=self._repeated(choice),
            panel=panel,
            frontier={answers.models[row]: self._single(row).accuracy for row in frontier},
            frontier_cost={answers.models[row]: self._single(row).cost for row in frontier},
            cheapest_as_good=None
            if self.reference is None
            else self._as_good(range(len(answers.models)), answers.index(self.reference)),
            cheapest_frontier=None if top is None else self._as_good(frontier, top),
            best_reasoning=self._single(max(thinking, key=lambda row: answers.score[row].sum())) if thinking else None,
            oracle=float(answers.score[considered].max(axis=0).mean()),
            panel_oracle=float(answers.score[list(choice.ensemble.members)].max(axis=0).mean()),
        )

    def _single(self, row: int, than: int | None = None) -> SingleModel:
        scores = self.answers.score
        return SingleModel(
            model=self.answers.models[row],
            accuracy=Estimate(
                float(scores[row].mean()), *accuracy_outcomes(scores[row][None], graded=self.answers.graded)
            ),
            cost=self._cost_of(self.answers.models[row]),
            versus=None if than is None else self._paired(scores[row] - scores[than]),
        )

    def _as_good(self, rows: Sequence[int], than: int) -> SingleModel | None:
        """The cheapest of these models that costs less than another and whose difference to it is, by its whole
        interval, above the tolerated one."""
        ceiling = self._cost_of(self.answers.models[than])
        options = [self._single(row, than) for row in rows if row != than]
        good = [
            each
            for each in options
            if each.cost is not None
            and (ceiling is None or each.cost < ceiling)
            and each.versus is not None
            and each.versus.low > -self.settings.as_good
        ]
        return min(good, key=lambda each: each.cost or 0.0, default=None)

    def _repeated(self, choice: Point) -> Repeat | None:
        """Of the members that were recorded several times the one whose vote is right most often."""
        if choice.cost is None or self.answers.graded or self.recordings is None:
            return None
        options = repeated(self.recordings, self.answers, self.space.members, choice.cost / 1000)
        if not options:
            return None
        place, unseen = self.validation.best_of(np.array([option.right for option in options], dtype=np.float64))
        best = options[place]
        return Repeat(model=best.model, times=best.times, accuracy=self._accuracy(unseen), cost=best.cost * 1000)

    def _accuracy(self, outcomes: Floats, instability: float = 0.0, seen: Floats | None = None) -> Estimate:
        """Of unseen questions. `seen` are the scores of what is written, on the questions that chose it: folds choose
        by fewer questions, and so perhaps worse, which is why the interval reaches at least as high as theirs."""
        graded = self.answers.graded
        low, high = accuracy_outcomes(outcomes, graded=graded, folds=FOLDS, extra=instability)
        if seen is not None:
            high = max(high, accuracy_outcomes(seen[None], graded=graded).high)
        return Estimate(float(outcomes.mean()), low, high)

    def _difference(self, differences: Floats, instability: float = 0.0) -> Estimate:
        value, interval = paired_outcomes(differences, graded=self.answers.graded, folds=FOLDS, extra=instability)
        return Estimate(value, *interval)

    def _paired(self, differences: Floats) -> Estimate:
        """Of two single models: nothing was chosen, so nothing is cross-validated."""
        value, interval = paired_outcomes(differences[None], graded=self.answers.graded)
        return Estimate(value, *interval)

    def _cost_of(self, model: str | None) -> float | None:
        return None if model is None else _known(self.answers.costs(self.answers.index(model)).mean() * 1000)


def _pareto(points: Sequence[Point]) -> list[Point]:
    """Points by cost; those that a cheaper one equals or beats are left out."""
    kept: list[Point] = []
    for point in sorted(points, key=_cost):
        if not kept or (point.accuracy.value > kept[-1].accuracy.value and point.ensemble != kept[-1].ensemble):
            kept.append(point)
    return kept


def _cost(point: Point) -> float:
    return np.inf if point.cost is None else point.cost


def _asked(ensemble: Ensemble, outcomes: Outcomes) -> float:
    """The share of questions on which a stronger model is asked."""
    if not ensemble.stronger:
        return 0.0
    return float((outcomes.calls > len(ensemble.members)).mean())


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
