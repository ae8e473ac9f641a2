"""The number of questions, checked against what simulated comparisons find."""

from __future__ import annotations

import math

import numpy as np
import pytest

from emerge_core.errors import EmergeError
from emerge_core.evals.statistics.power import detectable, mcnemar, questions_needed


@pytest.mark.parametrize(
    ("difference", "disagreement", "power"), [(0.02, 0.15, 0.8), (0.05, 0.1, 0.8), (0.05, 0.3, 0.9), (0.1, 0.2, 0.8)]
)
def test_simulated_comparisons_find_the_difference_as_often_as_planned(
    difference: float, disagreement: float, power: float
) -> None:
    size = questions_needed(difference, disagreement, power=power).questions
    won, lost = (disagreement + difference) / 2, (disagreement - difference) / 2
    drawn = np.random.default_rng(3).multinomial(size, [won, lost, 1 - won - lost], size=4000)
    found = np.mean([mcnemar(int(w), int(v)) < 0.05 and w > v for w, v, _ in drawn])
    assert found == pytest.approx(power, abs=0.03)


def test_without_a_difference_it_is_found_at_the_level() -> None:
    drawn = np.random.default_rng(4).multinomial(2000, [0.1, 0.1, 0.8], size=4000)
    assert np.mean([mcnemar(int(w), int(v)) < 0.05 for w, v, _ in drawn]) == pytest.approx(0.05, abs=0.015)


def test_what_can_be_told_is_the_inverse() -> None:
    size = questions_needed(0.03, 0.2).questions
    assert detectable(size, 0.2) == pytest.approx(0.03, abs=1e-4)
    assert detectable(size, 0.2) > detectable(4 * size, 0.2)
    assert math.isnan(detectable(5, 0.05))
    assert mcnemar(0, 0) == 1.0


@pytest.mark.parametrize(("difference", "disagreement"), [(0.0, 0.1), (0.2, 0.1), (0.1, 1.1)])
def test_impossible_plans_are_errors(difference: float, disagreement: float) -> None:
    with pytest.raises(EmergeError, match=r"cannot be"):
        questions_needed(difference, disagreement)
