"""What tuning found, for people: accuracies in per cent, costs in US dollars per 1,000 questions."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from emerge_core.evals.tables import aligned, dollars, paragraph, percent, points
from emerge_core.evals.tune.config_writer import aggregator_of
from emerge_core.evals.tune.crossval import FOLDS
from emerge_core.evals.tune.dispute_rules import DisputeRules
from emerge_core.evals.tune.result import FEW, Point, SingleModel, Tuned


def table(tuned: Tuned) -> str:
    """The chosen ensemble, the best one for each budget, what both are compared with, and the rules for disputes."""
    parts = [_choice(tuned), _budgets(tuned), _controls(tuned), _disputes(tuned)]
    return "\n\n".join("\n".join(lines) for part in parts if (lines := list(part)))


def advice(tuned: Tuned) -> str:
    """The recommendation in one sentence."""
    choice = tuned.choice
    if choice.single:
        return f"use {choice.members[0]} alone"
    return f"use the {name_of(choice)}" + (f", {asks_of(choice)}" if choice.asks else "")


def name_of(point: Point) -> str:
    """A panel by its rule and members."""
    ensemble, names = point.ensemble, point.members
    if len(names) == 1:
        return names[0]
    if ensemble.rule == "cascade":
        return f"cascade of {', '.join(names)}"
    if any(weight != 1 for weight in ensemble.weights):
        names = tuple(f"{name} ×{weight:g}" for name, weight in zip(names, ensemble.weights, strict=True))
    return f"{aggregator_of(ensemble)} of {', '.join(names)}"


def asks_of(point: Point) -> str:
    """Who is asked after the first round, when, how often, and what becomes of the answer."""
    ensemble = point.ensemble
    if not point.asks:
        return "no other model"
    often = f"({100 * point.asked:.1f} %)"
    if ensemble.rule == "cascade":
        return f"{', then '.join(point.to)} if no two agree {often}"
    steps = [] if ensemble.panel_below is None else [f"the panel again below {ensemble.panel_below:g}"]
    if point.to:
        steps.append(f"{point.to[0]} below {ensemble.below_agreement:g}")
    return f"{', then '.join(steps)} {often}, {'adjudicate' if ensemble.adjudicates else ensemble.final}"


def _choice(tuned: Tuned) -> Iterator[str]:
    choice, what = tuned.choice, "mean score" if tuned.answers.graded else "right"
    yield from paragraph(f"{tuned.answers.task}: {advice(tuned)}")
    said = f"{percent(choice.accuracy)} % {what} on unseen questions"
    if choice.versus is not None:
        said += f", {points(choice.versus)} points against {tuned.reference}"
    yield from paragraph(f"  {said}", indent="  ")
    yield from (line for text in costs(tuned) for line in paragraph(f"  {text}", indent="  "))
    if why := rival_finding(tuned):
        yield from paragraph(f"  {why}", indent="  ")
    if tuned.few:
        yield from paragraph(few_warning(tuned))


def rival_finding(tuned: Tuned) -> str | None:
    """How the best ensemble compares with the best single model that costs no more; None if there is no such model."""
    rival = tuned.controls.rival
    if rival is None or rival.versus is None:
        return None
    clear = "clearly better than" if rival.versus.low > 0 else "not clearly better than"
    return (
        f"The best ensemble is {clear} {rival.model} alone, the best single model that costs no more: "
        f"{points(rival.versus)} points."
    )


def few_warning(tuned: Tuned) -> str:
    return (
        f"Warning: {len(tuned.answers.questions)} questions are too few for a firm choice: the intervals are wide, "
        f"and another sample may well choose otherwise. Record {FEW} or more."
    )


def costs(tuned: Tuned) -> Iterator[str]:
    """The chosen ensemble's cost, alone and against single models."""
    choice, controls = tuned.choice, tuned.controls
    if choice.cost is not None:
        said = f"${choice.cost:.4f} per 1,000 questions, {choice.calls:.2f} calls each"
        if tuned.reference_cost:
            said += f", {choice.cost / tuned.reference_cost:.2f} times the cost of {tuned.reference}"
        other = controls.cheapest_frontier
        if other is not None and other.cost and other.model != tuned.reference:
            said += (
                f" and {choice.cost / other.cost:.2f} times that of {other.model}, the cheapest frontier model that "
                "is as good as the best one"
            )
        yield said
    elif choice.break_even is not None:
        hidden = (*choice.to, *choice.members)[0]
        yield (
            f"The cost is not known, since hidden tokens of {hidden} were not recorded; it is as cheap as "
            f"{tuned.reference} while a call stays below {choice.break_even:.0f} output tokens."
        )
    good = controls.cheapest_as_good
    if good is not None and good.versus is not None:
        yield (
            f"{good.model} alone is as good as {tuned.reference} ({points(good.versus)} points) "
            f"for ${good.cost:.4f}: the cheapest such model."
        )
    elif tuned.reference_cost is not None:
        yield f"No cheaper model alone is known to be as good as {tuned.reference}."
    thinking = controls.best_reasoning
    if thinking is not None:
        cost = "its cost is not known" if thinking.cost is None else f"${thinking.cost:.4f}"
        yield f"The best reasoning model alone: {thinking.model}, {percent(thinking.accuracy)} % ({cost})."


def _budgets(tuned: Tuned) -> Iterator[str]:
    answers = tuned.answers
    yield from paragraph(
        f"{len(answers.questions)} questions, {answers.left_out} left out (not answered by every model); "
        f"{tuned.tried} candidates tried; accuracy on unseen questions: nested cross-validation, {FOLDS} folds, "
        f"{tuned.settings.seeds} partitions, 95 % intervals"
    )
    if answers.sparse:
        yield from paragraph(f"left out because they answered too few questions: {', '.join(answers.sparse)}")
    if tuned.limit is not None:
        yield f"at most {tuned.limit:.4f} $/1000"
    against = f"against {tuned.reference}" if tuned.reference else "against nothing"
    head = ["", "accuracy", against, "$/1000", "calls", "who answers"]
    rows = [_row("→" if number == tuned.chosen else "", point) for number, point in enumerate(tuned.points)]
    yield ""
    yield from aligned(head, rows)
    kinds = {point.ensemble.rule == "cascade" for point in tuned.points if point.asks}
    if kinds:
        yield ""
    if False in kinds:
        yield from paragraph(
            "MODEL below A (share), replace | vote | adjudicate: if less than A of the panel agrees, MODEL is asked, "
            "on that share of the questions; its answer replaces the panel's, joins the vote, or settles the dispute, "
            "having been shown the distinct answers"
        )
    if True in kinds:
        yield from paragraph(
            "cascade: the first two are asked together, then one model at a time until two agree; if none do, the one "
            "of greatest weight speaks"
        )


def _controls(tuned: Tuned) -> Iterator[str]:
    controls = tuned.controls
    yield from aligned(["to compare with", "accuracy", "$/1000"], controls_rows(tuned))
    yield from paragraph(
        f"oracle over all considered {100 * controls.oracle:.1f}, over the chosen panel "
        f"{100 * controls.panel_oracle:.1f}"
    )
    choice = tuned.choice
    if choice.latency_ms is not None:
        early = "" if choice.early_ms is None else f", {choice.early_ms:.0f} with early decision"
        yield f"mean latency of the choice, all members waited for: {choice.latency_ms:.0f} ms{early}"


def controls_rows(tuned: Tuned) -> list[list[str]]:
    """What the choice is measured against: name, accuracy, cost."""
    controls, repeat = tuned.controls, tuned.controls.repeated
    rows = [_single("best single member", controls.best_single)]
    if repeat:
        what = f"vote of {repeat.model} asked {repeat.times} times"
        rows.append([what, percent(repeat.accuracy), dollars(repeat.cost)])
    panel = controls.panel
    rows.append(
        [f"best panel without a stronger model: {name_of(panel)}", percent(panel.accuracy), dollars(panel.cost)]
    )
    rows += [
        [f"frontier model {name}", percent(found), dollars(controls.frontier_cost[name])]
        for name, found in sorted(controls.frontier.items(), key=lambda each: -each[1].value)
    ]
    if controls.best_reasoning:
        rows.append(_single("best reasoning model", controls.best_reasoning))
    return rows


def _single(what: str, found: SingleModel) -> list[str]:
    return [f"{what}: {found.model}", percent(found.accuracy), dollars(found.cost)]


def _row(mark: str, point: Point) -> list[str]:
    versus = "" if point.versus is None else points(point.versus)
    return [
        mark,
        percent(point.accuracy),
        versus,
        dollars(point.cost),
        f"{point.calls:.2f}",
        name_of(point) + (f"; {asks_of(point)}" if point.asks else ""),
    ]


def _disputes(tuned: Tuned) -> Iterator[str]:
    """Which rule settles the panel's disputes best."""
    found = tuned.disputes
    if found is None:
        return
    yield from paragraph(dispute_finding(found))
    yield ""
    head = ["if the panel disagrees, ask", "accuracy", "the best less this", "$/1000", "calls"]
    yield from aligned(head, dispute_rows(found))


def dispute_rows(found: DisputeRules) -> list[list[str]]:
    """The rules, the most accurate first."""
    return [
        [
            rule.name,
            percent(rule.accuracy),
            "" if rule.behind is None else points(rule.behind),
            dollars(rule.cost),
            f"{rule.calls:.2f}",
        ]
        for rule in found.rules
    ]


def dispute_finding(found: DisputeRules) -> str:
    """Which rule wins, and whether that is clear, in a sentence or two."""
    said = f"{', '.join(found.members)} disagree on {100 * found.disputed:.1f} % of the questions. "
    said += f"Most accurate then: {found.best.name}, {percent(found.best.accuracy)} %"
    if not found.rivals:
        return f"{said}, clearly better than every other rule."
    cheapest = min(found.rivals, key=lambda rule: inf if rule.cost is None else rule.cost)
    return (
        f"{said}, but not clearly better than {len(found.rivals)} other{'s' * (len(found.rivals) > 1)}; "
        f"the cheapest of them: {cheapest.name} ({dollars(cheapest.cost)} $/1000)."
    )
