"""The plot of a tuning: what each budget buys, beside the frontier models and the best member alone."""

from __future__ import annotations

from math import isnan, nan
from textwrap import shorten, wrap
from typing import Any

from emerge_core.evals.report import canvas, scatter
from emerge_core.evals.report.canvas import BLUE, GREEN, GREY, ORANGE, RED
from emerge_core.evals.report.scatter import Spot
from emerge_core.evals.statistics.resampling import Estimate
from emerge_core.evals.tune.result import Tuned
from emerge_core.evals.tune.table import advice


def tuned_plot(tuned: Tuned) -> bytes:
    """A PNG that names the choice. Single models bear numbers, which a list beside the plot names. If no cost is
    known, accuracies alone, one line each."""
    if all(isnan(spot.cost) for spot in (*_points(tuned), *_models(tuned))):
        return _ranked(tuned)
    controls = tuned.controls
    figure, axes = canvas.figure(10.5, 5.4)
    points, models = _points(tuned), _models(tuned)
    panel, again = controls.panel, controls.repeated
    known = [(spot.cost, 100 * spot.accuracy.value) for spot in points if not isnan(spot.cost)]
    axes.plot(*zip(*known, strict=True) if known else ([], []), color=BLUE, lw=1, alpha=0.6)
    scatter.draw(axes, points, BLUE, "o", "tuned ensembles (on unseen questions)")
    chosen = tuned.choice
    scatter.draw(axes, [_spot("", chosen.cost, chosen.accuracy)], RED, "*", "the chosen one", size=15)
    scatter.draw(axes, [_spot("", panel.cost, panel.accuracy)], GREEN, "s", "best panel without a stronger model")
    if again:
        label = f"{again.model} asked {again.times} times"
        scatter.draw(axes, [_spot("", again.cost, again.accuracy)], ORANGE, "^", label)
    scatter.draw(axes, models, GREY, "D", "one model")
    scatter.scale(axes, (*points, *models))
    _title(axes, tuned)
    axes.set_ylabel(f"{_what(tuned)}  (bars: 95 % intervals)")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=8, frameon=False)
    scatter.number(figure, axes, models, points, GREY, lowest=True)
    return canvas.png(figure)


def _ranked(tuned: Tuned) -> bytes:
    """Accuracies with their intervals, the best first."""
    spots = [Spot(f"chosen: {shorten(advice(tuned), 60)}", nan, tuned.choice.accuracy), *_models(tuned)]
    spots.sort(key=lambda spot: -spot.accuracy.value)
    figure, axes = canvas.figure(9.6, 1.4 + 0.36 * len(spots))
    for place, spot in enumerate(reversed(spots)):
        value, low, high = (100 * each for each in spot.accuracy)
        colour = RED if spot.name.startswith("chosen: ") else GREY
        bars = [[max(0.0, value - low)], [max(0.0, high - value)]]
        axes.errorbar([value], [place], xerr=bars, fmt="o", color=colour, capsize=3)
    axes.set_yticks(range(len(spots)), [spot.name for spot in reversed(spots)])
    axes.set_xlabel(f"{_what(tuned)}  (bars: 95 % intervals; no cost is known)")
    _title(axes, tuned)
    return canvas.png(figure)


def _points(tuned: Tuned) -> list[Spot]:
    return [_spot("", point.cost, point.accuracy) for point in tuned.points]


def _models(tuned: Tuned) -> list[Spot]:
    """The best member and the frontier models, the most accurate first."""
    controls = tuned.controls
    single = controls.best_single
    frontier = sorted(controls.frontier.items(), key=lambda each: -each[1].value)
    return [
        _spot(f"{single.model} (member)", single.cost, single.accuracy),
        *(_spot(name, controls.frontier_cost[name], found) for name, found in frontier),
    ]


def _title(axes: Any, tuned: Tuned) -> None:
    """The finding, and below it the choice by name."""
    lines = [finding(tuned), *wrap(advice(tuned), 110)]
    axes.set_title("\n".join(lines), fontsize=10, loc="left")


def _what(tuned: Tuned) -> str:
    return "mean score, %" if tuned.answers.graded else "questions answered right, %"


def _spot(name: str, cost: float | None, accuracy: Estimate) -> Spot:
    return Spot(name, nan if cost is None else cost, accuracy)


def finding(tuned: Tuned) -> str:
    """How accurate the choice is, what it costs, and how it compares with the reference."""
    chosen = tuned.choice
    what = "mean score" if tuned.answers.graded else "right"
    said = f"{tuned.answers.task}: {100 * chosen.accuracy.value:.1f} % {what}"
    if chosen.cost is not None:
        said += f" for ${chosen.cost:.2f} per 1,000 questions"
    if tuned.reference and chosen.versus:
        low, high = 100 * chosen.versus.low, 100 * chosen.versus.high
        said += f"; {100 * chosen.versus.value:+.1f} points ({low:+.1f} to {high:+.1f}) against {tuned.reference}"
    return said
