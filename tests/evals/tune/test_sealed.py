"""What tune says of recorded models holds on the half of the questions that it has not seen. `tests/bench/sealed.py`
does this for more tasks and many halves."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from emerge_core.evals.offline.arrays import read_answers
from emerge_core.evals.offline.ensembles import evaluate
from emerge_core.evals.recordings.recording import Recordings
from emerge_core.evals.tune.settings import TuneSettings
from emerge_core.evals.tune.tuning import tune_answers


def test_one_model_is_enough_for_open_questions(shared: Path) -> None:
    """Three members and a frontier model asked on 90 % were chosen here, although worse than that model alone."""
    answers = read_answers(Recordings(shared), "nq_open")
    numbers = np.arange(len(answers.questions))
    tuned = tune_answers(answers.only(numbers[::2]), TuneSettings(task="nq_open", seeds=4))
    assert tuned.kind == "single"
    assert tuned.reference is not None
    assert tuned.choice.versus is not None
    sealed = answers.only(numbers[1::2])
    difference = evaluate(sealed, tuned.choice.ensemble).score - sealed.score[sealed.index(tuned.reference)]
    assert tuned.choice.versus.low <= difference.mean() <= tuned.choice.versus.high
