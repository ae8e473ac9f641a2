"""Tuning for several tasks: one ensemble per form, one config with routes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from emerge_core.cli import main
from emerge_core.config import parse_config
from emerge_core.errors import EmergeError
from emerge_core.evals.compare.measure import CompareSettings
from emerge_core.evals.compare.measure_mix import compare_tasks
from emerge_core.evals.offline.ensembles import evaluate
from emerge_core.evals.recordings.mixture import split_id
from emerge_core.evals.tune.settings import TuneSettings
from emerge_core.evals.tune.tasks import TunedTasks, tune_tasks
from emerge_core.evals.tune.tasks_table import tasks_json, tasks_table

MODELS = ("amber", "birch", "cedar")


def quiet(name: str, count: int) -> Callable[[], object]:
    return lambda: None


def settings(recordings: Path) -> TuneSettings:
    return TuneSettings(task="", recordings=recordings, models=MODELS, seeds=1)


@pytest.fixture(scope="module")
def found(simulated: Path) -> TunedTasks:
    return tune_tasks(settings(simulated), ["sums", "facts", "calls", "essays"], mix="sums=1,facts=3,calls=2,essays=2")


def test_tasks_of_one_form_are_tuned_together_by_their_weights(found: TunedTasks) -> None:
    assert {form: each.tasks for form, each in found.forms.items()} == {
        "tools": ("calls",),
        "short": ("sums", "facts"),
        "open_ended": ("essays",),
    }
    assert {form: each.weight for form, each in found.forms.items()} == {
        "tools": 0.25,
        "short": 0.5,
        "open_ended": 0.25,
    }
    pooled = found.forms["short"].tuned.answers.questions
    counts = {task: sum(split_id(id_)[0] == task for id_ in pooled) for task in ("sums", "facts")}
    assert counts == {"sums": 27, "facts": 80}
    assert found.forms["open_ended"].tuned.answers.graded
    assert found.forms["open_ended"].tuned.kind == "single"


def test_the_mix_is_the_weighted_mean_of_its_forms(found: TunedTasks) -> None:
    choices = {form: each.tuned.choice for form, each in found.forms.items()}
    weights = {form: each.weight for form, each in found.forms.items()}
    assert found.accuracy.value == pytest.approx(sum(weights[form] * choices[form].accuracy.value for form in weights))
    assert found.cost == pytest.approx(sum(weights[form] * (choices[form].cost or 0) for form in weights))
    assert found.accuracy.low < found.accuracy.value < found.accuracy.high


def test_the_config_routes_every_form_and_answers_as_it_was_tuned(found: TunedTasks, simulated: Path) -> None:
    config = parse_config(json.dumps(found.config), source="written")
    assert config.default == "emerge"
    assert config.ensembles["emerge"].routes == {
        "tools": "emerge-tools",
        "json": "emerge-short",
        "choices": "emerge-short",
        "short": "emerge-short",
        "open_ended": "emerge-open-ended",
    }
    compared = asyncio.run(
        compare_tasks(CompareSettings(config=config, recordings=simulated, limit=6), ["sums", "essays"], quiet)
    )
    for task, form in (("sums", "short"), ("essays", "open_ended")):
        tuned = found.forms[form].tuned  # type: ignore[index]
        offline = evaluate(tuned.answers, tuned.choice.ensemble)
        scores = {id_: float(score) for id_, score in zip(tuned.answers.questions, offline.score, strict=True)}
        comparison = compared.tasks[task].comparison
        both = [
            (scores[f"{task}/{id_}"], outcome.score)
            for id_, outcome in zip(comparison.ids, comparison.ensembles["emerge"] or (), strict=True)
            if f"{task}/{id_}" in scores
        ]
        assert both and all(np.isclose(ours, theirs) for ours, theirs in both), task


def test_it_is_told_per_task_and_for_the_mix(found: TunedTasks) -> None:
    printed, figures = tasks_table(found), tasks_json(found)
    assert "one config, with a route for each form:" in printed
    assert "json by that of short, choices by that of short" in " ".join(printed.split())
    assert "on the questions that it was chosen by: sums" in printed
    assert set(figures["forms"]) == {"tools", "short", "open_ended"}
    assert figures["mix"]["weights"] == {"sums": 0.125, "facts": 0.375, "calls": 0.25, "essays": 0.25}
    assert set(figures["forms"]["short"]["accuracy_by_task"]) == {"sums", "facts"}
    json.dumps(figures)


def test_the_command_writes_the_config(simulated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, config = tmp_path / "out.json", tmp_path / "emerge.yaml"
    arguments = ["tune", "--recordings", str(simulated), "--models", "amber,birch", "--seeds", "1", "--no-frontier"]
    written = ["--json", str(out), "--config-out", str(config)]
    assert main([*arguments, "--tasks", "picks,essays", *written]) == 0
    assert "one config, with a route for each form" in capsys.readouterr().out
    assert json.loads(out.read_text())["config"] == yaml.safe_load(config.read_text())
    assert parse_config(config.read_text(), source="written").ensembles["emerge"].routes["choices"] == "emerge-choices"
    assert main([*arguments, "--task", "picks", "--mix", "picks=1"]) == 2
    assert "--mix weighs several tasks" in capsys.readouterr().err
    assert main([*arguments, "--tasks", "picks,essays", "--png", str(tmp_path / "x.png")]) == 2
    assert "--png shows the search for one task" in capsys.readouterr().err


def test_what_cannot_be_tuned_is_said(simulated: Path) -> None:
    with pytest.raises(EmergeError, match="essays: a task without weight cannot be tuned for"):
        tune_tasks(settings(simulated), ["sums", "essays"], mix="sums=1,essays=0")
    with pytest.raises(EmergeError, match="no answers of omega are recorded in sums"):
        tune_tasks(
            TuneSettings(task="", recordings=simulated, models=("omega",)),
            ["sums", "essays"],
        )
