"""What a comparison on several tasks found: one config with routes, per task and for the mix, as JSON and as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from emerge_core.evals.compare.comparison import Comparison, Outcomes, calls_of, cost_of, mean_score
from emerge_core.evals.statistics.intervals import Interval
from emerge_core.evals.statistics.strata import weighted
from emerge_core.evals.tables import aligned, dollars, paragraph, percent, points, share
from emerge_core.types import Form


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedTask:
    """One task of the mix. `comparison` holds the counted questions: those that every model of `ensemble` answered,
    and that the models of the ensemble to which each was routed answered too."""

    comparison: Comparison
    form: Form  # of most of its questions
    ensemble: str  # that serves the form
    forms: Mapping[Form, int]  # of all questions that the models of the ensemble answered
    misrouted: int  # questions left out, since models of the ensemble they were routed to did not answer them

    @property
    def misrouted_share(self) -> float:
        return self.misrouted / (self.misrouted + self.comparison.questions)

    def outcomes(self, name: str) -> Outcomes | None:
        """Of a model or an ensemble; None if it was not measured on this task."""
        found = self.comparison.ensembles.get(name)
        return self.comparison.models.get(name) if found is None else found

    def versus_against(self, name: str) -> tuple[float, Interval] | None:
        """How much better a configuration is than the model to compare with."""
        ours, against = self.outcomes(name), self.comparison.against
        return None if ours is None or against is None else self.comparison.versus(ours, against)


@dataclass(frozen=True, slots=True, kw_only=True)
class MixFigures:
    """A configuration on the mix. Accuracies are shares, costs US dollars per 1,000 questions or None."""

    accuracy: float
    interval: Interval
    cost: float | None
    calls: float

    def as_json(self) -> dict[str, Any]:
        return {
            "accuracy": round(self.accuracy, 6),
            "ci95": [round(bound, 6) for bound in self.interval],
            "cost_per_1000": None if self.cost is None else round(self.cost, 9),
            "calls_per_question": round(self.calls, 6),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class MixComparison:
    """`routes` is the ensemble whose routes decide which questions are counted."""

    routes: str
    tasks: Mapping[str, MixedTask]
    weights: Mapping[str, float]  # of the tasks; they add up to 1

    def figures(self, name: str) -> MixFigures | None:
        """Of a model or an ensemble; None if it was not measured on every task."""
        return self._mixed({task: each.outcomes(name) for task, each in self.tasks.items()})

    def figures_against(self) -> MixFigures | None:
        """Of each task's model to compare with; None if a task has none."""
        return self._mixed(
            {
                task: None if each.comparison.against is None else each.comparison.models[each.comparison.against]
                for task, each in self.tasks.items()
            }
        )

    def versus_own(self, task: str) -> tuple[float, Interval] | None:
        """How much better the routes are than the ensemble of the task's own form, on the same questions."""
        each = self.tasks[task]
        ours, own = each.outcomes(self.routes), each.outcomes(each.ensemble)
        return None if ours is None or own is None else each.comparison.difference(ours, own)

    def versus_against(self) -> tuple[float, Interval] | None:
        """How much better the routes are than each task's model to compare with."""
        found = [each.versus_against(self.routes) for each in self.tasks.values()]
        known = [each for each in found if each is not None]
        if len(known) < len(found):
            return None
        return weighted([value for value, _ in known], [interval for _, interval in known], self._weights)

    @property
    def misrouted(self) -> float:
        """The share of misrouted questions in the mix."""
        return sum(self.weights[task] * each.misrouted_share for task, each in self.tasks.items())

    @property
    def names(self) -> list[str]:
        """Every model and ensemble that was measured on some task."""
        found: dict[str, None] = {}
        for each in self.tasks.values():
            found |= dict.fromkeys(each.comparison.models)
        for each in self.tasks.values():
            found |= {name: None for name, outcomes in each.comparison.ensembles.items() if outcomes is not None}
        return list(found)

    def as_json(self) -> dict[str, Any]:
        found = self.figures(self.routes)
        versus = self.versus_against()
        theirs = self.figures_against()
        mix: dict[str, Any] = {
            "config": self.routes,
            "accuracy": None,
            "ci95": None,
            "cost_per_1000": None,
            "calls_per_question": None,
            **(found.as_json() if found else {}),
            "weights": {task: round(weight, 6) for task, weight in self.weights.items()},
            "misrouted": round(self.misrouted, 6),
            "against": None,
            "configs": {name: each.as_json() for name in self.names if (each := self.figures(name)) is not None},
        }
        if theirs is not None:
            mix["against"] = {
                "models": {task: each.comparison.against for task, each in self.tasks.items()},
                **theirs.as_json(),
                **({"vs_model": _difference(versus)} if versus else {}),
            }
        return {"tasks": {task: self._task(task) for task in self.tasks}, "mix": mix}

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for every task, counted question, and model or ensemble that was measured on it."""
        for each in self.tasks.values():
            yield from each.comparison.rows()

    @property
    def _weights(self) -> list[float]:
        return [self.weights[task] for task in self.tasks]

    def _task(self, task: str) -> dict[str, Any]:
        each = self.tasks[task]
        own = self.versus_own(task)
        return {
            **each.comparison.as_json(),
            "form": each.form,
            "ensemble": each.ensemble,
            "forms": dict(each.forms),
            "misrouted": round(each.misrouted_share, 6),
            "misrouted_questions": each.misrouted,
            "vs_own": None if own is None else {"ensemble": each.ensemble, **_difference(own)},
        }

    def _mixed(self, outcomes: Mapping[str, Outcomes | None]) -> MixFigures | None:
        known = {task: found for task, found in outcomes.items() if found is not None}
        if len(known) < len(self.tasks):
            return None
        values = [mean_score(found) for found in known.values()]
        intervals = [self.tasks[task].comparison.interval(found) for task, found in known.items()]
        accuracy, interval = weighted(values, intervals, self._weights)
        costs = [self.tasks[task].comparison.billed(found) for task, found in known.items()]
        billed = [cost for cost in costs if cost is not None]
        return MixFigures(
            accuracy=accuracy,
            interval=interval,
            cost=self._mean(billed) if len(billed) == len(costs) else None,
            calls=self._mean([calls_of(found) for found in known.values()]),
        )

    def _mean(self, values: list[float]) -> float:
        return sum(weight * value for weight, value in zip(self._weights, values, strict=True))


def mix_table(mix: MixComparison) -> str:
    """The mix for people: accuracies and shares in per cent, costs in US dollars per 1,000 questions."""
    graded = [task for task, each in mix.tasks.items() if each.comparison.graded]
    count = sum(each.comparison.questions for each in mix.tasks.values())
    early = any(each.comparison.early_decision for each in mix.tasks.values())
    lines = [
        *paragraph(
            f"{mix.routes}: {count} questions of {len(mix.tasks)} tasks, in one shuffled order, early decision "
            f"{'on: costs are estimates' if early else 'off'}"
        ),
        "",
        *_routing(mix),
        "",
        *_routes(mix),
        "",
        *_configurations(mix),
        "",
        *paragraph(
            "accuracies in per cent, differences in points on the same questions, with 95 % intervals; misrouted: "
            "questions left out, since models of the ensemble they were routed to did not answer them"
        ),
    ]
    if graded:
        lines += paragraph(f"graded, so that the accuracy is a mean score: {', '.join(graded)}")
    return "\n".join(lines)


def _routing(mix: MixComparison) -> list[str]:
    head = ["", "form", "served by", "questions", "left out", "misrouted", "weight"]
    rows = [
        [
            task,
            f"{each.form} ({share(each.forms[each.form] / sum(each.forms.values()))} %)",
            each.ensemble,
            str(each.comparison.questions),
            str(each.comparison.left_out),
            f"{each.misrouted} ({share(each.misrouted_share)} %)",
            share(mix.weights[task]),
        ]
        for task, each in mix.tasks.items()
    ]
    return aligned(head, rows)


def _routes(mix: MixComparison) -> list[str]:
    head = [mix.routes, "accuracy", "against its own ensemble", "against", "", "$/1000", "× that model", "calls"]
    rows = []
    for task, each in mix.tasks.items():
        outcomes, against = each.outcomes(mix.routes), each.comparison.against
        if outcomes is None:
            rows.append([task, *["n/a"] * (len(head) - 1)])
            continue
        own, versus = mix.versus_own(task), each.versus_against(mix.routes)
        theirs = None if against is None else cost_of(each.comparison.models[against])
        rows.append(
            [
                task,
                percent((mean_score(outcomes), *each.comparison.interval(outcomes))),
                _points(own),
                against or "",
                _points(versus),
                *_cost(cost_of(outcomes), theirs),
                f"{calls_of(outcomes):.2f}",
            ]
        )
    found, theirs_mixed = mix.figures(mix.routes), mix.figures_against()
    if found is not None:
        rows.append(
            [
                "mix",
                percent((found.accuracy, *found.interval)),
                "",
                "each task's" if theirs_mixed else "",
                _points(mix.versus_against()),
                *_cost(found.cost, theirs_mixed.cost if theirs_mixed else None),
                f"{found.calls:.2f}",
            ]
        )
    return aligned(head, rows)


def _configurations(mix: MixComparison) -> list[str]:
    head = ["", *mix.tasks, "mix", "$/1000", "calls"]
    rows = []
    for name in mix.names:
        of_tasks = [each.outcomes(name) for each in mix.tasks.values()]
        cells = ["–" if found is None else share(mean_score(found)) for found in of_tasks]
        mixed = mix.figures(name)
        if mixed is None:
            rows.append([name, *cells, "–", "–", "–"])
        else:
            rows.append([name, *cells, share(mixed.accuracy), dollars(mixed.cost), f"{mixed.calls:.2f}"])
    if theirs := mix.figures_against():
        rows.append(["each task's model to compare with", *[""] * len(mix.tasks), share(theirs.accuracy)])
        rows[-1] += [dollars(theirs.cost), f"{theirs.calls:.2f}"]
    return aligned(head, rows)


def _cost(ours: float | None, theirs: float | None) -> list[str]:
    return [dollars(ours), "–" if ours is None or not theirs else f"{ours / theirs:.2f}"]


def _points(found: tuple[float, Interval] | None) -> str:
    return "" if found is None else points((found[0], *found[1]))


def _difference(found: tuple[float, Interval]) -> dict[str, Any]:
    return {"diff": round(found[0], 6), "ci95": [round(bound, 6) for bound in found[1]]}
