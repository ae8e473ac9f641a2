"""Scores by bits are the scores of ensembles evaluated one by one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emerge_core.evals.offline.arrays import Answers, read_answers
from emerge_core.evals.offline.ensembles import evaluate, fit
from emerge_core.evals.recordings.recording import Recordings
from emerge_core.evals.tune.bitsets import Blocks
from emerge_core.evals.tune.search.search import Candidates, Space, search
from tests.support.recordings import first_of, models_of


@pytest.mark.parametrize(("questions", "blocks"), [(5, 50), (64, 1), (333, 50), (5862, 50), (9000, 20)])
def test_bits_come_back_and_are_counted_by_block(questions: int, blocks: int) -> None:
    packed = Blocks(questions, blocks)
    flags = np.random.default_rng(0).random((3, questions)) < 0.3
    bits = packed.pack(flags)
    assert (packed.unpack(bits) == flags).all()
    assert packed.sizes.sum() == questions
    expected = [[row[part].sum() for part in packed.parts] for row in flags]
    assert packed.count(bits).tolist() == expected
    assert packed.count(~bits).sum() >= (~flags).sum()  # words have room to spare


@pytest.fixture
def letters(mixed: Path) -> Answers:
    return read_answers(Recordings(mixed), "mixed_letters")


def check(answers: Answers, candidates: Candidates, numbers: range | list[int]) -> None:
    every = np.arange(len(answers.questions))
    for number in numbers:
        design = candidates.design(number)
        outcomes = evaluate(answers, fit(answers, design, every))
        assert candidates.right[number].sum() == outcomes.score.sum(), design
        assert candidates.cost[number] == pytest.approx(outcomes.cost_usd.mean(), rel=1e-5), design
        expected = outcomes.latency_ms.mean()
        assert candidates.latency[number] == pytest.approx(expected, rel=1e-5, nan_ok=True), design


def test_every_design_of_a_small_space(letters: Answers) -> None:
    letters = replace(letters, latency_ms=np.random.default_rng(3).random(letters.codes.shape) * 1000)
    candidates = search(letters, Space((0, 1, 2, 3), (4,), 4), Blocks(len(letters.questions)))
    found = [candidates.design(number) for number in range(len(candidates))]
    assert {design.rule for design in found} == {"vote", "weighted", "confidence", "adaptive", "consensus", "cascade"}
    assert [bool(design.target or design.reserve) for design in found] == candidates.escalate.tolist()
    assert len({candidates.design(number) for number in range(len(candidates))}) == len(candidates)
    check(letters, candidates, range(len(candidates)))


def test_cascades_into_two_stronger_models(letters: Answers) -> None:
    candidates = search(letters, Space((0, 1, 2), (3, 4)), Blocks(len(letters.questions)))
    reserves = {(len(design.members), design.reserve) for design in map(candidates.design, range(len(candidates)))}
    assert {(2, (3, 4)), (2, (4, 3)), (3, (3,)), (3, (4,))} <= reserves
    check(letters, candidates, range(len(candidates)))


def test_the_last_of_three_is_the_one_that_is_best_asked_rarely(letters: Answers) -> None:
    cheap = replace(letters, tokens=letters.tokens * np.array([[1], [50], [1], [1], [1]]))
    candidates = search(cheap, Space((0, 1, 2), (4,)), Blocks(len(letters.questions)))
    designs = [candidates.design(number) for number in range(len(candidates))]
    triples = [design.members for design in designs if design.rule == "cascade" and len(design.members) == 3]
    assert triples
    assert all(members[2] == 1 for members in triples)


def test_blocks_hold_the_right_questions(letters: Answers) -> None:
    blocks = Blocks(len(letters.questions), 7)
    candidates = search(letters, Space((0, 1, 2), (3, 4)), blocks)
    every = np.arange(len(letters.questions))
    for number in range(0, len(candidates), 5):
        right = evaluate(letters, fit(letters, candidates.design(number), every)).score
        assert candidates.right[number].tolist() == [right[part].sum() for part in blocks.parts]


@pytest.mark.parametrize("task", ["gsm8k", "math_l5", "crux", "mmlu_pro_letters"])
def test_recorded_answers(shared: Path, task: str, tmp_path: Path) -> None:
    known, recorded = Recordings(shared).models(), models_of(shared, task)
    few = [name for name in sorted(recorded) if known[name].price and known[name].tier != "reasoning"][::4]
    answers = read_answers(Recordings(first_of(shared, task, few, 400, tmp_path)), task, few)
    rows = range(len(answers.models))
    candidates = search(answers, Space(tuple(rows[:-2]), tuple(rows[-2:])), Blocks(len(answers.questions)))
    check(answers, candidates, list(range(0, len(candidates), 1 + len(candidates) // 150)))


def test_panels_over_requests_with_tools_cost_what_they_are_said_to(simulated: Path) -> None:
    """Replies without a call agree for a vote if one of the panel's has no key, and never stop a cascade: with one
    notion of agreement, an ensemble that asks on 21 % of the questions was searched as one that asks on 7 %."""
    answers = read_answers(Recordings(simulated), "calls", ("amber", "birch", "cedar", "titan"))
    candidates = search(answers, Space((0, 1, 2), (3,)), Blocks(len(answers.questions)))
    every = np.arange(len(answers.questions))
    for number in range(len(candidates)):
        design = candidates.design(number)
        outcomes = evaluate(answers, fit(answers, design, every))
        assert candidates.cost[number] == pytest.approx(outcomes.cost_usd.mean(), rel=1e-5), design
