"""The plot of a tuning, read back from what it drew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from emerge_core.evals.report import canvas
from emerge_core.evals.report.tuning_page import tuning_page
from emerge_core.evals.report.tuning_plot import tuned_plot
from emerge_core.evals.tune.settings import TuneSettings
from emerge_core.evals.tune.table import advice, table
from emerge_core.evals.tune.tuning import tune, tune_answers
from tests.evals.tune.test_tune import make
from tests.support.simulated_answers import World, simulate

Write = Callable[[Path, Sequence[Any]], None]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that are made into pictures."""
    figures: list[Any] = []
    real = canvas.png

    def kept(figure: Any) -> bytes:
        figures.append(figure)
        return real(figure)

    monkeypatch.setattr(canvas, "png", kept)
    return figures


def test_frontier_models_and_the_choice_are_in_the_picture(tmp_path: Path, write_rows: Write, drawn: list[Any]) -> None:
    tuned = tune(TuneSettings(recordings=make(tmp_path, write_rows, samples=3), task="made", seeds=1))
    assert tuned_plot(tuned).startswith(b"\x89PNG")
    (axes,) = drawn[0].axes
    chosen = tuned.points[tuned.chosen]
    assert f"{100 * chosen.accuracy.value:.1f} % right" in axes.get_title(loc="left")
    assert advice(tuned).split()[-1] in axes.get_title(loc="left")
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


def test_the_page_answers_first_and_agrees_with_the_terminal() -> None:
    answers = simulate(World(members=(0.7, 0.68, 0.66), target=0.85, disputed=0.6, shown=0.9), 90, 1)
    names = ("amber", "birch", "<b>cedar</b>", "titan")
    texts = dict(zip(names, answers.texts.values(), strict=True))
    known = dict(zip(names, answers.known.values(), strict=True))
    tuned = tune_answers(
        replace(answers, models=names, texts=texts, known=known), TuneSettings(task="simulated", seeds=2)
    )
    page = tuning_page(tuned)
    places = [
        page.index(each) for each in ("Which models: ", "Why: ", "What it costs: ", "How sure: ", "<img", "<table")
    ]
    assert places == sorted(places)
    assert "90 questions are too few" in page
    assert "<b>" not in page
    assert "When the panel disagrees" in page
    terminal = table(tuned)
    assert max(map(len, terminal.splitlines())) <= 100
    for point in tuned.points:
        assert f"{100 * point.accuracy.value:.1f}" in terminal
        assert f"{100 * point.accuracy.value:.1f}" in page


@pytest.mark.filterwarnings("error")
def test_without_prices_accuracies_alone_are_drawn(drawn: list[Any]) -> None:
    answers = simulate(World(target=0.85), 60, 1)
    known = {name: replace(each, price=None) for name, each in answers.known.items()}
    tuned = tune_answers(replace(answers, known=known), TuneSettings(task="simulated", seeds=1))
    assert tuned_plot(tuned).startswith(b"\x89PNG")
    (axes,) = drawn[0].axes
    assert any(label.get_text().startswith("chosen: ") for label in axes.get_yticklabels())
    assert "no cost is known" in axes.get_xlabel()
