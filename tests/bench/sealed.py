"""Whether what tune claims holds on questions that it has not seen, on recordings of real models.

    python tests/bench/sealed.py RECORDINGS [SPLITS]

Each task is split in halves at random, several times. tune chooses on one half, and what it writes is evaluated on the
other. A row tells, over all splits: how often a single model was recommended; the mean difference to the reference that
tune printed and that the sealed half showed; how often the printed interval held the sealed difference; and how often
the two were apart by no more than both their errors explain. A sealed half is a sample, too: an interval that holds the
truth in 95 of 100 cases holds the difference in a sample of equal size in about 83.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from math import hypot
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from emerge_core.evals.offline.arrays import Answers, read_answers
from emerge_core.evals.offline.ensembles import evaluate
from emerge_core.evals.recordings.recording import Recordings
from emerge_core.evals.statistics.intervals import paired
from emerge_core.evals.tune.settings import CostLimit, TuneSettings
from emerge_core.evals.tune.tuning import tune_answers

TASKS: Sequence[TuneSettings] = (
    TuneSettings(task="crux", reference="gpt-4o-2024-08-06", max_cost=CostLimit(0.5, share=True)),
    TuneSettings(task="nq_open"),
    TuneSettings(task="math_l5", reference="grok-2-1212", max_cost=CostLimit(0.3, share=True)),
    TuneSettings(task="gsm8k", reference="claude-3-5-sonnet-20241022", max_cost=CostLimit(0.35, share=True)),
)


class Sealed(NamedTuple):
    """What one tuning said, and what the other half of the questions shows."""

    chosen: str
    single: bool
    printed: float
    sealed: float
    inside: bool
    explained: bool


def sealed(answers: Answers, settings: TuneSettings, splits: int) -> Iterator[Sealed]:
    """Two for each split: each half is tuned on once."""
    count = len(answers.questions)
    for seed in range(splits):
        halves = np.array_split(np.random.default_rng(seed).permutation(count), 2)
        for half, other in (halves, halves[::-1]):
            yield _sealed(answers.only(np.sort(half)), answers.only(np.sort(other)), settings)


def _sealed(seen: Answers, unseen: Answers, settings: TuneSettings) -> Sealed:
    tuned = tune_answers(seen, settings)
    choice, versus = tuned.choice, tuned.choice.versus
    assert versus is not None
    assert tuned.reference is not None
    ours = evaluate(unseen, choice.ensemble).score
    theirs = unseen.score[unseen.index(tuned.reference)]
    value, (low, high) = paired(ours.tolist(), theirs.tolist())
    error = hypot((versus.high - versus.low) / 2, (high - low) / 2)
    return Sealed(
        chosen=" + ".join(choice.members) + (f" > {' > '.join(choice.to)}" if choice.to else ""),
        single=choice.single,
        printed=versus.value,
        sealed=value,
        inside=versus.low <= value <= versus.high,
        explained=abs(versus.value - value) <= error,
    )


def main(recordings: Path, splits: int) -> None:
    print("| task | tunings | one model | printed | sealed | inside | explained |\n|---|---|---|---|---|---|---|")
    for settings in TASKS:
        found = list(sealed(read_answers(Recordings(recordings), settings.task), settings, splits))
        single, printed, shown, inside, explained = np.mean([each[1:] for each in found], axis=0) * 100
        print(
            f"| {settings.task} | {len(found)} | {single:.0f} % | {printed:+.1f} | {shown:+.1f} | {inside:.0f} % "
            f"| {explained:.0f} % |",
            flush=True,
        )
        for chosen, times in Counter(each.chosen for each in found).most_common(3):
            print(f"  {times} times {chosen}", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("give the directory of recordings, and how many splits if not ten")
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 10)
