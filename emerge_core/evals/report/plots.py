"""The report's plots as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from statistics import fmean as mean
from typing import Any

import numpy as np

from emerge_core.evals.diversity.unlabelled import Reliability
from emerge_core.evals.report import canvas, scatter
from emerge_core.evals.report.canvas import BLUE, GREEN, GREY, ORANGE, RED
from emerge_core.evals.report.figures import Contents
from emerge_core.evals.statistics.resampling import Estimate
from emerge_core.evals.tables import percent

PALETTE = (BLUE, ORANGE, GREEN, RED, "#CC79A7", "#56B4E9", "#000000", "#999933")
MARKS = "osD^vPX*"


def plots(contents: Contents) -> dict[str, bytes]:
    """By name, those for which there are figures."""
    drawn = {"errors": _errors(contents)} if len(contents.models) > 1 else {}
    if any(not isnan(spot.cost) for spot in contents.models):
        drawn["cost"] = _cost(contents)
    if contents.trios:
        drawn["gain"] = _gain(contents)
    if contents.curves:
        drawn["calibration"] = _calibration(contents)
    return drawn


def reliability_plots(found: Reliability, known: dict[str, float] | None = None) -> dict[str, bytes]:
    order = sorted(range(len(found.models)), key=lambda m: -found.accuracy[m].value)
    names = [found.models[m] for m in order]
    figure, axes = canvas.figure(8.0, 1.2 + 0.36 * len(names))
    places = np.arange(len(names))[::-1]
    _dots(axes, [found.accuracy[m] for m in order], places, BLUE, "o", "estimated from agreement, 95 % interval")
    if known:
        axes.plot([100 * known[n] for n in names], places, "D", color=RED, mfc="none", label="truly right", zorder=4)
    axes.set_yticks(places, names)
    axes.set_xlabel("questions answered right, %")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=8, frameon=False)
    best = found.accuracy[order[0]]
    _title(axes, f"{names[0]} seems the most reliable: right on {percent(best)} %, judged by agreement alone")
    matrix = found.agreement[np.ix_(order, order)]
    return {
        "reliability": canvas.png(figure),
        "agreement": _matrix(matrix, names, [], "same answer, % of questions", 100, _most_alike(matrix, names)),
    }


def _most_alike(agreement: Any, names: Sequence[str]) -> str:
    """Which two models give the same answer most often."""
    if len(names) < 2:
        return ""
    pairs = {(a, b): agreement[a, b] for a in range(len(names)) for b in range(a) if not isnan(agreement[a, b])}
    if not pairs:
        return ""
    a, b = max(pairs, key=lambda pair: pairs[pair])
    return f"{names[b]} and {names[a]} agree most often, on {100 * pairs[a, b]:.0f} % of the questions"


def _errors(contents: Contents) -> bytes:
    names = [spot.name for spot in contents.models]
    matrix = np.full((len(names), len(names)), np.nan)
    related = []
    for pair in contents.diversity.pairs:
        a, b = names.index(pair.a), names.index(pair.b)
        matrix[a, b] = matrix[b, a] = pair.phi.value
        related += [(a, b), (b, a)] if pair.same_family else []
    known = [pair for pair in contents.diversity.pairs if not isnan(pair.phi.value)]
    least = min(known, key=lambda pair: pair.phi.value, default=None)
    title = f"{least.a} and {least.b} fail most independently (phi {least.phi.value:.2f})" if least else ""
    return _matrix(matrix, names, related, "error correlation (phi)", 1, title)


def _matrix(
    matrix: Any, names: Sequence[str], related: Sequence[tuple[int, int]], label: str, scale: int, title: str
) -> bytes:
    size = 2.6 + 0.52 * len(names)
    figure, axes = canvas.figure(size + 1.6, size)
    shown = np.array(matrix, dtype=float)
    np.fill_diagonal(shown, np.nan)
    low, high = (0.0, 1.0) if np.isnan(shown).all() else (float(np.nanmin(shown)), float(np.nanmax(shown)))
    image = axes.imshow(shown * scale, cmap="cividis", vmin=low * scale, vmax=max(high, low + 0.01) * scale)
    axes.grid(visible=False)
    for a, b in np.argwhere(~np.isnan(shown)):
        text = f"{100 * shown[a, b]:.0f}" if scale == 100 else f"{shown[a, b]:.2f}"
        dark = shown[a, b] < low + 0.55 * (high - low)
        axes.text(b, a, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
    for a, b in related:
        axes.add_patch(_rectangle(b, a))
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axes.set_yticks(range(len(names)), names)
    figure.colorbar(image, ax=axes, label=label, shrink=0.8)
    _title(axes, title + ("\noutlined: same family" if related else ""))
    return canvas.png(figure)


def _cost(contents: Contents) -> bytes:
    figure, axes = canvas.figure(9.6, 5.2)
    scatter.draw(axes, contents.models, BLUE, "o", "one model, 95 %")
    scatter.draw(axes, contents.best_for_cost, RED, "D", "vote of three (the best for their cost), 95 %")
    scatter.scale(axes, (*contents.models, *contents.best_for_cost))
    graded = contents.diversity.graded
    axes.set_ylabel("mean score, % of the highest" if graded else "questions answered right, %")
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.12), ncols=2, fontsize=8, frameon=False)
    best = max(contents.models, key=lambda spot: spot.accuracy.value)
    votes = contents.best_for_cost
    known = " of known cost" if any(isnan(trio.cost) for trio in contents.trios) else ""
    dearest = f", the best vote of three{known} {100 * votes[-1].accuracy.value:.1f} %" if votes else ""
    does = "scores" if graded else "is right on"
    _title(axes, f"{best.name} alone {does} {100 * best.accuracy.value:.1f} %{dearest}")
    scatter.number(figure, axes, contents.models, votes, BLUE)
    return canvas.png(figure)


def _gain(contents: Contents) -> bytes:
    figure, axes = canvas.figure(8.6, 4.8)
    for same, colour, mark, label in ((False, BLUE, "o", "several families"), (True, ORANGE, "s", "one family")):
        trios = [trio for trio in contents.trios if trio.same_family is same]
        if trios:
            x, y = ([100 * getattr(trio, name) for trio in trios] for name in ("spread", "gain"))
            axes.plot(
                x, y, mark, color=colour, ms=4, alpha=0.65, mew=0, label=f"{label} ({len(trios)} panels of three)"
            )
    axes.axhline(0, color=GREY, lw=1)
    axes.set_xlabel("best less worst member, percentage points")
    axes.set_ylabel("vote less best member, points")
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.12), ncols=2, fontsize=8, frameon=False)
    better = sum(trio.gain > 0 for trio in contents.trios)
    _title(axes, f"{better} of {len(contents.trios)} votes of three are better than their best member")
    return canvas.png(figure)


def _calibration(contents: Contents) -> bytes:
    figure, axes = canvas.figure(6.6, 5.6)
    axes.plot([0, 100], [0, 100], "--", color=GREY, lw=1, label="calibrated")
    for number, curve in enumerate(contents.curves[: len(PALETTE)]):
        x, y = [100 * value for value in curve.confidence], [100 * value for value in curve.right]
        axes.plot(x, y, marker=MARKS[number], color=PALETTE[number], lw=1.2, ms=5, label=curve.model)
    axes.set_xlabel("stated confidence, %")
    axes.set_ylabel("right, %")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=7, frameon=False)
    boastful = [curve.model for curve in contents.curves if mean(curve.confidence) > mean(curve.right)]
    _title(axes, f"{len(boastful)} of {len(contents.curves)} models are surer than they are right")
    return canvas.png(figure)


def _title(axes: Any, finding: str) -> None:
    """Every plot's title says what it shows."""
    axes.set_title(finding, fontsize=10, loc="left")


def _dots(axes: Any, found: Sequence[Estimate], places: Any, colour: str, mark: str, label: str) -> None:
    values = np.array(found) * 100
    bars = [values[:, 0] - values[:, 1], values[:, 2] - values[:, 0]]
    axes.errorbar(values[:, 0], places, xerr=bars, fmt=mark, color=colour, capsize=3, label=label)


def _rectangle(x: float, y: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.46, y - 0.46), 0.92, 0.92, fill=False, ec=ORANGE, lw=2)
