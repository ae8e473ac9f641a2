"""Prints findings: gains in percentage points with their 95 % intervals."""

from __future__ import annotations

from emerge_core.evals.diversity.findings import MATCHED, Findings
from emerge_core.evals.tables import aligned, points


def findings_table(found: Findings) -> str:
    rows = [
        [
            f"{100 * row.low:.0f} to {100 * row.high:.0f}" if row.high < 1 else f"over {100 * row.low:.0f}",
            points(row.gain),
            str(row.panels),
            points(row.same_family),
            str(row.same_family_panels),
            points(row.cross_provider),
            str(row.cross_provider_panels),
            points(row.difference),
        ]
        for row in found.by_spread
    ]
    head = ["spread", "gain", "panels", "one family", "panels", "three providers", "panels", "difference"]
    return "\n".join(
        [
            f"{found.task}: {found.questions} questions, {len(found.models)} models, "
            f"{found.tried} of the {found.trios} panels of three",
            "gain of a plain vote of three over its best member, in points, by the spread of the members' accuracies;",
            "choices are made on one half of the questions, gains measured on the other; a panel counts once for each",
            "",
            *aligned(head, rows),
            "",
            f"a fourth member, if accuracies are at most {100 * MATCHED:.0f} points apart: {points(found.fourth)} "
            f"against the same panel without its weakest ({found.fourth_panels} panels)",
        ]
    )
