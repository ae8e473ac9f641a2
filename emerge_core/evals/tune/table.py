"""What tuning found, for people: accuracies in per cent, costs in US dollars per 1,000 questions."""

from __future__ import annotations

from emerge_core.evals.tables import aligned, percent, points
from emerge_core.evals.tune.config_writer import aggregator_of
from emerge_core.evals.tune.crossval import FOLDS
from emerge_core.evals.tune.tuning import Point, Tuned


def table(tuned: Tuned) -> str:
    """The frontier, the chosen ensemble, and the controls beside it."""
    controls, chosen = tuned.controls, tuned.points[tuned.chosen]
    against = f"against {tuned.reference}" if tuned.reference else "against nothing"
    head = ["", "panel", "asks", "accuracy", against, "$/1000", "calls"]
    rows = [_row("→" if number == tuned.chosen else "", point) for number, point in enumerate(tuned.points)]
    lines = [
        f"{tuned.answers.task}: {len(tuned.answers.questions)} questions, {tuned.answers.left_out} left out "
        f"(not answered by every model); {tuned.tried} ensembles tried",
        f"accuracy is that of the same choice on unseen questions: nested cross-validation, {FOLDS} folds, "
        f"{tuned.plan.seeds} partitions pooled, 95 % intervals over questions",
    ]
    if tuned.answers.sparse:
        lines.append(f"left out, too few answers: {', '.join(tuned.answers.sparse)}")
    if tuned.limit is not None:
        lines.append(f"at most {tuned.limit:.4f} $/1000")
    lines += ["", *aligned(head, rows), *_legend(tuned), "", "controls"]
    again = controls.repeated
    beside = [
        [
            f"best single member: {controls.best_single}",
            percent(controls.best_single_accuracy),
            _money(controls.best_single_cost),
        ],
        *(
            [[f"vote of {again.model} asked {again.times} times", percent(again.accuracy), _money(again.cost)]]
            if again
            else []
        ),
        [
            f"best panel that asks nobody else: {_panel(controls.panel)}",
            percent(controls.panel.accuracy),
            _money(controls.panel.cost),
        ],
        *[
            [f"frontier model {name}", percent(found), _money(controls.frontier_cost[name])]
            for name, found in sorted(controls.frontier.items(), key=lambda each: -each[1].value)
        ],
    ]
    lines += aligned(["", "accuracy", "$/1000"], beside)
    lines.append(
        f"oracle over all considered {100 * controls.oracle:.1f}, over the chosen panel "
        f"{100 * controls.panel_oracle:.1f}"
    )
    lines += ["", f"chosen: {_panel(chosen)}, {_asks(chosen)}"]
    if chosen.latency_ms is not None:
        early = "" if chosen.early_ms is None else f", {chosen.early_ms:.0f} with early decision"
        lines.append(f"mean latency, all members waited for: {chosen.latency_ms:.0f} ms{early}")
    return "\n".join(lines)


def _legend(tuned: Tuned) -> list[str]:
    """How to read the column of who is asked, where somebody is."""
    kinds = {point.ensemble.rule == "cascade" for point in tuned.points if point.to}
    said = {
        False: "MODEL below A (share), replace | vote: where less than A of the panel agrees MODEL is asked, on that "
        "share of the questions, and its answer replaces the panel's or joins the vote",
        True: "cascade: the first two are asked together, then one model at a time until two agree; where none do, the "
        "one of greatest weight speaks",
    }
    return ["", *(said[kind] for kind in sorted(kinds))] if kinds else []


def _row(mark: str, point: Point) -> list[str]:
    versus = "" if point.versus is None else points(point.versus)
    return [
        mark,
        _panel(point),
        _asks(point),
        percent(point.accuracy),
        versus,
        _money(point.cost),
        f"{point.calls:.2f}",
    ]


def _panel(point: Point) -> str:
    ensemble = point.ensemble
    names = point.members
    if len(names) == 1:
        return names[0]
    if ensemble.rule == "cascade":
        return f"cascade of {', '.join(names)}"
    if any(weight != 1 for weight in ensemble.weights):
        names = tuple(f"{name} ×{weight:g}" for name, weight in zip(names, ensemble.weights, strict=True))
    return f"{aggregator_of(ensemble)} of {', '.join(names)}"


def _asks(point: Point) -> str:
    ensemble = point.ensemble
    if not point.to:
        return "nobody else"
    often = f"({100 * point.escalated:.1f} %)"
    if ensemble.rule == "cascade":
        return f"{', then '.join(point.to)} where no two agree {often}"
    return f"{point.to[0]} below {ensemble.below_agreement:g} {often}, {ensemble.final}"


def _money(cost: float | None) -> str:
    return "unknown" if cost is None else f"{cost:.4f}"
