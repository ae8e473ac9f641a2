"""Prints diversity: shares in per cent, coefficients as they are, each with its 95 % interval."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan, nan

from emerge_core.evals.diversity.measures import PairDiversity, PanelDiversity
from emerge_core.evals.tables import aligned, coefficient, paragraph, percent, points

SHOWN = 15  # pairs at most


def table(found: PanelDiversity) -> str:
    """Members, pairs (the least correlated first), and the panel as a whole."""
    members = [
        [each.model, each.family or "?", percent(each.accuracy), points(each.marginal)] for each in found.members
    ]
    pairs = sorted(found.pairs, key=lambda pair: 2.0 if isnan(pair.phi.value) else pair.phi.value)
    many = f"the {SHOWN} pairs of {len(pairs)} with" if len(pairs) > SHOWN else "pairs,"
    return "\n".join(
        [
            f"{found.task}: {found.questions} questions, {found.left_out} left out (not answered by every model)",
            "",
            *aligned(["model", "family", "mean score" if found.graded else "accuracy", "adds to the vote"], members),
            "",
            f"{many} least correlated {'scores' if found.graded else 'errors'} first (* same family)",
            *(_graded_pairs if found.graded else _pairs)(pairs[:SHOWN]),
            "",
            f"{'medoid' if found.graded else 'vote'} {percent(found.vote)}, "
            f"{points(found.gain)} against its best member {found.best}",
            f"oracle {percent(found.oracle)}, spread of {'mean scores' if found.graded else 'accuracy'} "
            f"{percent(found.spread)}",
        ]
    )


def _pairs(pairs: Sequence[PairDiversity]) -> list[str]:
    rows = [
        [
            _names(pair),
            coefficient(pair.phi),
            percent(pair.double_fault),
            percent(pair.same_wrong),
            coefficient((pair.q.value, nan, nan)),  # its interval would make the table too wide
        ]
        for pair in pairs
    ]
    return [
        *aligned(["pair", "phi", "both wrong", "same wrong answer", "Q"], rows),
        "",
        *paragraph(
            "per cent, 95 % intervals; phi: correlation of errors (0 independent, 1 the same); Q: Yule's, of "
            "errors, whose interval is in the report (--html)"
        ),
    ]


def _graded_pairs(pairs: Sequence[PairDiversity]) -> list[str]:
    rows = [[_names(pair), coefficient(pair.phi), percent(pair.double_fault)] for pair in pairs]
    return [
        *aligned(["pair", "correlation", "both score half or less"], rows),
        "",
        "per cent of the highest score, 95 % intervals; correlation of the scores (0 independent, 1 the same)",
    ]


def _names(pair: PairDiversity) -> str:
    return f"{pair.a} and {pair.b}" + (" *" if pair.same_family else "")
