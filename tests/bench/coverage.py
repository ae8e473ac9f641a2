"""How often the intervals that tune prints hold the truth of the config that it writes.

    python tests/bench/coverage.py [RUNS]

On simulated answers (`tests/support/simulated_answers.py`), at 30, 100 and 400 questions: the share of runs whose
interval holds the true difference to the reference, and the true accuracy; the mean error of the printed accuracy;
and how often a single model was chosen. A thousand runs (the default) take about an hour on two cores.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from emerge_core.evals.offline.ensembles import evaluate
from emerge_core.evals.tune.settings import TuneSettings
from emerge_core.evals.tune.tuning import tune_answers
from tests.support.simulated_answers import World, simulate

WORLDS = (
    World(target=0.85),
    World(target=0.85, disputed=0.6),
    World(target=0.8, disputed=0.9),
    World(target=0.7),
    World(members=(0.6, 0.55, 0.5), target=0.95),
)


def measured(world: World, questions: int, runs: int) -> list[float]:
    truth = simulate(world, 40_000, 999)
    rows = []
    for seed in range(runs):
        tuned = tune_answers(simulate(world, questions, seed), TuneSettings(task="simulated"))
        choice = tuned.choice
        assert choice.versus is not None
        true = float(evaluate(truth, choice.ensemble).score.mean())
        difference = true - float(truth.score[3].mean())
        rows.append(
            (
                choice.versus.low <= difference <= choice.versus.high,
                choice.accuracy.low <= true <= choice.accuracy.high,
                choice.accuracy.value - true,
                choice.single,
            )
        )
    return [float(each) for each in np.mean(np.array(rows, dtype=np.float64), axis=0)]


def main(runs: int) -> None:
    print("| members | target | on disputes | questions | difference | accuracy | error, points | one model |")
    print("|---|---|---|---|---|---|---|---|")
    jobs = [(world, questions) for world in WORLDS for questions in (30, 100, 400)]
    with ProcessPoolExecutor(2) as pool:
        found = pool.map(measured, *zip(*jobs, strict=True), [runs] * len(jobs))
        for (world, questions), (difference, accuracy, error, single) in zip(jobs, found, strict=True):
            disputed = world.target if world.disputed is None else world.disputed
            print(
                f"| {world.members} | {world.target} | {disputed} | {questions} | {100 * difference:.1f} % "
                f"| {100 * accuracy:.1f} % | {100 * error:+.1f} | {100 * single:.0f} % |",
                flush=True,
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
