"""What tuning found, for programs."""

from __future__ import annotations

from typing import Any

from emerge_core.evals.statistics.resampling import Estimate
from emerge_core.evals.tune.config_writer import aggregator_of, escalation_of, strategy_of
from emerge_core.evals.tune.crossval import FOLDS
from emerge_core.evals.tune.tuning import Again, Point, Tuned


def as_json(tuned: Tuned) -> dict[str, Any]:
    """Accuracies from 0 to 1; costs in US dollars per 1,000 questions, null where they are not known."""
    controls = tuned.controls
    return {
        "task": tuned.answers.task,
        "questions": len(tuned.answers.questions),
        "left_out": tuned.answers.left_out,
        "reference": tuned.reference,
        "max_cost_per_1000": tuned.limit,
        "tried": tuned.tried,
        "cross_validation": {"folds": FOLDS, "seeds": tuned.plan.seeds},
        "frontier": [_point_json(tuned, point) for point in tuned.points],
        "controls": {
            "best_single": {
                "model": controls.best_single,
                "accuracy": _rounded(controls.best_single_accuracy.value),
                "ci95": _interval(controls.best_single_accuracy),
                "cost_per_1000": controls.best_single_cost,
            },
            "repeated": None if controls.repeated is None else _again_json(controls.repeated),
            "panel": _point_json(tuned, controls.panel),
            "frontier": {name: _rounded(found.value) for name, found in controls.frontier.items()},
            "frontier_cost_per_1000": controls.frontier_cost,
            "oracle": _rounded(controls.oracle),
            "panel_oracle": _rounded(controls.panel_oracle),
        },
        "chosen": tuned.chosen,
    }


def _point_json(tuned: Tuned, point: Point) -> dict[str, Any]:
    versus = point.versus
    return {
        "config": tuned.config_of(point),
        "members": list(point.members),
        "strategy": strategy_of(point.ensemble),
        "aggregator": aggregator_of(point.ensemble),
        "escalate": escalation_of(tuned.answers, point.ensemble),
        "accuracy_cv": _rounded(point.accuracy.value),
        "ci95": _interval(point.accuracy),
        "vs_reference": None if versus is None else {"diff": _rounded(versus.value), "ci95": _interval(versus)},
        "cost_per_1000": point.cost,
        "calls_per_question": _rounded(point.calls),
        "escalation_rate": _rounded(point.escalated),
        "latency_ms": point.latency_ms,
        "early_latency_ms": point.early_ms,
    }


def _again_json(again: Again) -> dict[str, Any]:
    return {
        "model": again.model,
        "times": again.times,
        "accuracy": _rounded(again.accuracy.value),
        "ci95": _interval(again.accuracy),
        "cost_per_1000": again.cost,
    }


def _rounded(value: float) -> float:
    return round(value, 6)


def _interval(found: Estimate) -> list[float]:
    return [_rounded(found.low), _rounded(found.high)]
