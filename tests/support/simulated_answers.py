"""Answers of simulated models as arrays, where the truth is known: for tests of what tuning promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from emerge_core.evals.offline.arrays import Adjudications, Answers, Reading
from emerge_core.evals.recordings.recording import Question, RecordedModel, Reply
from emerge_core.evals.recordings.rows import Dispute
from emerge_core.types import AnswerKey

if TYPE_CHECKING:
    from emerge_core.evals.types import Integers

WRONG = 4  # wrong answers to a question
REPLIES = [Reply(f"The answer is ({letter}).", 100) for letter in "ABCDE"]


class World(NamedTuple):
    """How often three members are right on a question of middling difficulty, how much difficulty varies, and how
    often a dearer target is right: overall, on questions of which the members dispute the answer, and if it is shown
    that dispute (None: no adjudications are recorded)."""

    members: tuple[float, float, float] = (0.78, 0.74, 0.70)
    spread: float = 0.18
    target: float = 0.85
    disputed: float | None = None
    shown: float | None = None
    target_price: float = 10.0


def simulate(world: World, questions: int, seed: int) -> Answers:
    """Rows: the three members, then the target."""
    random = np.random.default_rng(seed)
    ease = random.normal(0, world.spread, questions)
    chance = np.clip(np.array(world.members)[:, None] + ease, 0.02, 0.98)
    right = random.random(chance.shape) < chance
    codes = np.where(right, 0, random.integers(1, WRONG + 1, chance.shape))
    agreed = (codes == codes[0]).all(axis=0)
    of_target = np.where(agreed, world.target, world.target if world.disputed is None else world.disputed)
    codes = np.vstack(
        [codes, np.where(random.random(questions) < of_target, 0, random.integers(1, WRONG + 1, questions))]
    )
    verdicts = np.where(random.random(questions) < (world.shown or 0), 0, random.integers(1, WRONG + 1, questions))
    names = ("amber", "birch", "cedar", "titan")
    prices = (1.0, 1.0, 1.0, world.target_price)
    shape = codes.shape
    return Answers(
        task="simulated",
        questions=tuple(f"q{number}" for number in range(questions)),
        models=names,
        known={
            name: RecordedModel("frontier" if name == "titan" else "small", (0.0, price), name, name)
            for name, price in zip(names, prices, strict=True)
        },
        codes=codes.astype(np.int16),
        usable=np.ones(shape, dtype=np.bool_),
        refused=np.zeros(shape, dtype=np.bool_),
        score=(codes == 0).astype(np.float64),
        confidence=np.full(shape, np.nan),
        prompt_tokens=np.zeros(shape, dtype=np.int64),
        tokens=np.full(shape, 100, dtype=np.int64),
        latency_ms=np.full(shape, np.nan),
        joined={},
        offers_tools=np.zeros(questions, dtype=np.bool_),
        called=np.zeros(shape, dtype=np.bool_),
        names=np.full(shape, -1, dtype=np.int16),
        texts={
            name: {f"q{number}": REPLIES[code] for number, code in enumerate(row)}
            for name, row in zip(names, codes.tolist(), strict=True)
        },
        adjudications=None if world.shown is None else _adjudications(codes[:3], verdicts),
    )


def _adjudications(panel: Integers, verdicts: Integers) -> Adjudications:
    """What the target answers if it is shown the members' distinct answers."""
    replies = {}
    questions = {f"q{number}": Question(f"q{number}", "") for number in range(len(verdicts))}
    for number in np.flatnonzero((panel != panel[0]).any(axis=0)):
        texts = tuple(sorted({REPLIES[code].text for code in panel[:, number]}))
        replies[Dispute("titan", f"q{number}", texts)] = REPLIES[verdicts[number]]
    return Adjudications(replies, questions, _read)


def _read(question: str, reply: Reply) -> Reading:
    right = reply == REPLIES[0]
    return Reading(AnswerKey("letter", reply.text), True, False, float(right), float("nan"), None)
