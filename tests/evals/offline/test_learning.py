"""Learned numbers: sane with little data, right with much."""

from __future__ import annotations

import numpy as np
import pytest

from emerge_core.evals.offline.learning import calibrate, log_odds, reliability


def test_better_members_weigh_more_and_the_mean_is_one() -> None:
    weights = log_odds(np.array([90.0, 70.0, 50.0]), 100)
    assert weights[0] > weights[1] > weights[2] > 0
    assert weights.mean() == pytest.approx(1, abs=1e-3)


def test_few_questions_say_little() -> None:
    few, many = (log_odds(np.array([0.9, 0.6, 0.6]) * count, count) for count in (5, 5000))
    assert few[0] - few[1] < (many[0] - many[1]) / 2


def test_even_hopeless_members_have_a_weight() -> None:
    assert (log_odds(np.array([50.0, 0.0, 0.0]), 50) > 0).all()


def test_reliability_is_never_certain() -> None:
    assert reliability(np.array([10.0, 0.0]), 10) == (0.9167, 0.0833)


def test_a_calibration_is_ascending_and_ends_at_one() -> None:
    random = np.random.default_rng(2)
    stated = np.round(random.random(2000), 2)
    found = calibrate(stated, random.random(2000) < 0.2 + 0.6 * stated)  # says 0.9, is right in 0.74
    bounds, accuracies = zip(*found, strict=True)
    assert list(bounds) == sorted(set(bounds))
    assert list(accuracies) == sorted(set(accuracies))
    assert bounds[-1] == 1.0
    assert {type(number) for bin_ in found for number in bin_} == {float}  # which any config file can hold
    assert len(found) > 4
    middles = (np.array([0.0, *bounds[:-1]]) + np.array(bounds)) / 2
    assert accuracies == pytest.approx(0.2 + 0.6 * middles, abs=0.08)


def test_a_boast_is_worth_what_it_proved() -> None:
    ((bound, accuracy),) = calibrate(np.ones(40), np.arange(40) < 10)
    assert bound == 1.0
    assert accuracy == pytest.approx(0.25, abs=0.01)


def test_more_confidence_never_means_less() -> None:
    stated = np.linspace(0, 1, 400)
    assert len(calibrate(stated, stated < 0.5)) == 1  # the more certain, the more wrong: it says nothing


def test_bounds_keep_away_from_what_was_stated() -> None:
    stated = np.repeat([0.5, 0.9], 100)
    found = calibrate(stated, np.repeat([False, True], 100))
    assert found[0][0] == pytest.approx(0.7)


def test_of_nothing_there_is_no_calibration() -> None:
    assert calibrate(np.array([]), np.array([], dtype=np.bool_)) == ()
