"""Measures of diversity, by hand and at their limits."""

from __future__ import annotations

from dataclasses import replace
from math import isnan
from pathlib import Path

import numpy as np
import pytest

from emerge_core.errors import EmergeError
from emerge_core.evals.diversity.findings import findings
from emerge_core.evals.diversity.measures import measure
from emerge_core.evals.diversity.table import table
from emerge_core.evals.offline.arrays import Answers, read_answers
from emerge_core.evals.recordings.recording import RecordedModel, Recordings
from emerge_core.evals.statistics.resampling import Estimate


def answers_of(said: list[list[int]], families: str = "") -> Answers:
    """Models that say these numbers; 0 is right. -1: no answer."""
    codes = np.array(said, dtype=np.int16)
    models, questions = codes.shape
    names = tuple("abcdefgh"[:models])
    return Answers(
        task="made",
        questions=tuple(f"q{number}" for number in range(questions)),
        models=names,
        known={name: RecordedModel(family=family, provider=family) for name, family in zip(names, families)},  # noqa: B905
        codes=codes,
        usable=codes >= 0,
        refused=np.zeros_like(codes, dtype=np.bool_),
        score=(codes == 0).astype(np.float64),
        offers_tools=np.zeros(questions, dtype=np.bool_),
        called=np.zeros_like(codes, dtype=np.bool_),
        names=np.full_like(codes, -1),
        confidence=np.full(codes.shape, np.nan),
        prompt_tokens=np.ones(codes.shape, dtype=np.int64),
        tokens=np.ones(codes.shape, dtype=np.int64),
        latency_ms=np.full(codes.shape, np.nan),
        joined={},
        texts={},
    )


def test_pairs_by_hand() -> None:
    # both right 4, only a wrong 1, only b wrong 2, both wrong 3: twice the same answer, once another
    said = [[0, 0, 0, 0, 1, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 2, 2, 1, 1, 2]]
    found = measure(answers_of(said, "xx"))
    (pair,) = found.pairs
    assert (pair.a, pair.b, pair.same_family, pair.same_provider) == ("a", "b", True, True)
    assert pair.double_fault.value == pytest.approx(0.3)
    assert pair.disagreement.value == pytest.approx(0.3)
    assert pair.same_wrong.value == pytest.approx(2 / 3)
    assert pair.phi.value == pytest.approx(np.atleast_2d(np.corrcoef(np.array(said) > 0))[0, 1])
    assert pair.q.value == pytest.approx((3 * 4 - 1 * 2) / (3 * 4 + 1 * 2))
    assert pair.phi.low < pair.phi.value < pair.phi.high


def test_a_panel_by_hand() -> None:
    found = measure(answers_of([[0, 0, 0, 1, 1], [0, 0, 1, 0, 2], [0, 1, 0, 0, 3]], "xyz"))
    assert found.vote.value == pytest.approx(0.8)
    assert found.best == "a"
    assert found.gain.value == pytest.approx(0.2)
    assert found.oracle.value == pytest.approx(0.8)
    assert found.spread.value == 0
    assert [member.accuracy.value for member in found.members] == pytest.approx([0.6, 0.6, 0.6])
    # of two members that differ, the first speaks
    assert [member.marginal.value for member in found.members] == pytest.approx([0.2, 0.2, 0.2])
    assert not any(pair.same_family for pair in found.pairs)


def test_two_that_never_differ_are_fully_correlated() -> None:
    (pair,) = measure(answers_of([[0, 1, 0, 2]] * 2)).pairs
    assert (pair.phi.value, pair.q.value, pair.same_wrong.value, pair.disagreement.value) == pytest.approx((1, 1, 1, 0))
    assert not pair.same_family  # nothing is known of either


def test_no_answer_is_an_error_but_no_shared_one() -> None:
    (pair,) = measure(answers_of([[-1, 0], [-1, 0]])).pairs
    assert (pair.double_fault.value, pair.same_wrong.value) == (0.5, 0.0)


def test_what_is_not_defined_is_not_a_number() -> None:
    (pair,) = measure(answers_of([[0, 0, 0], [0, 1, 0]])).pairs
    assert isnan(pair.phi.value)
    assert isnan(pair.phi.low)
    assert isnan(pair.same_wrong.value)


def test_intervals_cover_and_narrow() -> None:
    random = np.random.default_rng(1)
    few, many = (measure(answers_of((random.random((2, count)) < 0.3).astype(int).tolist())) for count in (60, 6000))
    for found in (few, many):
        assert found.members[0].accuracy.low < 0.7 < found.members[0].accuracy.high
        assert found.pairs[0].phi.low < 0 < found.pairs[0].phi.high
    widths = [found.pairs[0].phi.high - found.pairs[0].phi.low for found in (few, many)]
    assert widths[1] < widths[0] / 5


def test_of_recordings(recordings: Path) -> None:
    answers = read_answers(Recordings(recordings), "sums")
    found = measure(answers, ["alpha", "beta", "gamma"])
    assert (found.questions, [member.model for member in found.members]) == (3, ["alpha", "beta", "gamma"])
    assert found.vote.value == 1
    with pytest.raises(EmergeError, match="no answers of omega"):
        measure(answers, ["alpha", "omega"])


def test_the_table_is_at_most_a_hundred_wide_whatever_the_names(recordings: Path) -> None:
    found = measure(read_answers(Recordings(recordings), "sums"), ["alpha", "beta"])
    wide = Estimate(1.0, 1.0, 1.0)
    pair = replace(
        found.pairs[0],
        a="claude-3-5-sonnet-20241022",
        b="deepseek-coder-v2-instruct-0724",
        same_family=True,
        phi=Estimate(-0.5, -0.5, -0.5),
        double_fault=wide,
        same_wrong=wide,
        q=wide,
    )
    lines = table(replace(found, pairs=(pair,))).splitlines()
    assert max(map(len, lines)) <= 100
    assert "claude-3-5-" in "".join(lines)


def test_graded_replies_are_measured_by_their_scores(simulated: Path) -> None:
    answers = read_answers(Recordings(simulated), "essays", ("amber", "birch", "cedar"))
    found = measure(answers)
    assert found.graded
    scores = answers.score
    for member, own in zip(found.members, scores, strict=True):
        assert member.accuracy.value == pytest.approx(own.mean(), abs=1e-6)
        assert member.accuracy.low < member.accuracy.value < member.accuracy.high
    assert found.oracle.value == pytest.approx(scores.max(axis=0).mean(), abs=1e-6)
    assert scores.min(axis=0).mean() <= found.vote.value <= found.oracle.value
    assert found.gain.value == pytest.approx(found.vote.value - scores.mean(axis=1).max(), abs=1e-6)
    first = found.pairs[0]
    assert first.phi.value == pytest.approx(np.atleast_2d(np.corrcoef(scores[:2]))[0, 1], abs=1e-5)
    assert first.double_fault.value == pytest.approx((scores[:2] <= 0.5).all(axis=0).mean(), abs=1e-6)
    assert isnan(first.same_wrong.value)
    printed = table(found)
    assert "mean score" in printed and "medoid" in printed and "both score half or less" in printed
    assert "same wrong answer" not in printed


def test_findings_of_graded_replies(simulated: Path) -> None:
    answers = read_answers(Recordings(simulated), "essays")
    found = findings(answers)
    trio = [answers.index(name) for name in ("amber", "birch", "cedar")]
    assert found.trios == 4
    assert all(abs(row.gain.value) < np.ptp(answers.score[trio]) for row in found.by_spread if row.panels)
