"""Models and panels by cost and accuracy: numbered points with their intervals, and a list of names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isnan
from typing import Any, NamedTuple

import numpy as np

from emerge_core.evals.report import canvas
from emerge_core.evals.statistics.resampling import Estimate

MANY = 5  # costs that differ by more are shown on a logarithmic axis
AROUND = ((11, 0), (-11, 0), (10, 9), (-10, 9), (10, -9), (-10, -9), (19, 0), (-19, 0), (18, 10), (-18, -10))  # points


class Spot(NamedTuple):
    """A model or a panel: US dollars per 1,000 questions (NaN: not known), and how often it is right."""

    name: str
    cost: float
    accuracy: Estimate


def draw(axes: Any, spots: Iterable[Spot], colour: str, mark: str, label: str, size: float = 6) -> None:
    """Draw the spots whose cost is known, with their intervals."""
    for spot in spots:
        if isnan(spot.cost):
            continue
        value, low, high = (100 * each for each in spot.accuracy)
        bars = [[max(0.0, value - low)], [max(0.0, high - value)]]
        axes.errorbar(
            [spot.cost], [value], yerr=bars, fmt=mark, color=colour, ms=size, capsize=2, elinewidth=0.8, label=label
        )
        label = "_"  # one entry in the legend


def scale(axes: Any, spots: Iterable[Spot]) -> None:
    costs = [spot.cost for spot in spots if spot.cost > 0]
    if costs and max(costs) > MANY * min(costs):
        canvas.logarithmic(axes)
    axes.set_xlabel("US dollars per 1,000 questions")


def number(
    figure: Any, axes: Any, spots: Sequence[Spot], others: Iterable[Spot], colour: str, *, lowest: bool = False
) -> None:
    """Put a number beside each spot, clear of points and other numbers, and beside the axes (at their foot, if
    `lowest`) the list of names."""
    figure.canvas.draw()
    marks = [(spot.cost, 100 * spot.accuracy.value) for spot in (*spots, *others) if not isnan(spot.cost)]
    taken = [axes.transData.transform(mark) for mark in marks]
    point = figure.dpi / 72
    listed = []
    for count, spot in enumerate(spots, 1):
        listed.append(f"{count:>2} {spot.name}" + ("  (cost unknown)" if isnan(spot.cost) else ""))
        if isnan(spot.cost):
            continue
        mark = (spot.cost, 100 * spot.accuracy.value)
        middle = axes.transData.transform(mark)
        shift = max(AROUND, key=lambda by: min(8 * point, _room(middle + np.multiply(by, point), taken)))
        taken.append(middle + np.multiply(shift, point))
        axes.annotate(
            str(count),
            mark,
            shift,
            textcoords="offset points",
            fontsize=8,
            ha="center",
            va="center",
            color=colour,
            zorder=5,
            path_effects=canvas.halo(),  # it may stand on an interval
        )
    place = {"y": 0.0, "va": "bottom"} if lowest else {"y": 1.0, "va": "top"}
    axes.text(1.02, s="\n".join(listed), transform=axes.transAxes, fontsize=8, linespacing=1.5, **place)


def _room(at: Any, taken: Sequence[Any]) -> float:
    """The distance in pixels to the nearest of `taken`."""
    return float(min(np.hypot(*(at - other)) for other in taken))
