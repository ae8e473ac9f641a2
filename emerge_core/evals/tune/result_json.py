"""What tuning found, for programs."""

from __future__ import annotations

from typing import Any

from emerge_core.evals.statistics.resampling import Estimate
from emerge_core.evals.tune.config_writer import aggregator_of, escalation_of, strategy_of
from emerge_core.evals.tune.crossval import FOLDS
from emerge_core.evals.tune.dispute_rules import DisputeRules
from emerge_core.evals.tune.result import Point, Repeat, SingleModel, Tuned


def as_json(tuned: Tuned) -> dict[str, Any]:
    """Accuracies from 0 to 1; costs in US dollars per 1,000 questions, null if they are not known."""
    controls = tuned.controls
    return {
        "task": tuned.answers.task,
        "questions": len(tuned.answers.questions),
        "left_out": tuned.answers.left_out,
        "graded": tuned.answers.graded,
        "reference": tuned.reference,
        "max_cost_per_1000": tuned.limit,
        "tried": tuned.tried,
        "cross_validation": {"folds": FOLDS, "seeds": tuned.settings.seeds},
        "frontier": [_point(tuned, point) for point in tuned.points],
        "controls": {
            "best_single": _single(controls.best_single),
            "best_single_at_cost": None if controls.rival is None else _single(controls.rival),
            "repeated": None if controls.repeated is None else _repeat(controls.repeated),
            "panel": _point(tuned, controls.panel),
            "frontier": {name: _rounded(found.value) for name, found in controls.frontier.items()},
            "frontier_cost_per_1000": controls.frontier_cost,
            "cheapest_as_good": None if controls.cheapest_as_good is None else _single(controls.cheapest_as_good),
            "cheapest_frontier": None if controls.cheapest_frontier is None else _single(controls.cheapest_frontier),
            "best_reasoning": None if controls.best_reasoning is None else _single(controls.best_reasoning),
            "oracle": _rounded(controls.oracle),
            "panel_oracle": _rounded(controls.panel_oracle),
        },
        "chosen": tuned.chosen,
        "chosen_kind": tuned.kind,
        "disputes": None if tuned.disputes is None else _disputes(tuned, tuned.disputes),
        "few_questions": tuned.few,
    }


def _point(tuned: Tuned, point: Point) -> dict[str, Any]:
    return {
        "config": tuned.config_of(point),
        "members": list(point.members),
        "strategy": strategy_of(point.ensemble),
        "aggregator": aggregator_of(point.ensemble),
        "escalate": escalation_of(tuned.answers, point.ensemble),
        "accuracy_cv": _rounded(point.accuracy.value),
        "ci95": _interval(point.accuracy),
        "vs_reference": None if point.versus is None else _difference(point.versus),
        "cost_per_1000": point.cost,
        "calls_per_question": _rounded(point.calls),
        "escalation_rate": _rounded(point.asked),
        "latency_ms": point.latency_ms,
        "early_latency_ms": point.early_ms,
        "break_even_output_tokens": point.break_even,
    }


def _single(found: SingleModel) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "model": found.model,
        "accuracy": _rounded(found.accuracy.value),
        "ci95": _interval(found.accuracy),
        "cost_per_1000": found.cost,
    }
    if found.versus is not None:
        versus = _difference(found.versus)
        fields |= {"diff": versus["diff"], "diff_ci95": versus["ci95"]}
    return fields


def _repeat(repeat: Repeat) -> dict[str, Any]:
    return {
        "model": repeat.model,
        "times": repeat.times,
        "accuracy": _rounded(repeat.accuracy.value),
        "ci95": _interval(repeat.accuracy),
        "cost_per_1000": repeat.cost,
    }


def _difference(found: Estimate) -> dict[str, Any]:
    return {"diff": _rounded(found.value), "ci95": _interval(found)}


def _rounded(value: float) -> float:
    return round(value, 6)


def _interval(found: Estimate) -> list[float]:
    return [_rounded(found.low), _rounded(found.high)]


def _disputes(tuned: Tuned, found: DisputeRules) -> dict[str, Any]:
    return {
        "members": list(found.members),
        "disputed": _rounded(found.disputed),
        "rules": [
            {
                "rule": rule.name,
                "escalate": escalation_of(tuned.answers, rule.ensemble),
                "accuracy": _rounded(rule.accuracy.value),
                "ci95": _interval(rule.accuracy),
                "behind_best": None if rule.behind is None else _difference(rule.behind),
                "cost_per_1000": rule.cost,
                "calls_per_question": _rounded(rule.calls),
            }
            for rule in found.rules
        ],
        "best": found.best.name,
        "clear": not found.rivals,
    }
