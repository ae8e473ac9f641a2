"""Tuning on recorded adjudications: when they are used, and what is said of the rules."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from emerge_core.evals.offline.ensembles import Design, evaluate, fit
from emerge_core.evals.recordings.rows import Dispute
from emerge_core.evals.tune.choice import pick
from emerge_core.evals.tune.result_json import as_json
from emerge_core.evals.tune.search.contests import Contest
from emerge_core.evals.tune.settings import TuneSettings
from emerge_core.evals.tune.table import table
from emerge_core.evals.tune.tuning import tune_answers
from tests.support.simulated_answers import World, simulate

SETTINGS = TuneSettings(task="simulated", seeds=4)
SHOWN_IS_BETTER = World(members=(0.70, 0.68, 0.66), target=0.85, disputed=0.6, shown=0.9)


def test_an_adjudicator_that_gains_by_what_it_is_shown_is_chosen() -> None:
    tuned = tune_answers(simulate(SHOWN_IS_BETTER, 300, 1), SETTINGS)
    written = as_json(tuned)
    chosen = written["frontier"][written["chosen"]]
    assert chosen["escalate"]["final"] == "adjudicate"
    assert chosen["config"]["ensembles"]["emerge"]["escalate"]["final"] == "adjudicate"
    assert written["disputes"]["best"] == "adjudicate: titan"
    assert [rule["rule"] for rule in written["disputes"]["rules"]][-1] != "adjudicate: titan"
    text = table(tuned)
    assert "amber, birch, cedar disagree on" in text
    assert "Most accurate then: adjudicate: titan" in text
    assert max(map(len, text.splitlines())) <= 100


def test_one_that_is_misled_is_not() -> None:
    misled = SHOWN_IS_BETTER._replace(disputed=0.9, shown=0.55)
    written = as_json(tune_answers(simulate(misled, 300, 1), SETTINGS))
    assert (written["frontier"][written["chosen"]]["escalate"] or {}).get("final") != "adjudicate"
    rules = {rule["rule"]: rule["accuracy"] for rule in written["disputes"]["rules"]}
    assert rules["adjudicate: titan"] < rules["replace: titan"]


def test_rows_count_only_for_panels_that_would_show_the_same_texts() -> None:
    answers = simulate(SHOWN_IS_BETTER, 60, 2)
    assert answers.adjudications is not None
    every = np.arange(60)
    design = Design((0, 1, 2), target=3, trusted=3, final="adjudicate")
    evaluate(answers, fit(answers, design, every))
    with pytest.raises(LookupError):  # a pair shows two of the three texts
        evaluate(answers, fit(answers, replace(design, members=(0, 1), trusted=2), every))
    with pytest.raises(LookupError):
        evaluate(answers, fit(answers, Design((0, 1, 2), panel_trusted=3), every))
    fewer = dict(answers.adjudications.replies)
    fewer.pop(next(iter(fewer)))
    spoilt = replace(answers, adjudications=replace(answers.adjudications, replies=fewer))
    with pytest.raises(LookupError):
        evaluate(spoilt, fit(spoilt, design, every))


def test_a_panel_that_judges_itself_needs_every_member_s_verdict() -> None:
    answers = simulate(SHOWN_IS_BETTER, 60, 2)
    assert answers.adjudications is not None
    of_titan = answers.adjudications.replies
    replies = {Dispute(name, *dispute[1:]): of_titan[dispute] for dispute in of_titan for name in ("amber", "birch")}
    design = Design((0, 1, 2), panel_trusted=3)
    for more, works in (({}, False), ({Dispute("cedar", *each[1:]): of_titan[each] for each in of_titan}, True)):
        recorded = replace(answers.adjudications, replies={**replies, **more})
        settled = replace(answers, adjudications=recorded)
        if not works:
            with pytest.raises(LookupError):
                evaluate(settled, fit(settled, design, np.arange(60)))
            continue
        found = evaluate(settled, fit(settled, design, np.arange(60)))
        asked = found.calls > 3
        assert set(found.calls.tolist()) == {3, 6}
        assert (found.agreement[asked] == 1).all(), "all verdicts are the same reply here"
        assert {row["rule"] for row in as_json(tune_answers(settled, SETTINGS))["disputes"]["rules"]} >= {
            "adjudicate: the panel itself"
        }


@pytest.mark.parametrize(("blind", "shown", "way"), [(0.6, 0.8, "adjudicate"), (0.8, 0.6, "replace")])
def test_the_better_way_to_settle_disputes_is_taken_at_a_hundred_questions(
    blind: float, shown: float, way: str
) -> None:
    """Some twenty blind designs against two that adjudicate: the luckiest of the many would often look best."""
    world = SHOWN_IS_BETTER._replace(disputed=blind, shown=shown)
    taken = []
    for seed in range(6):
        ensemble = tune_answers(simulate(world, 100, seed), replace(SETTINGS, seeds=2)).choice.ensemble
        taken.append(("adjudicate" if ensemble.adjudicates else "replace") if ensemble.stronger else "alone")
    assert taken.count(way) >= 5
    assert set(taken) <= {way, "alone"}


def contest(won: list[int], lost: list[int]) -> Contest:
    """Two thresholds, one block of a hundred questions; candidate 0 is shown disputes, 1 is asked blind, 2 is alone."""
    shown, blind = np.array([True, False, False]), np.array([False, True, False])
    return Contest(shown, blind, np.array(won)[:, None], np.array(lost)[:, None])


@pytest.mark.parametrize(
    ("won", "lost", "verdict"),
    [
        ([9, 2], [3, 1], 1),
        ([3, 1], [9, 2], -1),
        ([5, 2], [5, 2], 0),
        ([20, 0], [9, 6], 0),  # of the disputes in which nobody agrees, blind is clearly right more often
    ],
)
def test_the_way_that_is_right_on_more_disputes_wins_its_contest(won: list[int], lost: list[int], verdict: int) -> None:
    found = contest(won, lost).verdicts(np.ones((1, 1), dtype=np.float32), np.array([100]), margin=0.003)
    assert found.tolist() == [verdict]


def test_a_way_loses_only_where_the_other_is_affordable() -> None:
    won = contest([9, 2], [3, 1])
    verdicts = np.array([1, -1, 0])
    assert won.loses(verdicts, np.arange(3)).tolist() == [[False, True, False], [True, False, False], [False] * 3]
    assert not won.loses(verdicts, np.array([1, 2])).any()


def test_of_budgets_one_that_a_better_rule_beats_does_not_set_the_mark() -> None:
    accuracies, beaten = np.array([0.90, 0.95, 0.93]), np.array([False, True, False])
    assert pick(accuracies, 0.003, beaten=beaten) == 2
    assert pick(accuracies, 0.003, wanted=0.94, beaten=beaten) == 1
    assert pick(accuracies, 0.003, beaten=np.ones(3, dtype=np.bool_)) == 1
