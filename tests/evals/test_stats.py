from __future__ import annotations

import pytest

from emerge_core.evals.statistics.intervals import paired, wilson


@pytest.mark.parametrize(
    ("right", "of", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (8, 10, 0.4902, 0.9433), (619, 643, 0.9450, 0.9748), (0, 0, 0, 1)],
)
def test_wilson(right: int, of: int, low: float, high: float) -> None:
    assert wilson(right, of) == pytest.approx((low, high), abs=1e-4)


def test_paired_is_tighter_than_two_intervals_and_repeatable() -> None:
    theirs = [True] * 700 + [False] * 300
    ours = [True] * 720 + [False] * 280
    difference, interval = paired(ours, theirs)
    assert difference == pytest.approx(0.02)
    assert 0.01 < interval.low < 0.02 < interval.high < 0.03
    assert paired(ours, theirs) == (difference, interval)


def test_paired_without_a_difference() -> None:
    assert paired([True, False], [True, False]) == (0.0, (0.0, 0.0))
    assert paired([], []) == (0.0, (0.0, 0.0))
    assert paired([True], [False]) == (1.0, (1.0, 1.0))
