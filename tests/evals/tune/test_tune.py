"""Tuning as a whole: what is chosen, what is promised for it, and what is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emerge_core.config import parse_config
from emerge_core.errors import EmergeError
from emerge_core.evals.tune.bitsets import Blocks
from emerge_core.evals.tune.crossval import folds
from emerge_core.evals.tune.result_json import as_json
from emerge_core.evals.tune.settings import CostLimit, TuneSettings
from emerge_core.evals.tune.tuning import tune

TIERS = {"ada": "small", "bea": "small", "cat": "mid", "dot": "small", "max": "frontier", "rex": "reasoning"}
ACCURACY = {"ada": 0.7, "bea": 0.7, "cat": 0.7, "dot": 0.3, "max": 0.85, "rex": 0.95}
PRICES = {"ada": 1.0, "bea": 1.0, "cat": 2.0, "dot": 0.1, "max": 40.0, "rex": 1.0}
QUESTIONS = 300

Write = Callable[[Path, Sequence[Any]], None]


def make(root: Path, write_rows: Write, *, latency: bool = False, lucky: int = 0, samples: int = 1) -> Path:
    """Members that err independently, a dear and better frontier model, a reasoning model of unknown cost, and
    as many `lucky` models as wanted that guess. Of several samples all but the first are of the cheaper models."""
    random = np.random.default_rng(5)
    accuracy = {**ACCURACY, **{f"guess-{number}": 0.5 for number in range(lucky)}}
    models = [
        {
            "model": name,
            "tier": TIERS.get(name, "small"),
            "provider": "openai",
            "family": name,
            "price": {"input": 0, "output": PRICES.get(name, 1.0)},
        }
        for name in accuracy
    ]
    (root / "models.json").write_text(json.dumps({"models": models}))
    numbers = range(QUESTIONS)
    write_rows(
        root / "made" / "questions.jsonl",
        [
            {"id": f"q{n}", "question": f"Of these, which is number {n}?", "choices": list("wxyz"), "answers": ["A"]}
            for n in numbers
        ],
    )
    rows = []
    for n in numbers:
        for name, share in accuracy.items():
            letter = "A" if random.random() < share else str(random.choice(list("BCD")))
            row = {
                "id": f"q{n}",
                "model": name,
                "response_text": f"The answer is ({letter}).",
                "completion_tokens": 100,
            }
            rows.append({**row, "latency_ms": 2000.0 if name == "max" else 500.0} if latency else row)
    again = random.permutation(QUESTIONS)
    for sample in range(1, samples):
        for n in numbers:  # as often right, but at other questions
            for place in range(2):
                row = rows[int(again[(n + sample * 37) % QUESTIONS]) * len(accuracy) + place]
                rows.append({**row, "id": f"q{n}", "sample": sample})
    write_rows(root / "made" / "responses.jsonl", rows)
    return root


@pytest.fixture
def made(tmp_path: Path, write_rows: Write) -> Path:
    return make(tmp_path, write_rows)


def plan(directory: Path, **changes: Any) -> TuneSettings:
    return TuneSettings(recordings=directory, task="made", **{"seeds": 2, **changes})


def test_every_question_is_held_out_once_per_partition() -> None:
    for partition in folds(Blocks(203), seeds=3):
        assert len(partition) == 5
        assert sorted(np.concatenate([fold.unseen for fold in partition])) == list(range(203))
        for fold in partition:
            assert not set(fold.unseen) & set(fold.training)
            assert len(fold.unseen) + len(fold.training) == 203


def test_a_panel_of_equals_that_asks_on_disagreement_wins(made: Path) -> None:
    found = as_json(tune(plan(made)))
    chosen = found["frontier"][found["chosen"]]
    assert set(chosen["members"]) == {"ada", "bea", "cat"}
    assert chosen["escalate"]["to"] == "max"
    assert found["reference"] == "max"
    assert chosen["accuracy_cv"] > 0.85
    assert chosen["vs_reference"]["ci95"][0] < chosen["vs_reference"]["diff"] < chosen["vs_reference"]["ci95"][1]
    assert chosen["cost_per_1000"] < 0.6 * found["controls"]["frontier_cost_per_1000"]["max"]
    assert found["controls"]["best_single"]["model"] in ("ada", "bea", "cat")
    assert found["controls"]["frontier"].keys() == {"max"}
    assert found["controls"]["panel"]["escalate"] is None
    assert found["controls"]["oracle"] >= found["controls"]["panel_oracle"] > 0.9
    costs = [point["cost_per_1000"] for point in found["frontier"]]
    accuracies = [point["accuracy_cv"] for point in found["frontier"]]
    assert costs == sorted(costs)
    assert accuracies == sorted(accuracies)
    assert found["tried"] > 50


def test_one_model_asked_several_times_stands_beside(tmp_path: Path, write_rows: Write) -> None:
    """For no more than the chosen ensemble costs. Its answers err independently here, so a vote among them gains."""
    root = make(tmp_path, write_rows, samples=9)
    found = as_json(tune(plan(root, max_cost=CostLimit(0.9))))
    again = found["controls"]["repeated"]
    chosen = found["frontier"][found["chosen"]]
    assert again["model"] in ("ada", "bea")
    assert again["times"] == int(chosen["cost_per_1000"] / 0.1 + 1e-9)
    assert again["cost_per_1000"] == pytest.approx(0.1 * again["times"])
    assert again["cost_per_1000"] <= chosen["cost_per_1000"] + 1e-9
    single = found["controls"]["best_single"]["accuracy"]
    assert again["accuracy"] > single + 0.05
    assert again["ci95"][0] < again["accuracy"] < again["ci95"][1]
    dear = as_json(tune(plan(root, max_cost=CostLimit(50.0))))["controls"]["repeated"]
    assert dear["times"] == 9  # more were not recorded


def test_a_repeat_that_failed_abstains(tmp_path: Path, write_rows: Write) -> None:
    root = make(tmp_path, write_rows, samples=3)
    file = root / "made" / "responses.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows:
        if row.get("sample") and row["id"] in ("q1", "q2"):
            row.update(response_text="", error={"kind": "timeout", "message": "no answer"})
    write_rows(file, rows)
    again = as_json(tune(plan(root)))["controls"]["repeated"]
    assert again["times"] == 3
    assert again["cost_per_1000"] < 0.3


def test_without_repeats_or_money_for_them_there_is_no_such_control(
    made: Path, tmp_path: Path, write_rows: Write
) -> None:
    assert as_json(tune(plan(made)))["controls"]["repeated"] is None
    assert (
        as_json(tune(plan(make(tmp_path, write_rows, samples=3), max_cost=CostLimit(0.1))))["controls"]["repeated"]
        is None
    )


def test_reasoning_models_are_no_members(made: Path) -> None:
    found = as_json(tune(plan(made)))
    assert all("rex" not in point["members"] for point in found["frontier"])
    named = as_json(tune(plan(made, models=("ada", "rex"), frontier=False)))
    assert named["frontier"][named["chosen"]]["members"] == ["rex"]
    assert named["frontier"][named["chosen"]]["cost_per_1000"] is None
    with pytest.raises(EmergeError, match="no model of the small and mid tiers with a known cost"):
        tune(plan(made, models=("rex",), max_cost=CostLimit(1.0)))


def test_a_cost_limit_is_kept(made: Path) -> None:
    for limit, usd in ((CostLimit(0.1, share=True), 0.4), (CostLimit(0.25), 0.25)):
        found = as_json(tune(plan(made, max_cost=limit)))
        assert found["max_cost_per_1000"] == pytest.approx(usd)
        assert all(point["cost_per_1000"] <= usd + 1e-9 for point in found["frontier"])
    with pytest.raises(EmergeError, match=r"no ensemble is within the limits; the cheapest costs 0\.0100 USD"):
        tune(plan(made, max_cost=CostLimit(0.001)))


def test_the_cheapest_that_is_good_enough(made: Path) -> None:
    best = as_json(tune(plan(made)))
    enough = as_json(tune(plan(made, min_accuracy=0.75)))
    point = enough["frontier"][enough["chosen"]]
    assert point["accuracy_cv"] >= 0.75
    assert point["cost_per_1000"] < best["frontier"][best["chosen"]]["cost_per_1000"]
    with pytest.raises(EmergeError, match=r"no ensemble within the limits reaches an accuracy of 0\.99: the best has"):
        tune(plan(made, min_accuracy=0.99))


def test_no_frontier_model_is_asked(made: Path) -> None:
    found = as_json(tune(plan(made, frontier=False)))
    assert all(point["escalate"] is None for point in found["frontier"])


def test_latency_where_it_is_recorded(made: Path, tmp_path: Path, write_rows: Write) -> None:
    with pytest.raises(EmergeError, match="no latency is recorded in made"):
        tune(plan(made, max_latency_ms=900))
    found = as_json(tune(plan(make(tmp_path, write_rows, latency=True), max_latency_ms=900)))
    assert all(point["latency_ms"] <= 900 for point in found["frontier"])
    assert all((point["early_latency_ms"] or 0) <= point["latency_ms"] for point in found["frontier"])
    assert any(point["escalate"] for point in found["frontier"])  # rarely enough


def test_what_is_promised_is_kept_where_luck_would_choose(tmp_path: Path, write_rows: Write) -> None:
    """Forty guessers: the luckiest looks better than it is, and its figure must not."""
    root = make(tmp_path, write_rows, lucky=40)
    names = tuple(f"guess-{number}" for number in range(40))
    found = as_json(tune(plan(root, models=names, max_members=1, frontier=False, seeds=5)))
    assert found["tried"] == 40
    assert abs(found["frontier"][found["chosen"]]["accuracy_cv"] - 0.5) < 0.04


def test_the_written_config_is_whole_and_names_what_was_recorded(made: Path) -> None:
    tuned = tune(plan(made))
    config = parse_config(json.dumps(tuned.config), source="written")
    ensemble = config.ensembles["emerge"]
    assert config.default == "emerge"
    assert ensemble.escalate
    assert {config.models[member.model].model for member in ensemble.members} == {"ada", "bea", "cat"}
    assert config.models[ensemble.targets[0]].price
    assert tuned.config == as_json(tuned)["frontier"][tuned.chosen]["config"]


def test_larger_panels_may_be_allowed(made: Path) -> None:
    assert as_json(tune(plan(made, max_members=4)))["tried"] > as_json(tune(plan(made)))["tried"]


def test_too_few_questions_are_said(recordings: Path) -> None:
    with pytest.raises(EmergeError, match="sums has 3 questions: too few"):
        tune(TuneSettings(recordings=recordings, task="sums"))
    with pytest.raises(EmergeError, match="no answers of omega"):
        tune(TuneSettings(recordings=recordings, task="sums", models=("omega",)))
