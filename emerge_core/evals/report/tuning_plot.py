"""The plot of a tuning: what each budget buys, beside every frontier model and the best member alone."""

from __future__ import annotations

from math import isnan, nan

from emerge_core.evals.report import canvas, scatter
from emerge_core.evals.report.canvas import BLUE, GREEN, GREY, ORANGE, RED
from emerge_core.evals.report.scatter import Spot
from emerge_core.evals.statistics.resampling import Estimate
from emerge_core.evals.tune.result import Tuned


def tuned_plot(tuned: Tuned) -> bytes:
    """A PNG. Single models bear numbers, which a list beside the plot names."""
    controls, chosen = tuned.controls, tuned.points[tuned.chosen]
    figure, axes = canvas.figure(10.5, 5.4)
    points = [_spot("", point.cost, point.accuracy) for point in tuned.points]
    panel, again, single = controls.panel, controls.repeated, controls.best_single
    models = [
        _spot(f"{single.model} (member)", single.cost, single.accuracy),
        *(
            _spot(name, controls.frontier_cost[name], found)
            for name, found in sorted(controls.frontier.items(), key=lambda each: -each[1].value)
        ),
    ]
    known = [(spot.cost, 100 * spot.accuracy.value) for spot in points if not isnan(spot.cost)]
    axes.plot(*zip(*known, strict=True) if known else ([], []), color=BLUE, lw=1, alpha=0.6)
    scatter.draw(axes, points, BLUE, "o", "tuned ensembles (on unseen questions)")
    scatter.draw(axes, [_spot("", chosen.cost, chosen.accuracy)], RED, "*", "the chosen one", size=15)
    scatter.draw(axes, [_spot("", panel.cost, panel.accuracy)], GREEN, "s", "best panel that asks nobody else")
    if again:
        label = f"{again.model} asked {again.times} times"
        scatter.draw(axes, [_spot("", again.cost, again.accuracy)], ORANGE, "^", label)
    scatter.draw(axes, models, GREY, "D", "one model")
    scatter.scale(axes, (*points, *models))
    axes.set_title(_finding(tuned), fontsize=10, loc="left")
    axes.set_ylabel("questions answered right, %  (bars: 95 % intervals)")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=8, frameon=False)
    scatter.number(figure, axes, models, points, GREY, lowest=True)
    return canvas.png(figure)


def _spot(name: str, cost: float | None, accuracy: Estimate) -> Spot:
    return Spot(name, nan if cost is None else cost, accuracy)


def _finding(tuned: Tuned) -> str:
    chosen = tuned.points[tuned.chosen]
    said = f"{tuned.answers.task}: {100 * chosen.accuracy.value:.1f} % right"
    if chosen.cost is not None:
        said += f" for ${chosen.cost:.2f} per 1,000 questions"
    if tuned.reference and chosen.versus:
        low, high = 100 * chosen.versus.low, 100 * chosen.versus.high
        said += f"; {100 * chosen.versus.value:+.1f} points ({low:+.1f} to {high:+.1f}) against {tuned.reference}"
    return said
