"""Latency with early decision: the engine's rule on recorded answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emerge_core.evals.offline.arrays import Answers, read_answers
from emerge_core.evals.offline.early import waited
from emerge_core.evals.offline.ensembles import Ensemble, evaluate
from emerge_core.evals.recordings.recording import Recordings

Write = Callable[[Path, Sequence[Any]], None]

LATENCY = {"ann": 100.0, "bob": 200.0, "cyd": 400.0, "max": 1000.0}


def recorded(root: Path, write_rows: Write, said: Sequence[str]) -> Answers:
    """One question per word; its letters are what ann, bob and cyd say ("-": nothing). max always says D."""
    numbers = range(len(said))
    write_rows(
        root / "made" / "questions.jsonl",
        [{"id": f"q{n}", "question": f"Number {n}?", "choices": list("wxyz"), "answers": ["A"]} for n in numbers],
    )
    rows = []
    for n, letters in enumerate(said):
        for name, letter in zip(LATENCY, f"{letters}D", strict=True):
            text = "" if letter == "-" else f"The answer is ({letter})."
            row = {"id": f"q{n}", "model": name, "response_text": text, "latency_ms": LATENCY[name]}
            rows.append({**row, "completion_tokens": 5, "finish_reason": "stop"})
    write_rows(root / "made" / "responses.jsonl", rows)
    return read_answers(Recordings(root), "made")


@pytest.mark.parametrize(
    ("said", "alone", "below_one", "below_half"),
    [
        ("AAA", 200, 400, 200),  # two of three are a majority; unanimity needs the last
        ("AAB", 200, 1400, 200),
        ("ABA", 400, 1200, 400),  # two that differ can never be unanimous
        ("ABC", 400, 1200, 1400),
        ("A-A", 200, 1200, 400),  # a tie would go to the first
        ("---", 400, 1400, 1400),
    ],
)
def test_time_until_nothing_can_change(
    tmp_path: Path, write_rows: Write, said: str, alone: float, below_one: float, below_half: float
) -> None:
    answers = recorded(tmp_path, write_rows, [said])
    members, target = tuple(map(answers.index, ("ann", "bob", "cyd"))), answers.index("max")
    panel = Ensemble(members, "vote", (1.0, 1.0, 1.0))
    for ensemble, expected in (
        (panel, alone),
        (Ensemble(members, "vote", (1.0, 1.0, 1.0), target=target, below_agreement=1.0), below_one),
        (Ensemble(members, "vote", (1.0, 1.0, 1.0), target=target, below_agreement=0.5), below_half),
    ):
        found = waited(answers, ensemble)
        assert found is not None
        assert found.tolist() == [expected]
        assert found <= evaluate(answers, ensemble).latency_ms


def test_a_final_vote_waits_for_all(tmp_path: Path, write_rows: Write) -> None:
    answers = recorded(tmp_path, write_rows, ["ABA"])
    members, target = tuple(map(answers.index, ("ann", "bob", "cyd"))), answers.index("max")
    voting = Ensemble(members, "vote", (1.0, 1.0, 1.0), target=target, below_agreement=1.0, final="vote")
    found = waited(answers, voting)
    assert found is not None
    assert found.tolist() == [1400]


@pytest.mark.parametrize(
    ("said", "reliability", "expected"),
    [
        ("AAA", (), 200),  # without confidences adaptive is a vote
        ("ABA", (), 400),
        ("AAA", (0.7, 0.6, 0.5), 200),  # a majority stays one, whoever is the surest
        ("A-A", (0.7, 0.6, 0.5), 400),
        ("ABC", (0.7, 0.6, 0.5), 400),
    ],
)
def test_adaptive_decides_early_if_no_confidence_can_change_the_winner(
    tmp_path: Path, write_rows: Write, said: str, reliability: tuple[float, ...], expected: float
) -> None:
    answers = recorded(tmp_path, write_rows, [said])
    members = tuple(map(answers.index, ("ann", "bob", "cyd")))
    found = waited(answers, Ensemble(members, "adaptive", (1.0, 1.0, 1.0), reliability=reliability))
    assert found is not None
    assert found.tolist() == [expected]


def test_only_votes_decide_early(tmp_path: Path, write_rows: Write) -> None:
    answers = recorded(tmp_path, write_rows, ["AAA"])
    members = tuple(map(answers.index, ("ann", "bob", "cyd")))
    assert waited(answers, Ensemble(members, "consensus", (1.0, 1.0, 1.0))) is None
    assert waited(answers, Ensemble(members[:1], "vote", (1.0,))) is None


def test_a_latency_that_was_not_recorded_is_not_known(mixed: Path) -> None:
    answers = read_answers(Recordings(mixed), "mixed_letters")
    found = waited(answers, Ensemble((0, 1, 2), "vote", (1.0, 1.0, 1.0)))
    assert found is not None
    assert np.isnan(found).all()
