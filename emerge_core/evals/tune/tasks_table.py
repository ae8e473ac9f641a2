"""What tuning for several tasks found: per form and for the mix, for people and for programs."""

from __future__ import annotations

from typing import Any

from emerge_core.evals.statistics.resampling import Estimate
from emerge_core.evals.tables import aligned, dollars, paragraph, percent, points, share
from emerge_core.evals.tune.result_json import as_json
from emerge_core.evals.tune.table import advice, table
from emerge_core.evals.tune.tasks import TunedTasks


def tasks_table(found: TunedTasks) -> str:
    """The table of each form's search, then one line per form, and the mix."""
    head = ["form", "tasks", "weight", "accuracy", "against each reference", "$/1000", "× reference", "calls"]
    rows = []
    for form, each in found.forms.items():
        choice = each.tuned.choice
        rows.append(
            [
                form,
                ", ".join(each.tasks),
                share(each.weight),
                percent(choice.accuracy),
                "" if choice.versus is None else f"{points(choice.versus)} {each.tuned.reference}",
                dollars(choice.cost),
                _times(choice.cost, each.tuned.reference_cost),
                f"{choice.calls:.2f}",
            ]
        )
    versus = found.versus
    rows.append(
        [
            "mix",
            "",
            "100.0",
            percent(found.accuracy),
            "" if versus is None else points(versus),
            dollars(found.cost),
            _times(found.cost, found.reference_cost),
            f"{found.calls:.2f}",
        ]
    )
    lines = [f"{table(each.tuned)}\n" for each in found.forms.values()]
    lines += ["one config, with a route for each form:", "", *aligned(head, rows), ""]
    for form, each in found.forms.items():
        lines += paragraph(f"{form}: {advice(each.tuned)}", indent="  ")
        if len(each.tasks) > 1:
            known = ", ".join(f"{task} {share(accuracy)}" for task, accuracy in each.accuracies.items())
            lines += paragraph(f"  on the questions that it was chosen by: {known}", indent="  ")
    borrowed = [f"{form} by that of {other}" for form, other in found.routes.items() if form != other]
    if borrowed:
        lines += paragraph(
            f"no task has these forms; they are served by another form's ensemble: {', '.join(borrowed)}"
        )
    lines += paragraph(
        "weights and shares in per cent; accuracy on unseen questions of a task's own form, with 95 % intervals: a "
        "question that is routed elsewhere is answered there, which `emerge compare --tasks` measures"
    )
    return "\n".join(lines)


def tasks_json(found: TunedTasks) -> dict[str, Any]:
    """Accuracies from 0 to 1; costs in US dollars per 1,000 questions, null if they are not known."""
    versus = found.versus
    return {
        "forms": {
            form: {"tasks": list(each.tasks), "weight": round(each.weight, 6), "form_share": each.shares}
            | {"accuracy_by_task": {task: round(value, 6) for task, value in each.accuracies.items()}}
            | as_json(each.tuned)
            for form, each in found.forms.items()
        },
        "mix": {
            "accuracy_cv": round(found.accuracy.value, 6),
            "ci95": _bounds(found.accuracy),
            "vs_reference": None if versus is None else {"diff": round(versus.value, 6), "ci95": _bounds(versus)},
            "cost_per_1000": found.cost,
            "reference_cost_per_1000": found.reference_cost,
            "calls_per_question": round(found.calls, 6),
            "weights": {task: round(weight, 6) for task, weight in found.weights.items()},
        },
        "routes": found.routes,
        "config": found.config,
    }


def _times(cost: float | None, reference: float | None) -> str:
    return "–" if cost is None or not reference else f"{cost / reference:.2f}"


def _bounds(estimate: Estimate) -> list[float]:
    return [round(estimate.low, 6), round(estimate.high, 6)]
