from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from emerge_core.evals.statistics.intervals import (
    accuracy,
    accuracy_outcomes,
    paired,
    paired_outcomes,
    t_quantile,
    wilson,
)
from emerge_core.evals.statistics.resampling import Draws


@pytest.mark.parametrize(
    ("right", "of", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (8, 10, 0.4902, 0.9433), (619, 643, 0.9450, 0.9748), (0, 0, 0, 1)],
)
def test_wilson(right: int, of: int, low: float, high: float) -> None:
    assert wilson(right, of) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(
    ("degrees", "quantile"), [(5, 2.5706), (10, 2.2281), (29, 2.0452), (99, 1.9842), (9999, 1.9602)]
)
def test_quantiles_of_student(degrees: int, quantile: float) -> None:
    assert t_quantile(degrees) == pytest.approx(quantile, abs=1e-2)


def test_paired_is_tighter_than_two_intervals_and_repeatable() -> None:
    theirs = [True] * 700 + [False] * 300
    ours = [True] * 720 + [False] * 280
    difference, interval = paired(ours, theirs)
    assert difference == pytest.approx(0.02)
    assert 0.01 < interval.low < 0.02 < interval.high < 0.03
    assert paired(ours, theirs) == (difference, interval)


def test_paired_by_hand() -> None:
    """Ten questions, three won and one lost: (4 - 2) / 12, and 2.2622 times the root of (6 / 12 - 1 / 36) / 12."""
    difference, interval = paired([1] * 3 + [0] + [1] * 6, [0] * 3 + [1] + [1] * 6)
    assert difference == pytest.approx(0.2)
    reach = 2.2622 * ((6 / 12 - 1 / 36) / 12) ** 0.5
    assert interval == pytest.approx((1 / 6 - reach, 1 / 6 + reach), abs=1e-3)


def test_no_interval_is_without_width() -> None:
    """Models that never differ on thirty questions may yet differ."""
    difference, interval = paired([True] * 30, [True] * 30)
    assert difference == 0.0
    assert interval.low < -0.05
    assert interval.high > 0.05
    assert paired([], []) == (0.0, (0.0, 0.0))


@pytest.mark.parametrize(("won", "lost"), [(0.02, 0.02), (0.1, 0.05), (0.3, 0.1), (0.005, 0.0)])
def test_paired_intervals_cover_at_thirty_questions(won: float, lost: float) -> None:
    random = np.random.default_rng(1)
    outcomes = random.choice([1.0, -1.0, 0.0], p=[won, lost, 1 - won - lost], size=(1000, 30))
    found = [paired_outcomes(each[None])[1] for each in outcomes]
    covered = np.mean([interval.low <= won - lost <= interval.high for interval in found])
    assert covered >= 0.93


def test_partitions_of_one_sample_make_no_interval_tighter() -> None:
    random = np.random.default_rng(2)
    outcomes = random.choice([1.0, -1.0, 0.0], p=[0.2, 0.1, 0.7], size=(1, 100))
    once = paired_outcomes(outcomes, folds=5)[1]
    again = paired_outcomes(np.repeat(outcomes, 10, axis=0), folds=5)[1]
    plain = paired_outcomes(outcomes)[1]
    assert again == pytest.approx(once)
    assert once.high - once.low == pytest.approx((plain.high - plain.low) * 1.25**0.5)
    wider = paired_outcomes(outcomes, folds=5, extra=0.01)[1]
    assert wider.high - wider.low > 1.5 * (once.high - once.low)


def test_an_accuracy_of_unseen_questions_counts_fewer_questions() -> None:
    scores = np.array([[1.0] * 90 + [0.0] * 10])
    assert accuracy_outcomes(scores, folds=5) == pytest.approx(wilson(72, 80))
    assert accuracy(scores[0]) == pytest.approx(wilson(90, 100))
    unsure = accuracy_outcomes(scores, folds=5, extra=0.002)
    assert unsure.high - unsure.low > 1.3 * (wilson(72, 80).high - wilson(72, 80).low)


def test_graded_means_have_bootstrap_intervals() -> None:
    scores = np.random.default_rng(3).random(200)
    low, high = accuracy(scores.tolist(), graded=True)
    spread = 1.96 * scores.std() / 200**0.5
    assert (low, high) == pytest.approx((scores.mean() - spread, scores.mean() + spread), abs=0.01)
    difference, interval = paired(scores.tolist(), (scores - 0.1).tolist(), graded=True)
    assert difference == pytest.approx(0.1)
    assert interval == pytest.approx((0.1, 0.1))


def test_resamples_of_many_questions_take_a_byte_each_and_give_the_same_means() -> None:
    questions, resamples = 25_000, 60
    right = np.random.default_rng(1).random((3, questions)) < 0.7
    drawn = np.random.default_rng(5).multinomial(questions, np.full(questions, 1 / questions), size=resamples)
    tracemalloc.start()
    draws = Draws(questions, resamples, 5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < questions * (resamples + 8 * 20 + 20) * 1.2
    assert (draws.means(right).drawn == right.astype(np.float64) @ drawn.T / questions).all()
