from __future__ import annotations

from dataclasses import replace

import pytest

from emerge_core.evals.compare.comparison import ENSEMBLE_FIELDS, Comparison, table
from emerge_core.evals.compare.proxy_client import Outcome

RIGHT, WRONG = Outcome(score=1.0, cost_usd=0.001, calls=1), Outcome(score=0.0, cost_usd=0.002, calls=1)
UNPRICED = Outcome(score=1.0, calls=1)


def outcome(right: bool, *, agreement: float | None = 1.0, escalated: bool = False, failed: bool = False) -> Outcome:
    calls = 4 if escalated else 3
    return Outcome(
        float(right),
        failed=failed,
        cost_usd=0.003,
        calls=calls,
        agreement=agreement,
        escalated=escalated,
        asked=("big",) if escalated else (),
    )


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
        against="big",
    )


def test_json_has_the_figures_of_everybody() -> None:
    found = comparison().as_json()
    assert {"task", "questions", "models", "ensembles", "best_single", "oracle"} <= set(found)
    assert (found["left_out"], found["early_decision"], found["against"]) == (2, False, "big")
    assert found["models"]["a"] == {
        "accuracy": 0.5,
        "ci95": pytest.approx([0.150039, 0.849961]),
        "cost_per_1000": pytest.approx(1.5),
    }
    assert found["models"]["big"]["cost_per_1000"] is None
    vote = found["ensembles"]["vote"]
    assert set(vote) == set(ENSEMBLE_FIELDS)
    assert {"accuracy", "ci95", "vs_best_single", "cost_per_1000", "calls_per_question"} <= set(vote)
    assert {"agreement", "escalation_rate", "errors", "vs_model", "cost_vs_model", "asked"} <= set(vote)
    assert (vote["vs_model"]["model"], vote["vs_model"]["diff"]) == ("big", -0.25)
    assert vote["cost_vs_model"] is None  # what big costs is not known
    assert vote["asked"] == {"big": 0.25}
    assert (vote["abstention_rate"], vote["accuracy_answered"]) == (0.0, 0.75)
    assert found["cheapest_as_good"] is None
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
    assert "early decision on: costs are estimates" in " ".join(table(found).split())


def test_the_table_says_it_for_people() -> None:
    lines = table(comparison()).splitlines()
    assert lines[0] == "sums: 4 questions, 2 left out (not answered by every model), early decision off"
    assert max(map(len, lines)) <= 100
    accuracies = {line.split()[0]: line.split() for line in lines[4:10] if line}
    assert accuracies["a"][1:4] == ["50.0", "(15.0", "to"]
    assert set(accuracies["judged"][1:]) == {"n/a"}
    start = next(number for number, line in enumerate(lines) if "$/1000" in line)
    assert lines[start].split() == ["$/1000", "calls", "agree", "asked", "errors"]
    costs = {line.split()[0]: line.split() for line in lines[start + 1 :] if line}
    assert "unknown" in costs["big"]
    assert costs["vote"][1:] == ["3.0000", "3.25", "83.3", "25.0", "1"]
    assert "best single member: a 50.0, oracle over the members: 75.0" in lines


def test_an_abstention_counts_as_wrong_and_is_told() -> None:
    silent = Outcome(score=0.0, abstained=True, cost_usd=0.003, calls=3, agreement=0.5)
    found = replace(comparison(), ensembles={"cautious": [outcome(True), silent, outcome(False), outcome(True)]})
    cautious = found.as_json()["ensembles"]["cautious"]
    assert (cautious["accuracy"], cautious["abstention_rate"]) == (0.5, 0.25)
    assert cautious["accuracy_answered"] == pytest.approx(2 / 3, abs=1e-6)
    assert "right if answered" in table(found)


def test_the_cheapest_model_that_is_as_good() -> None:
    cheap, dear = (Outcome(score=1.0, cost_usd=cost, calls=1) for cost in (0.001, 0.01))
    models = {"a": [cheap] * 200, "b": [replace(cheap, score=0.0, cost_usd=0.0001)] * 200, "big": [dear] * 200}
    found = replace(comparison(), models=models, ensembles={}, questions=200)
    good = found.as_json()["cheapest_as_good"]
    assert good["model"] == "a"
    assert good["vs_model"]["diff"] == 0
    assert good["vs_model"]["ci95"][0] > -0.03


def test_what_is_saved_against_the_baseline() -> None:
    dear = [replace(each, baseline_usd=0.012) for each in comparison().ensembles["vote"] or ()]
    unknown = replace(dear[0], baseline_usd=None)  # counts neither here nor there
    found = replace(comparison(), ensembles={"vote": [*dear[:3], unknown], "judged": None})
    assert found.as_json()["ensembles"]["vote"]["saved"] == pytest.approx(0.75)
    assert "saved: of the cost at the config's baseline" in " ".join(table(found).split())
    assert "75.0" in table(found)
    assert comparison().as_json()["ensembles"]["vote"]["saved"] is None
    assert "saved" not in table(comparison())
    estimated = replace(found, early_decision=True)
    assert estimated.as_json()["ensembles"]["vote"]["saved"] is None
