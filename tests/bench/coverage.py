"""How often the intervals that tune and compare print hold the truth, and how often tune takes the better rule.

    python tests/bench/coverage.py [RUNS] [OUT.json] [QUESTIONS …]

On simulated answers (`tests/support/simulated_answers.py`), at 30, 100 and 400 questions, over worlds that differ in
how often the target is right on disputed questions, blind (p) and shown the candidates (q): the share of runs whose
interval holds the true difference of the written config to the reference, and its true accuracy; the mean error of the
printed accuracy; and how often a single model was chosen. Where the true accuracies of `replace` and `adjudicate`
differ by four points or more on the panel of all members: how often the written config settles disputes in the better
way and how often in the worse (it may also be a single model, or a panel that asks nobody), and how often the table of
rules that tune prints puts the better of the two ahead. Blind is every config that asks the target without showing it
the answers: one that replaces, one that lets it vote, and a cascade that ends with it. Then the paired interval of
compare, for the same worlds. Runs are done in rounds over all cells, and OUT is written after each round, so that a
run can be stopped at any time; with an OUT that exists it is resumed. QUESTIONS are the sizes to run: all by default.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from emerge_core.evals.offline.arrays import Answers
from emerge_core.evals.offline.ensembles import Design, Ensemble, by_order, evaluate, fit
from emerge_core.evals.statistics.intervals import paired
from emerge_core.evals.tune.settings import TuneSettings
from emerge_core.evals.tune.tuning import tune_answers
from tests.support.simulated_answers import World, simulate

EVEN = (0.70, 0.68, 0.66)
WORLDS = (
    World(EVEN, target=0.85, disputed=0.6, shown=0.8),
    World(EVEN, target=0.85, disputed=0.8, shown=0.6),
    World(EVEN, target=0.85, disputed=0.7, shown=0.7),
    World(target=0.9, disputed=0.85, shown=0.95),
    World((0.6, 0.55, 0.5), target=0.8, disputed=0.65, shown=0.85),
    World(target=0.85, disputed=0.6),
)
QUESTIONS = (30, 100, 400)
TRUTH, TRUTH_SEED = 20_000, 999
ROUND = 5
APART = 0.04
PAIRED = 2000


@cache
def truth_of(world: World) -> Answers:
    return simulate(world, TRUTH, TRUTH_SEED)


@cache
def accuracy_of(world: World, ensemble: Ensemble) -> float:
    return float(evaluate(truth_of(world), ensemble).score.mean())


@cache
def better_rule(world: World) -> str | None:
    """Of replace and adjudicate the one that is four points or more better, on the panel of all members."""
    if world.shown is None:
        return None
    every = np.arange(TRUTH)
    designs = [Design((0, 1, 2), "vote", 3, 3, final, ordered_members=True) for final in ("replace", "adjudicate")]
    blind, shown = (accuracy_of(world, fit(truth_of(world), design, every)) for design in designs)
    if abs(blind - shown) < APART:
        return None
    return "replace" if blind > shown else "adjudicate"


def outcome(world: World, questions: int, seed: int) -> list[float]:
    """Of one run: both intervals held, the error, a single model, the better way, the worse way, the table of rules."""
    tuned = tune_answers(simulate(world, questions, seed), TuneSettings(task="simulated"))
    choice = tuned.choice
    assert choice.versus is not None
    true = accuracy_of(world, by_order(truth_of(world), choice.ensemble) or choice.ensemble)
    difference = true - float(truth_of(world).score[3].mean())
    better, taken = better_rule(world), way_of(choice.ensemble)
    ranked = [rule.name.partition(":")[0] for rule in tuned.disputes.rules] if tuned.disputes else []
    return [
        float(choice.versus.low <= difference <= choice.versus.high),
        float(choice.accuracy.low <= true <= choice.accuracy.high),
        choice.accuracy.value - true,
        float(choice.single),
        float(better is not None and taken == better),
        float(better is not None and taken not in (None, better)),
        float(better == next((rule for rule in ranked if rule in ("replace", "adjudicate")), None)),
    ]


def way_of(ensemble: Ensemble) -> str | None:
    """How it settles disputes, by the rule that does so in the same way; None if it asks nobody."""
    if not ensemble.stronger:
        return None
    return "adjudicate" if ensemble.adjudicates else "replace"


def compared(world: World, questions: int) -> float:
    """How often compare's interval holds the true difference of the escalating panel to the target."""
    answers, random = truth_of(world), np.random.default_rng(7)
    ensemble = fit(answers, Design((0, 1, 2), "vote", 3, 3, "replace", ordered_members=True), np.arange(TRUTH))
    ours, theirs = evaluate(answers, ensemble).score, answers.score[3]
    true = float((ours - theirs).mean())
    held = 0
    for _ in range(PAIRED):
        drawn = random.integers(0, TRUTH, questions)
        low, high = paired(ours[drawn].tolist(), theirs[drawn].tolist())[1]
        held += low <= true <= high
    return held / PAIRED


def rows(found: dict[str, list[list[float]]]) -> Iterator[str]:
    head = "members | target | p | q | questions | runs | difference | accuracy | error | one model | better | worse"
    yield f"| {head} | table |\n{'|---' * 13}|"
    for world in WORLDS:
        for questions in QUESTIONS:
            outcomes = found.get(_cell(world, questions))
            if outcomes:
                held, accurate, error, single, *ways = np.mean(outcomes, axis=0)
                rules = " | ".join(f"{100 * each:.0f} %" if better_rule(world) else "–" for each in ways)
                shown = "–" if world.shown is None else f"{world.shown}"
                yield (
                    f"| {world.members} | {world.target} | {world.disputed} | {shown} | {questions} | {len(outcomes)} "
                    f"| {100 * held:.1f} % | {100 * accurate:.1f} % | {100 * error:+.1f} | {100 * single:.0f} % "
                    f"| {rules} |"
                )


def _cell(world: World, questions: int) -> str:
    return json.dumps([*world, questions])


def main(runs: int, out: Path | None, sizes: Sequence[int]) -> None:
    found: dict[str, list[list[float]]] = json.loads(out.read_text()) if out and out.is_file() else {}
    cells = [(world, questions) for questions in sizes for world in WORLDS]
    for until in range(ROUND, runs + ROUND, ROUND):
        for world, questions in cells:
            done = found.setdefault(_cell(world, questions), [])
            done += [outcome(world, questions, seed) for seed in range(len(done), min(until, runs))]
        if out:
            out.write_text(json.dumps(found))
    print(*rows(found), sep="\n")
    print("\ncompare's paired interval:")
    for questions in QUESTIONS:
        print(f"{questions} questions:", ", ".join(f"{100 * compared(world, questions):.1f} %" for world in WORLDS))


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 1000,
        Path(sys.argv[2]) if len(sys.argv) > 2 else None,
        [int(each) for each in sys.argv[3:]] or QUESTIONS,
    )
