"""One model asked several times: what a panel of several models has to beat at equal cost.

Source: Wang et al., "Self-Consistency Improves Chain of Thought Reasoning in Language Models", ICLR
2023 (a plain vote over answers that one model gave to one question).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from emerge_core.evals.offline.arrays import UNKNOWN, Answers, AnswersBuilder, reader_of
from emerge_core.evals.offline.voting import right_of, vote
from emerge_core.evals.recordings.recording import Question, Recordings, Reply
from emerge_core.evals.scoring.scorer import Scorer

if TYPE_CHECKING:
    from emerge_core.evals.types import Booleans

NO_REPLY = Reply("", 0)  # of a call that failed or was not made: it abstains
FEWEST = 2


@dataclass(frozen=True, slots=True)
class Repeated:
    """A vote among answers of one model."""

    model: str
    times: int
    right: Booleans  # (questions,)
    cost: float  # mean US dollars per question


def repeated(recordings: Recordings, answers: Answers, members: Sequence[int], cost: float) -> list[Repeated]:
    """Votes among the answers of one member, as many as the cost (US dollars per question) allows and were recorded.
    Members that cannot be asked twice are left out."""
    recorded = recordings.samples(answers.task)
    own = {row: float(answers.costs(row).mean()) for row in members}
    times = {row: min(recorded, int(cost / spent + 1e-9)) for row, spent in own.items() if spent > 0}
    wanted = {answers.models[row]: count for row, count in times.items() if count >= FEWEST}
    if not wanted:
        return []
    questions, scorer = recordings.questions(answers.task), Scorer.of(recordings, answers.task)
    samples = [
        recordings.replies(answers.task, questions, wanted, sample=sample) for sample in range(max(wanted.values()))
    ]
    found = []
    for model, count in wanted.items():
        of_model = [sample[model] for sample in samples[:count] if model in sample]
        if len(of_model) >= FEWEST:
            asked = _asked(answers, scorer, model, of_model, [questions[id_] for id_ in answers.questions])
            rows = range(len(of_model))
            spent = float(np.sum([asked.costs(row) for row in rows], axis=0).mean())
            found.append(Repeated(model, len(of_model), right_of(asked, rows, vote(asked, rows).winner), spent))
    return found


def _asked(
    answers: Answers,
    scorer: Scorer,
    model: str,
    samples: Sequence[Mapping[str, Reply]],
    questions: Sequence[Question],
) -> Answers:
    """The samples as if each were another model's."""
    names = [f"{model} {number}" for number in range(1, len(samples) + 1)]
    builder = AnswersBuilder(reader_of(scorer), names)
    texts = {
        name: {id_: sample.get(id_, NO_REPLY) for id_ in answers.questions}
        for name, sample in zip(names, samples, strict=True)
    }
    for number, id_ in enumerate(answers.questions):
        builder.add(number, id_, {name: texts[name][id_] for name in names})
    known = dict.fromkeys(names, answers.known.get(model, UNKNOWN))
    return builder.answers(answers.task, questions, known=known, texts=texts)
