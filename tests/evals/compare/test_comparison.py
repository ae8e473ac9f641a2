from __future__ import annotations

import pytest

from emerge_core.evals.compare.comparison import Comparison, table
from emerge_core.evals.compare.proxy_client import Outcome

RIGHT, WRONG = Outcome(score=1.0, cost_usd=0.001, calls=1), Outcome(score=0.0, cost_usd=0.002, calls=1)
UNPRICED = Outcome(score=1.0, calls=1)


def outcome(right: bool, *, agreement: float | None = 1.0, escalated: bool = False, failed: bool = False) -> Outcome:
    calls = 4 if escalated else 3
    return Outcome(float(right), failed=failed, cost_usd=0.003, calls=calls, agreement=agreement, escalated=escalated)


def comparison(*, early_decision: bool = False) -> Comparison:
    voted = [
        outcome(True),
        outcome(True, agreement=0.5, escalated=True),
        outcome(False, agreement=None, failed=True),
        outcome(True),
    ]
    return Comparison(
        task="sums",
        questions=4,
        left_out=2,
        members=("a", "b"),
        models={"a": [RIGHT, WRONG, WRONG, RIGHT], "b": [RIGHT, RIGHT, WRONG, WRONG], "big": [UNPRICED] * 4},
        ensembles={"vote": voted, "judged": None},
        early_decision=early_decision,
    )


def test_json_has_the_figures_of_everybody() -> None:
    found = comparison().as_json()
    assert list(found) == ["task", "questions", "models", "ensembles", "best_single", "oracle"]
    assert found["models"]["a"] == {
        "accuracy": 0.5,
        "ci95": pytest.approx([0.150039, 0.849961]),
        "cost_per_1000": pytest.approx(1.5),
    }
    assert found["models"]["big"]["cost_per_1000"] is None
    vote = found["ensembles"]["vote"]
    assert set(vote) == {
        *("accuracy", "ci95", "vs_best_single", "cost_per_1000", "calls_per_question"),
        *("agreement", "escalation_rate", "errors"),
    }
    assert (vote["accuracy"], vote["calls_per_question"], vote["escalation_rate"], vote["errors"]) == (
        0.75,
        3.25,
        0.25,
        1,
    )
    assert vote["agreement"] == pytest.approx(2.5 / 3, abs=1e-6)
    assert vote["vs_best_single"]["diff"] == 0.25
    assert set(found["ensembles"]["judged"]) == set(vote)
    assert set(found["ensembles"]["judged"].values()) == {None}
    assert found["best_single"] == {"model": "a", "accuracy": 0.5}
    assert found["oracle"] == 0.75


def test_costs_of_a_run_with_early_decision_are_no_bills() -> None:
    found = comparison(early_decision=True)
    assert found.as_json()["ensembles"]["vote"]["cost_per_1000"] is None
    assert "early decision on: costs are estimates" in table(found)


def test_the_table_says_it_for_people() -> None:
    lines = table(comparison()).splitlines()
    assert lines[0] == "sums: 4 questions, 2 left out (not answered by every model), early decision off"
    assert " ".join(lines[1].split()) == "accuracy 95 % vs best 95 % $/1000 calls agree escal. errors"
    rows = {line.split()[0]: line.split() for line in lines[2:]}
    assert rows["a"][:3] == ["a", "50.0", "15.0–85.0"]
    assert "unknown" in rows["big"]
    assert rows["vote"][-5:] == ["3.0000", "3.25", "83.3", "25.0", "1"]
    assert set(rows["judged"][1:]) == {"n/a"}
    assert lines[-1] == "best single member: a 50.0, oracle over the members: 75.0"
