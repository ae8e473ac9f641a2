"""Diversity for people: shares in per cent, coefficients as they are, each with its 95 % interval."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

from emerge_core.evals.diversity.measures import Estimate, PairDiversity, PanelDiversity

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


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as their widest cell; text to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if _is_text(column, rows) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    ]
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]


def percent(estimate: Estimate) -> str:
    return _shown(estimate, "{:.1f}", 100)


def points(estimate: Estimate) -> str:
    """A difference, in percentage points."""
    return _shown(estimate, "{:+.1f}", 100)


def coefficient(estimate: Estimate) -> str:
    return _shown(estimate, "{:.2f}", 1)


def _shown(estimate: Estimate, form: str, scale: int) -> str:
    if isnan(estimate.value):
        return "–"
    value, low, high = (form.format(scale * number) for number in estimate)
    return f"{value} ({low} to {high})"


def _pair(pair: PairDiversity) -> list[str]:
    return [
        pair.a,
        pair.b + (" *" if pair.same_family else ""),
        coefficient(pair.phi),
        percent(pair.double_fault),
        percent(pair.same_wrong),
        coefficient(pair.q),
    ]


def _is_text(column: int, rows: Sequence[Sequence[str]]) -> bool:
    return column == 0 or any(row[column][:1].isalpha() for row in rows)
