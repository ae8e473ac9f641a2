"""Prints the reliability that was estimated from agreement."""

from __future__ import annotations

import numpy as np

from emerge_core.evals.diversity.unlabelled import Reliability
from emerge_core.evals.offline.arrays import Answers
from emerge_core.evals.tables import aligned, percent, points

LIMITS = """\
These are estimates, not measurements: no answer was checked. Errors that models share (one family, one trap in the
question) count as agreement and make the models look better than they are. A few dozen labels help more than hundreds
of further questions: give some rows `answers`, and the estimate uses them."""


ANCHORED = """\
"By both" is Dawid and Skene's model, fitted to the agreement on all questions with the labelled answers fixed;
intervals are 95 %. Any questions may be labelled, disputed ones included. Labels remove only part of the bias from
shared errors."""

FEW = 50  # questions: fewer allow hardly any estimate


def truth(answers: Answers, found: Reliability) -> dict[str, float]:
    """The true accuracy of each model on the same questions, for a task whose gold answers were withheld."""
    return {name: float(answers.right[answers.index(name), : found.questions].mean()) for name in found.models}


def unlabelled_table(found: Reliability, known: dict[str, float] | None = None) -> str:
    """Models by estimated reliability, which model each agrees with most and least, and the panel to try."""
    order = sorted(range(len(found.models)), key=lambda m: -found.accuracy[m].value)
    rows = [_row(found, m, known) for m in order]
    head = ["model", "estimated right", *(["truly right"] if known else []), "agrees most with", "least with"]
    lines = [f"{found.task}: {found.questions} questions without gold answers", "", *aligned(head, rows), ""]
    lines += suggestion(found)
    lines.append(f"Two wrong answers are the same about {100 * found.coincide:.0f} % of the time.")
    if found.left_out:
        lines.append(f"Left out, because few of their replies state an answer to compare: {', '.join(found.left_out)}.")
    return "\n".join([*lines, "", LIMITS, f"Label first: {', '.join(found.to_label)}"])


def anchored_table(found: Reliability) -> str:
    """The estimates for a task with few labels: from labels and agreement together, and from each alone."""
    order = sorted(range(len(found.models)), key=lambda m: -found.accuracy[m].value)
    rows = [anchored_row(found, m) for m in order]
    return "\n".join(
        [
            f"{found.task}: all {found.questions} questions, of which {found.labelled} have gold answers",
            "",
            *aligned(["model", *ANCHORED_HEAD], rows),
            "",
            moved(found),
            *suggestion(found),
            "",
            ANCHORED,
            f"Label next: {', '.join(found.to_label)}",
        ]
    )


ANCHORED_HEAD = ("right, by both", "by agreement alone", "by the labels alone")


def anchored_row(found: Reliability, model: int) -> list[str]:
    return [found.models[model], *(percent(each[model]) for each in (found.accuracy, found.agreed, found.counted))]


def moved(found: Reliability) -> str:
    """How much the labels changed the estimates, in one sentence."""
    both, alone, counted = (np.array(each) * 100 for each in (found.accuracy, found.agreed, found.counted))
    widths = [float((each[:, 2] - each[:, 1]).mean()) for each in (both, alone, counted)]
    by = np.abs(both - alone)[:, 0].mean()
    return (
        f"The {found.labelled} labels moved the estimates by {by:.1f} points on average; intervals are "
        f"{widths[0]:.0f} points wide, without the labels {widths[1]:.0f}, from the labels alone {widths[2]:.0f}."
    )


def suggestion(found: Reliability) -> list[str]:
    """Which panel to try, what its vote is expected to gain, and whether that may be chance."""
    best = found.models[max(range(len(found.models)), key=lambda m: found.accuracy[m].value)]
    chance = found.gain.low <= 0 <= found.gain.high
    head = (
        "Panel to try" if found.gain.value > 0 else f"No panel of three is expected to beat {best} alone; the nearest"
    )
    lines = [
        f"{head}: {', '.join(found.panel)}. Its vote is expected to be right on {percent(found.vote)} %.",
        f"Against {best} alone that is {points(found.gain)} points{', which may be chance' if chance else ''}.",
    ]
    if found.alternatives > 0:
        lines.append(f"Other panels of three that are as likely to be as good: {found.alternatives}.")
    if found.questions < FEW:
        lines.append(
            f"{found.questions} question(s) are too few for an estimate, and the intervals too narrow: "
            f"record {FEW} or more."
        )
    return lines


def _row(found: Reliability, model: int, known: dict[str, float] | None) -> list[str]:
    shares = found.agreement[model].copy()
    shares[model] = np.nan
    shown = ["–", "–"]
    if not np.isnan(shares).all():
        places = (int(np.nanargmax(shares)), int(np.nanargmin(shares)))
        shown = [f"{found.models[place]} {100 * shares[place]:.0f} %" for place in places]
    name = found.models[model]
    return [name, percent(found.accuracy[model]), *([f"{100 * known[name]:.1f}"] if known else []), *shown]
