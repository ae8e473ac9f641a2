"""Printed intervals hold the truth: a fast version of tests/bench/coverage.py, whose table is in the room's README."""

from __future__ import annotations

import numpy as np

from emerge_core.evals.offline.ensembles import Design, evaluate, fit
from emerge_core.evals.statistics.intervals import paired
from emerge_core.evals.tune.settings import TuneSettings
from emerge_core.evals.tune.tuning import tune_answers
from tests.support.simulated_answers import World, simulate

WORLD = World((0.70, 0.68, 0.66), target=0.85, disputed=0.6, shown=0.85)
RUNS = 16


def test_the_intervals_of_a_tuning_hold_the_truth_of_the_written_config() -> None:
    truth = simulate(WORLD, 4000, 999)
    of_target = float(truth.score[3].mean())
    differences = accuracies = 0
    for seed in range(RUNS):
        choice = tune_answers(simulate(WORLD, 60, seed), TuneSettings(task="simulated", seeds=2)).choice
        true = float(evaluate(truth, choice.ensemble).score.mean())
        assert choice.versus is not None
        differences += choice.versus.low <= true - of_target <= choice.versus.high
        accuracies += choice.accuracy.low <= true <= choice.accuracy.high
    assert differences >= RUNS - 2
    assert accuracies >= RUNS - 3


def test_the_paired_interval_of_a_comparison_holds_the_truth_at_30_questions() -> None:
    truth, random, held = simulate(WORLD, 4000, 999), np.random.default_rng(1), 0
    panel = fit(truth, Design((0, 1, 2), "vote", 3, 3, "replace", ordered_members=True), np.arange(4000))
    ours, theirs = evaluate(truth, panel).score, truth.score[3]
    true = float((ours - theirs).mean())
    for _ in range(400):
        drawn = random.integers(0, 4000, 30)
        low, high = paired(ours[drawn].tolist(), theirs[drawn].tolist())[1]
        held += low <= true <= high
    assert held >= 0.93 * 400
