"""Which models write alike: the similarity of their prose, by the built-in embedder.

Prose has no answers that can be compared, so this does not show which model is right. It shows which models say nearly
the same, and so add little to each other, and whose reply is usually the medoid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from emerge_core.evals.diversity.table import SHOWN
from emerge_core.evals.offline.arrays import NO_KEY, Answers
from emerge_core.evals.offline.speakers import nearest, nearness
from emerge_core.evals.statistics.resampling import Draws, Estimate, Figures
from emerge_core.evals.tables import aligned

if TYPE_CHECKING:
    from emerge_core.evals.types import Booleans, Floats

RESAMPLES = 1000
LIMITS = """\
Too few replies state an answer that can be compared, so this does not show which model is right. Similarity is that of
wording (1: the same words), as `aggregator: consensus` measures it. Models that are nearly alike add little to each
other. A model unlike all others may be the only right one, or the only wrong one: `emerge score` can decide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WordingPair:
    """Two models. `similarity`: mean cosine of their usable replies (0 to 1); `same`: of the questions on which both
    state an answer that can be compared, the share with the same one, and `compared` how many those are."""

    a: str
    b: str
    similarity: Estimate
    same: float | None
    compared: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    task: str
    questions: int
    models: tuple[str, ...]
    usable: tuple[float, ...]  # share of each model's replies
    middle: tuple[float, ...]  # share of the questions on which the model's reply is the medoid
    pairs: tuple[WordingPair, ...]  # the least alike first


def likeness(answers: Answers, models: Sequence[str] | None = None, *, limit: int | None = None) -> Likeness:
    """The similarity of the models on the first `limit` questions; intervals are 95 % bootstraps over questions."""
    answers = answers.only(np.arange(len(answers.questions))[:limit])
    names = tuple(models or answers.models)
    rows = [answers.index(name) for name in names]
    near, usable = nearness(answers, rows), answers.usable[rows]
    count = len(answers.questions)
    speaks = nearest(near, usable, np.ones(len(rows)), np.full(usable.shape, np.nan))
    speaks = np.where(usable.any(axis=0), speaks, -1)
    draws = Draws(count, RESAMPLES, 0)
    pairs = []
    for a in range(len(rows)):
        for b in range(a):
            both = usable[a] & usable[b]
            keyed = (answers.codes[rows[a]] != NO_KEY) & (answers.codes[rows[b]] != NO_KEY)
            compared = int(keyed.sum())
            pairs.append(
                WordingPair(
                    a=names[b],
                    b=names[a],
                    similarity=_mean_where(draws, near[a, b].astype(np.float64), both),
                    same=float(answers.equal(rows[a], rows[b])[keyed].mean()) if compared else None,
                    compared=compared,
                )
            )
    return Likeness(
        task=answers.task,
        questions=count,
        models=names,
        usable=tuple(usable.mean(axis=1).tolist()),
        middle=tuple(float((speaks == place).mean()) for place in range(len(rows))),
        pairs=tuple(sorted(pairs, key=lambda pair: np.nan_to_num(pair.similarity.value, nan=2.0))),
    )


def _mean_where(draws: Draws, values: Floats, kept: Booleans) -> Estimate:
    whole, drawn = draws.means(np.array([values * kept, kept]))
    with np.errstate(invalid="ignore", divide="ignore"):
        return Figures(whole[:1] / whole[1:], drawn[:1] / drawn[1:]).at(0)


def likeness_table(found: Likeness) -> str:
    """Models by how often their reply is the medoid, and pairs, the least alike first."""
    order = sorted(range(len(found.models)), key=lambda m: -found.middle[m])
    models = [[found.models[m], f"{100 * found.usable[m]:.0f} %", f"{100 * found.middle[m]:.0f} %"] for m in order]
    pairs = [
        [
            f"{pair.a}, {pair.b}",
            _similarity(pair),
            "" if pair.same is None else f"{100 * pair.same:.0f} % of {pair.compared}",
        ]
        for pair in found.pairs[:SHOWN]
    ]
    return "\n".join(
        [
            f"{found.task}: {found.questions} questions: which models write alike",
            "",
            *aligned(["model", "usable replies", "nearest to the others"], models),
            "",
            *aligned(["the least alike first", "similarity, 95 %", "same short answer"], pairs),
            "",
            LIMITS,
        ]
    )


def _similarity(pair: WordingPair) -> str:
    value, low, high = pair.similarity
    return "" if np.isnan(value) else f"{value:.2f} ({low:.2f} to {high:.2f})"
