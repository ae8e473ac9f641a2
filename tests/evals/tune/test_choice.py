"""What tune recommends: an ensemble only if it is clearly better than a model that costs no more, and the cheapest
of what is about as good. On simulated answers, where the truth is known."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from emerge_core.config import parse_config
from emerge_core.evals.offline.arrays import Answers
from emerge_core.evals.offline.ensembles import evaluate
from emerge_core.evals.recordings.recording import RecordedModel
from emerge_core.evals.statistics.intervals import accuracy
from emerge_core.evals.tune.choice import pick
from emerge_core.evals.tune.result import Tuned
from emerge_core.evals.tune.result_json import as_json
from emerge_core.evals.tune.settings import CostLimit, TuneSettings
from emerge_core.evals.tune.table import table
from emerge_core.evals.tune.tuning import tune_answers
from tests.support.simulated_answers import World, simulate


def tuned(answers: Answers, **changes: object) -> Tuned:
    return tune_answers(answers, TuneSettings(task="simulated", **{"seeds": 3, **changes}))  # type: ignore[arg-type]


def priced(answers: Answers, **prices: float) -> Answers:
    known = {
        name: replace(each, price=(0.0, prices[name])) if name in prices else each
        for name, each in answers.known.items()
    }
    return replace(answers, known=known)


def test_a_panel_that_is_clearly_better_is_chosen() -> None:
    found = tuned(simulate(World(target=0.85), 400, 1))
    assert found.kind == "ensemble"
    assert found.choice.to == ("titan",)
    rival = found.controls.rival
    assert rival is not None
    assert rival.versus is not None
    assert rival.versus.low > 0
    assert rival.cost is not None
    assert found.choice.cost is not None
    assert rival.cost <= found.choice.cost
    assert as_json(found)["chosen_kind"] == "ensemble"


def test_one_model_that_is_better_and_cheap_is_used_alone() -> None:
    """A frontier model at a small model's price was passed over for a cascade of weak ones."""
    found = tuned(priced(simulate(World(members=(0.5, 0.5, 0.5), target=0.95), 300, 2), titan=1.0))
    assert found.kind == "single"
    assert found.choice.members == ("titan",)
    written = parse_config(json.dumps(found.config), source="written")
    assert [member.model for member in written.ensembles["emerge"].members] == ["titan"]
    assert table(found).startswith("simulated: use titan alone")
    chosen = as_json(found)["frontier"][found.chosen]
    assert (chosen["escalate"], chosen["members"]) == (None, ["titan"])


def test_a_panel_that_is_not_clearly_better_gives_way_to_its_best_rival() -> None:
    found = tuned(simulate(World(members=(0.8, 0.5, 0.5), target=0.8), 200, 3), frontier=False)
    assert found.kind == "single"
    assert found.choice.members == ("amber",)


def test_the_interval_reaches_as_high_as_that_of_the_questions_that_chose() -> None:
    """Folds choose by fewer questions, and so worse: where the truth is near 1 the interval ended below it."""
    answers = simulate(World(target=0.97, disputed=0.97), 100, 1)
    choice = tuned(answers).choice
    seen = evaluate(answers, choice.ensemble).score
    assert choice.accuracy.high >= accuracy(seen.tolist()).high
    assert choice.accuracy.low < choice.accuracy.value <= seen.mean()


def test_of_choices_that_are_about_as_good_the_cheapest_is_taken() -> None:
    accuracies = np.array([0.90, 0.948, 0.95, 0.951])
    assert pick(accuracies, 0.003) == 1
    assert pick(accuracies, 0.0) == 3
    assert pick(accuracies, 0.06) == 0
    assert pick(accuracies, 0.003, wanted=0.9) == 0
    answers = simulate(World(target=0.85), 400, 4)
    costs = [tuned(answers, margin=margin).choice.cost for margin in (0.0, 0.12)]
    assert costs[0] is not None
    assert costs[1] is not None
    assert costs[1] < costs[0]


def test_the_cheapest_model_that_is_as_good_as_the_reference() -> None:
    answers = simulate(World(members=(0.9, 0.9, 0.6), target=0.9, spread=0.0), 2000, 5)
    good = tuned(priced(answers, amber=2.0, birch=1.5)).controls.cheapest_as_good
    assert good is not None
    assert good.model == "birch"
    assert good.versus is not None
    assert good.versus.low > -0.03
    assert tuned(answers, as_good=0.001).controls.cheapest_as_good is None
    # A difference whose interval covers zero is not enough: at fifty questions it covers nearly everything.
    few = simulate(World(members=(0.8, 0.8, 0.6), target=0.85, spread=0.0), 50, 5)
    assert tuned(few).controls.cheapest_as_good is None


def thinking(answers: Answers) -> Answers:
    """The target is a reasoning model whose hidden tokens were not recorded."""
    known = {**answers.known, "titan": RecordedModel("reasoning", (0.0, 10.0), "titan", "titan")}
    known["cedar"] = RecordedModel("frontier", (0.0, 9.0), "cedar", "cedar")
    return replace(answers, known=known)


def test_a_reasoning_model_is_asked_only_if_wanted_and_its_break_even_is_told() -> None:
    answers = thinking(simulate(World(target=0.88, spread=0.25), 400, 6))
    plain = tuned(answers)
    assert all("titan" not in (*point.members, *point.to) for point in plain.points)
    assert plain.controls.best_reasoning is not None
    assert plain.controls.best_reasoning.model == "titan"
    asked = tuned(answers, reasoning=True)
    point = next(point for point in asked.points if point.to == ("titan",))
    assert point.cost is None
    assert point.break_even is not None
    assert point.break_even > 0
    assert "while a call stays below" in table(asked)
    limited = tuned(answers, reasoning=True, max_cost=CostLimit(1.0))
    assert all("titan" not in (*each.members, *each.to) for each in limited.points)


def test_few_questions_are_warned_of() -> None:
    few, many = tuned(simulate(World(), 40, 7)), tuned(simulate(World(), 120, 7))
    assert "Warning: 40 questions are too few for a firm choice" in " ".join(table(few).split())
    assert "Warning" not in table(many)
    assert (as_json(few)["few_questions"], as_json(many)["few_questions"]) == (True, False)


WORLDS = [
    World(target=0.85),
    World(target=0.85, disputed=0.6),
    World(target=0.8, disputed=0.9),
    World(target=0.7),
    World(members=(0.6, 0.55, 0.5), target=0.95),
]


@pytest.mark.parametrize("questions", [30, 100])
def test_printed_intervals_cover_the_truth_of_the_written_config(questions: int) -> None:
    """A short version: tests/bench/coverage.py makes a thousand runs of each world."""
    covered = {"difference": 0, "accuracy": 0}
    runs = 4 * len(WORLDS)
    for world in WORLDS:
        truth = simulate(world, 20_000, 999)
        for seed in range(4):
            choice = tuned(simulate(world, questions, seed)).choice
            true = evaluate(truth, choice.ensemble).score.mean()
            assert choice.versus is not None
            covered["difference"] += choice.versus.low <= true - truth.score[3].mean() <= choice.versus.high
            covered["accuracy"] += choice.accuracy.low <= true <= choice.accuracy.high
    assert covered["difference"] >= 0.85 * runs
    assert covered["accuracy"] >= 0.8 * runs
