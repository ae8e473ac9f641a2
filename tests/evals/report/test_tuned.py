"""The plot of a tuning, read back from what it drew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from emerge_core.evals.report import canvas
from emerge_core.evals.report.tuning_plot import tuned_plot
from emerge_core.evals.tune.settings import TuneSettings
from emerge_core.evals.tune.tuning import tune
from tests.evals.tune.test_tune import make

Write = Callable[[Path, Sequence[Any]], None]


def test_frontier_models_and_the_choice_are_in_the_picture(
    tmp_path: Path, write_rows: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    real = canvas.png

    def kept(figure: Any) -> bytes:
        drawn.append(figure)
        return real(figure)

    monkeypatch.setattr(canvas, "png", kept)
    tuned = tune(TuneSettings(recordings=make(tmp_path, write_rows, samples=3), task="made", seeds=1))
    assert tuned_plot(tuned).startswith(b"\x89PNG")
    (axes,) = drawn[0].axes
    chosen = tuned.points[tuned.chosen]
    assert f"{100 * chosen.accuracy.value:.1f} % right" in axes.get_title(loc="left")
    places = {tuple(round(float(each), 6) for each in line.get_xydata()[0]) for line in axes.get_lines()}
    for cost, accuracy in (
        (chosen.cost, chosen.accuracy.value),
        (tuned.controls.frontier_cost["max"], tuned.controls.frontier["max"].value),
        (tuned.controls.best_single.cost, tuned.controls.best_single.accuracy.value),
    ):
        assert (round(float(cost or 0), 6), round(100 * accuracy, 6)) in places
    texts = "\n".join(text.get_text() for text in axes.texts)
    assert "2 max" in texts
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert any("asked 3 times" in label for label in labels)
