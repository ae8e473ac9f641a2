"""Diversity for people: shares in per cent, coefficients as they are, each with its 95 % interval."""

from __future__ import annotations

from math import isnan

from emerge_core.evals.diversity.measures import PairDiversity, PanelDiversity
from emerge_core.evals.tables import aligned, coefficient, percent, points

SHOWN = 15  # pairs, where there are more


def table(found: PanelDiversity) -> str:
    """Members, pairs (those whose errors go together least first), and the panel as a whole."""
    members = [
        [each.model, each.family or "?", percent(each.accuracy), points(each.marginal)] for each in found.members
    ]
    pairs = sorted(found.pairs, key=lambda pair: 2.0 if isnan(pair.phi.value) else pair.phi.value)
    many = f"the {SHOWN} pairs of {len(pairs)} with" if len(pairs) > SHOWN else "pairs,"
    return "\n".join(
        [
            f"{found.task}: {found.questions} questions, {found.left_out} left out (not answered by every model)",
            "",
            *aligned(["model", "family", "accuracy", "adds to the vote"], members),
            "",
            f"{many} least correlated errors first (* same family)",
            *aligned(["", "", "phi", "both wrong", "same wrong answer", "Q"], [_pair(pair) for pair in pairs[:SHOWN]]),
            "",
            "per cent, 95 % intervals; phi: correlation of errors (0 independent, 1 the same); Q: Yule's, of errors",
            "",
            f"vote {percent(found.vote)}, {points(found.gain)} against its best member {found.best}",
            f"oracle {percent(found.oracle)}, spread of accuracy {percent(found.spread)}",
        ]
    )


def _pair(pair: PairDiversity) -> list[str]:
    return [
        pair.a,
        pair.b + (" *" if pair.same_family else ""),
        coefficient(pair.phi),
        percent(pair.double_fault),
        percent(pair.same_wrong),
        coefficient(pair.q),
    ]
