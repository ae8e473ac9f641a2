"""What a comparison found: the figures of each model and ensemble, as JSON and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from emerge_core.evals.compare.proxy_client import Outcome
from emerge_core.evals.statistics.intervals import Interval, paired, wilson

Outcomes = Sequence[Outcome]


@dataclass(frozen=True, slots=True)
class Comparison:
    """All outcomes, in the same order of questions. An ensemble with None could not be measured."""

    task: str
    questions: int
    left_out: int  # not answered by every model
    members: tuple[str, ...]  # models that sit on a panel, in config order
    models: Mapping[str, Outcomes]
    ensembles: Mapping[str, Outcomes | None]
    early_decision: bool = False

    @property
    def best_single(self) -> str:
        """The member that is right most often; the first of several."""
        return max(self.members, key=lambda name: _right(self.models[name]))

    @property
    def oracle(self) -> float:
        """How often at least one member is right: what a perfect picker would reach."""
        panels = zip(*(self.models[name] for name in self.members), strict=True)
        return sum(any(outcome.right for outcome in panel) for panel in panels) / max(self.questions, 1)

    def versus_best(self, outcomes: Outcomes) -> tuple[float, Interval]:
        return paired([o.right for o in outcomes], [o.right for o in self.models[self.best_single]])

    def as_json(self) -> dict[str, Any]:
        best = self.best_single
        return {
            "task": self.task,
            "questions": self.questions,
            "models": {name: self._model(outcomes) for name, outcomes in self.models.items()},
            "ensembles": {name: self._ensemble(outcomes) for name, outcomes in self.ensembles.items()},
            "best_single": {"model": best, "accuracy": _accuracy(self.models[best])},
            "oracle": round(self.oracle, 6),
        }

    def _model(self, outcomes: Outcomes) -> dict[str, Any]:
        return {
            "accuracy": _accuracy(outcomes),
            "ci95": _rounded(wilson(_right(outcomes), len(outcomes))),
            "cost_per_1000": self._billed(outcomes),
        }

    def _ensemble(self, outcomes: Outcomes | None) -> dict[str, Any]:
        if outcomes is None:
            names = ("accuracy", "ci95", "vs_best_single", "cost_per_1000", "calls_per_question", "agreement")
            return dict.fromkeys((*names, "escalation_rate", "errors"))
        difference, interval = self.versus_best(outcomes)
        agreement = agreement_of(outcomes)
        return {
            **self._model(outcomes),
            "vs_best_single": {"diff": round(difference, 6), "ci95": _rounded(interval)},
            "calls_per_question": round(calls_of(outcomes), 6),
            "agreement": agreement if agreement is None else round(agreement, 6),
            "escalation_rate": round(escalations_of(outcomes), 6),
            "errors": sum(outcome.failed for outcome in outcomes),
        }

    def _billed(self, outcomes: Outcomes) -> float | None:
        """A run with early decision holds estimates of cancelled calls: that is no bill."""
        cost = None if self.early_decision else cost_of(outcomes)
        return cost if cost is None else round(cost, 9)


def cost_of(outcomes: Outcomes) -> float | None:
    """US dollars per 1,000 questions; None where one question's cost is not known."""
    costs = [outcome.cost_usd for outcome in outcomes if outcome.cost_usd is not None]
    return fmean(costs) * 1000 if outcomes and len(costs) == len(outcomes) else None


def calls_of(outcomes: Outcomes) -> float:
    return fmean(outcome.calls for outcome in outcomes)


def agreement_of(outcomes: Outcomes) -> float | None:
    """The mean over the questions that have one."""
    found = [outcome.agreement for outcome in outcomes if outcome.agreement is not None]
    return fmean(found) if found else None


def escalations_of(outcomes: Outcomes) -> float:
    return fmean(outcome.escalated for outcome in outcomes)


def table(comparison: Comparison) -> str:
    """The comparison for people: accuracies and shares in per cent."""
    rows = [_head(), *(_row(name, comparison, outcomes) for name, outcomes in comparison.models.items())]
    split = len(rows)
    rows += [_row(name, comparison, outcomes, ensemble=True) for name, outcomes in comparison.ensembles.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    rule = "-" * max(map(len, lines))
    best = comparison.best_single
    early = "on: costs are estimates" if comparison.early_decision else "off"
    return "\n".join(
        [
            f"{comparison.task}: {comparison.questions} questions, {comparison.left_out} left out "
            f"(not answered by every model), early decision {early}",
            lines[0],
            rule,
            *lines[1:split],
            rule,
            *lines[split:],
            rule,
            "in per cent; vs best: against the best single member; $/1000: US dollars per 1,000 questions; calls: per",
            "question; agree: mean agreement; escal.: share of questions on which the stronger model was asked",
            f"best single member: {best} {_percent(_accuracy(comparison.models[best]))}, "
            f"oracle over the members: {_percent(comparison.oracle)}",
        ]
    )


def _head() -> list[str]:
    return ["", "accuracy", "95 %", "vs best", "95 %", "$/1000", "calls", "agree", "escal.", "errors"]


def _row(name: str, comparison: Comparison, outcomes: Outcomes | None, *, ensemble: bool = False) -> list[str]:
    if outcomes is None:
        return [name, *["n/a"] * (len(_head()) - 1)]
    difference, interval = comparison.versus_best(outcomes)
    cost = cost_of(outcomes)
    agreement = agreement_of(outcomes) if ensemble else None
    shares = [_percent(agreement), _percent(escalations_of(outcomes))] if ensemble else ["", ""]
    return [
        name,
        _percent(_accuracy(outcomes)),
        "{}–{}".format(*map(_percent, wilson(_right(outcomes), len(outcomes)))),
        f"{100 * difference:+.1f}",
        "{:+.1f} to {:+.1f}".format(*(100 * bound for bound in interval)),
        "unknown" if cost is None else f"{cost:.4f}",
        f"{calls_of(outcomes):.2f}",
        *shares,
        str(sum(outcome.failed for outcome in outcomes)),
    ]


def _right(outcomes: Outcomes) -> int:
    return sum(outcome.right for outcome in outcomes)


def _accuracy(outcomes: Outcomes) -> float:
    return round(_right(outcomes) / max(len(outcomes), 1), 6)


def _rounded(interval: Interval) -> list[float]:
    return [round(bound, 6) for bound in interval]


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"
