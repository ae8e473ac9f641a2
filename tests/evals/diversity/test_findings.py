"""What panels gain, on answers whose gain is known."""

from __future__ import annotations

import numpy as np
import pytest

from emerge_core.errors import EmergeError
from emerge_core.evals.diversity.findings import findings
from emerge_core.evals.diversity.findings_table import findings_table
from tests.evals.diversity.test_diversity import answers_of

QUESTIONS = 4000


def errors(share: float, seed: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    found: np.ndarray[tuple[int], np.dtype[np.bool_]] = np.random.default_rng(seed).random(QUESTIONS) < share
    return found


def test_equal_members_that_err_apart_gain_what_theory_says_and_a_fourth_adds_little() -> None:
    # Each wrong answer is another one, so two right of three, or one right of three where it speaks first.
    said = [np.where(errors(0.3, seed), 10 + seed, 0).tolist() for seed in range(4)]
    found = findings(answers_of(said))
    near, *farther = found.by_spread
    # right unless all are wrong, or two are and the first of three is one of them: 0.7 + 0.3 * 0.49 against 0.7
    assert near.gain.value == pytest.approx(0.3 * 0.49, abs=0.015)
    assert near.gain.low < near.gain.value < near.gain.high
    assert near.panels == 8 and all(row.panels == 0 for row in farther)  # four panels, two halves
    assert np.isnan(farther[0].gain.value)
    assert found.fourth_panels == 2
    # of four, right where the first is, or two of the other three: 0.3 * 0.784 instead of 0.3 * 0.49
    assert found.fourth.value == pytest.approx(0.3 * (0.784 - 0.49), abs=0.015)


def test_a_far_better_member_loses_by_the_vote() -> None:
    weak = errors(0.5, 1)
    said = [np.where(errors(0.05, 0), 9, 0).tolist(), *(np.where(weak, 1, 0).tolist() for _ in range(3))]
    rows = {row.low: row for row in findings(answers_of(said)).by_spread}
    assert rows[0.20].panels == 6  # three panels with the good one, two halves
    assert rows[0.20].gain.high < -0.3  # the weak ones err together, and outvote it


def test_families_are_compared_at_the_same_spread() -> None:
    shared = errors(0.3, 0)
    family = [np.where(shared, 1, 0).tolist() for _ in range(3)]
    others = [np.where(errors(0.3, seed), 20 + seed, 0).tolist() for seed in (5, 6)]
    near = findings(answers_of([*family, *others], "xxxyz")).by_spread[0]
    assert near.same_family.value == 0  # three times the same answers
    assert near.same_family_panels == 2
    assert near.cross_provider.value > 0.05
    assert near.difference.low > 0


def test_few_models_are_too_few() -> None:
    with pytest.raises(EmergeError, match="3 model"):
        findings(answers_of([[0, 1], [0, 0], [1, 0]]))


def test_the_table_shows_what_is_not_there_as_nothing() -> None:
    said = [np.where(errors(0.3, seed), 10 + seed, 0).tolist() for seed in range(4)]
    shown = findings_table(findings(answers_of(said)))
    assert "over 20" in shown and "–" in shown
    assert "a fourth member" in shown
