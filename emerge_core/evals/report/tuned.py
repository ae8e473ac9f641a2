"""The plot of a tuning: what each budget buys, beside every frontier model and the best member alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from emerge_core.evals.report import canvas
from emerge_core.evals.report.canvas import BLUE, GREEN, GREY, ORANGE, RED
from emerge_core.evals.resampling import Estimate
from emerge_core.evals.tune import Tuned

MANY = 5  # costs that differ by more are shown on a logarithmic axis


class _Spot(NamedTuple):
    name: str
    cost: float | None  # US dollars per 1,000 questions
    accuracy: Estimate


def tuned_plot(tuned: Tuned) -> bytes:
    """A PNG. Single models bear numbers, which a list beside the plot names."""
    controls, chosen = tuned.controls, tuned.points[tuned.chosen]
    figure, axes = canvas.figure(10.5, 5.4)
    points = [_Spot("", point.cost, point.accuracy) for point in tuned.points]
    known = [(spot.cost, 100 * spot.accuracy.value) for spot in points if spot.cost is not None]
    axes.plot(*zip(*known, strict=True) if known else ([], []), color=BLUE, lw=1, alpha=0.6)
    _draw(axes, points, BLUE, "o", "tuned ensembles (on unseen questions)")
    _draw(axes, [_Spot("", chosen.cost, chosen.accuracy)], RED, "*", "the chosen one", size=15)
    _draw(
        axes, [_Spot("", controls.panel.cost, controls.panel.accuracy)], GREEN, "s", "best panel that asks nobody else"
    )
    if controls.repeated:
        again = controls.repeated
        label = f"{again.model} asked {again.times} times"
        _draw(axes, [_Spot("", again.cost, again.accuracy)], ORANGE, "^", label)
    models = [
        _Spot(name, controls.frontier_cost[name], found)
        for name, found in sorted(controls.frontier.items(), key=lambda each: -each[1].value)
    ]
    single = _Spot(f"{controls.best_single} (member)", controls.best_single_cost, controls.best_single_accuracy)
    _draw(axes, [single, *models], GREY, "D", "one model", numbered=True)
    costs = [spot.cost for spot in (*points, single, *models) if spot.cost]
    if costs and max(costs) > MANY * min(costs):
        canvas.logarithmic(axes)
    axes.set_title(_finding(tuned), fontsize=10, loc="left")
    axes.set_xlabel("US dollars per 1,000 questions")
    axes.set_ylabel("questions answered right, %  (bars: 95 % intervals)")
    names = [f"{number} {spot.name}" for number, spot in enumerate([single, *models], 1) if spot.cost is not None]
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=8, frameon=False)
    axes.text(1.02, 0.0, "\n".join(names), transform=axes.transAxes, fontsize=7.5, va="bottom")
    return canvas.png(figure)


def _finding(tuned: Tuned) -> str:
    chosen = tuned.points[tuned.chosen]
    said = f"{tuned.answers.task}: {100 * chosen.accuracy.value:.1f} % right"
    if chosen.cost is not None:
        said += f" for ${chosen.cost:.2f} per 1,000 questions"
    if tuned.reference and chosen.versus:
        low, high = 100 * chosen.versus.low, 100 * chosen.versus.high
        said += f"; {100 * chosen.versus.value:+.1f} points ({low:+.1f} to {high:+.1f}) against {tuned.reference}"
    return said


def _draw(
    axes: Any, spots: Sequence[_Spot], colour: str, mark: str, label: str, *, size: float = 6, numbered: bool = False
) -> None:
    for number, spot in enumerate(spots, 1):
        if spot.cost is None:
            continue
        value, low, high = (100 * each for each in spot.accuracy)
        bars = [[value - low], [high - value]]
        axes.errorbar(
            [spot.cost], [value], yerr=bars, fmt=mark, color=colour, ms=size, capsize=2, elinewidth=0.8, label=label
        )
        label = "_"  # one entry in the legend
        if numbered:
            axes.annotate(str(number), (spot.cost, value), (5, 4), textcoords="offset points", fontsize=8)
