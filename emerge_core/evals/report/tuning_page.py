"""The page of one tuning. First which models, why, what they cost and how sure that is; then the plot and tables."""

from __future__ import annotations

from collections.abc import Iterator

from emerge_core.evals.report.html import bullets, heading, image, page, section, table
from emerge_core.evals.report.tuning_plot import finding, tuned_plot
from emerge_core.evals.tables import dollars, percent, points
from emerge_core.evals.tune.crossval import FOLDS
from emerge_core.evals.tune.result import Tuned
from emerge_core.evals.tune.table import (
    advice,
    asks_of,
    controls_rows,
    costs,
    dispute_finding,
    dispute_rows,
    few_warning,
    name_of,
    rival_finding,
)


def tuning_page(tuned: Tuned) -> str:
    """One HTML file. It says what the terminal says, by the same functions."""
    answers = tuned.answers
    title = f"{answers.task}: {advice(tuned)}"
    left_out = f"{answers.left_out} left out, since not every model answered them"
    parts = [
        heading(title, f"{len(answers.questions)} questions, {left_out}; {tuned.tried} candidates tried."),
        bullets(_answers(tuned)),
        section(finding(tuned), image(finding(tuned), tuned_plot(tuned)), _READ),
        section("What each budget buys", _budgets(tuned), _METHOD.format(FOLDS, tuned.settings.seeds)),
        section(
            "What the choice is measured against",
            table(["to compare with", "accuracy, %", "$ per 1,000"], controls_rows(tuned), running=0),
            f"Some considered model is right on {100 * tuned.controls.oracle:.1f} % of the questions, some member of "
            f"the chosen panel on {100 * tuned.controls.panel_oracle:.1f} %: what a perfect picker would reach.",
        ),
    ]
    if tuned.disputes:
        head = ["if the panel disagrees, ask", "accuracy, %", "the best less this", "$ per 1,000", "calls"]
        parts.append(
            section(
                "When the panel disagrees",
                table(head, dispute_rows(tuned.disputes), running=0),
                dispute_finding(tuned.disputes),
            )
        )
    return page(title, parts)


_READ = (
    "Accuracy on questions that did not choose, by what 1,000 questions cost. Bars are 95 % intervals: if two overlap "
    "widely, this recording does not distinguish them."
)
_METHOD = (
    "The best candidate within each budget, cheapest first. Nested cross-validation, {} folds, {} partitions: each "
    "question is answered by an ensemble that was chosen without it. In brackets 95 % intervals."
)


def _answers(tuned: Tuned) -> Iterator[str]:
    """The four questions that a reader has."""
    choice, what = tuned.choice, "a mean score of" if tuned.answers.graded else "right on"
    sure = f"How sure: {what} {percent(choice.accuracy)} % of unseen questions"
    if choice.versus is not None:
        sure += f", {points(choice.versus)} points against {tuned.reference}"
    yield f"Which models: {advice(tuned)}."
    why = rival_finding(tuned)
    yield "Why: " + (why or "no single model that costs no more is as accurate, or this one is the best there is.")
    for place, text in enumerate(costs(tuned)):
        yield text if place else f"What it costs: {text}"
    yield sure + "."
    if tuned.few:
        yield few_warning(tuned)


def _budgets(tuned: Tuned) -> str:
    rows = [
        [
            "chosen" if number == tuned.chosen else "",
            percent(point.accuracy),
            "" if point.versus is None else points(point.versus),
            dollars(point.cost),
            f"{point.calls:.2f}",
            name_of(point) + (f"; {asks_of(point)}" if point.asks else ""),
        ]
        for number, point in enumerate(tuned.points)
    ]
    against = f"against {tuned.reference}" if tuned.reference else "against nothing"
    return table(["", "accuracy, %", against, "$ per 1,000", "calls", "who answers"], rows, running=5)
