"""The result of a comparison: the figures of each model and ensemble, as JSON, as a table, and per question."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isnan
from statistics import fmean
from typing import Any

from emerge_core.evals.compare.proxy_client import Outcome
from emerge_core.evals.scoring.scorer import Scorer
from emerge_core.evals.statistics.intervals import Interval, accuracy, paired
from emerge_core.evals.tables import aligned, dollars, paragraph, percent, points, share

Outcomes = Sequence[Outcome]

AS_GOOD = 0.03  # a model is as good as another if it is worse by less than this, by the whole interval


@dataclass(frozen=True, slots=True)
class Comparison:
    """The outcomes of every model and ensemble, in one order of questions. An ensemble that could not be measured has
    None."""

    task: str
    questions: int
    left_out: int  # not answered by every model
    members: tuple[str, ...]  # models that sit on a panel, in config order
    models: Mapping[str, Outcomes]
    ensembles: Mapping[str, Outcomes | None]
    early_decision: bool = False
    against: str | None = None  # the model that ensembles are compared with, beside their best member
    graded: bool = False
    ids: tuple[str, ...] = ()  # of the questions
    scorer: Scorer | None = None

    @property
    def best_single(self) -> str:
        """The member that is right most often; the first of several."""
        return max(self.members, key=lambda name: mean_score(self.models[name]))

    @property
    def oracle(self) -> float:
        """How often at least one member is right: what a perfect picker would reach."""
        panels = zip(*(self.models[name] for name in self.members), strict=True)
        best: list[float] = [max(outcome.score for outcome in panel) for panel in panels]
        return sum(best) / max(self.questions, 1)

    @property
    def cheapest_as_good(self) -> str | None:
        """The cheapest model that costs less than the one compared with, and is as good."""
        if self.against is None:
            return None
        ceiling = cost_of(self.models[self.against])
        costs = {name: cost for name, each in self.models.items() if (cost := cost_of(each)) is not None}
        good = [
            name
            for name, cost in costs.items()
            if name != self.against
            and (ceiling is None or cost < ceiling)
            and self.versus(self.models[name], self.against)[1].low > -AS_GOOD
        ]
        return min(good, key=lambda name: costs[name], default=None)

    def versus(self, outcomes: Outcomes, model: str) -> tuple[float, Interval]:
        """The difference to a model on the same questions."""
        return self.difference(outcomes, self.models[model])

    def difference(self, outcomes: Outcomes, others: Outcomes) -> tuple[float, Interval]:
        """How much better the first are than the others, on the same questions."""
        return paired([o.score for o in outcomes], [o.score for o in others], graded=self.graded)

    def interval(self, outcomes: Outcomes) -> Interval:
        return accuracy([outcome.score for outcome in outcomes], graded=self.graded)

    def as_json(self) -> dict[str, Any]:
        best = self.best_single
        good = self.cheapest_as_good
        return {
            "task": self.task,
            "questions": self.questions,
            "left_out": self.left_out,
            "early_decision": self.early_decision,
            "graded": self.graded,
            "against": self.against,
            "models": {name: self._model(outcomes) for name, outcomes in self.models.items()},
            "ensembles": {name: self._ensemble(outcomes) for name, outcomes in self.ensembles.items()},
            "best_single": {"model": best, "accuracy": _rounded(mean_score(self.models[best]))},
            "cheapest_as_good": None if good is None or self.against is None else self._as_good(good, self.against),
            "oracle": _rounded(self.oracle),
        }

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for every question and every model or ensemble."""
        kinds = [("model", self.models), ("ensemble", self.ensembles)]
        for kind, found in kinds:
            for name, outcomes in found.items():
                for id_, outcome in zip(self.ids, outcomes or (), strict=bool(outcomes)):
                    yield self._row(kind, name, id_, outcome)

    def _row(self, kind: str, name: str, id_: str, outcome: Outcome) -> dict[str, Any]:
        said = outcome.said
        key = self.scorer.extractor(id_).key(said) if self.scorer and said else None
        text = None if said is None else (said.text or said.refusal or "")
        verdict = {"score": _rounded(outcome.score)} if self.graded else {"correct": int(outcome.right)}
        return {
            "id": id_,
            "task": self.task,
            "config": name,
            "kind": kind,
            **verdict,
            "answer_key": None if key is None else key.value,
            "text_sha256": None if text is None else hashlib.sha256(text.encode("utf-8", "replace")).hexdigest(),
            "selected": list(outcome.selected),
            "calls": [asdict(call) for call in outcome.made],
            "cost_usd": outcome.cost_usd,
            "cost_estimated": outcome.cost_estimated,
            "latency_ms": round(outcome.latency_ms, 3),
            "escalated": outcome.escalated,
            "asked": list(outcome.asked),
            "agreement": outcome.agreement,
            "early": outcome.early,
            "abstained": outcome.abstained,
            "error": outcome.error,
            "route": outcome.form,
        }

    def _model(self, outcomes: Outcomes) -> dict[str, Any]:
        return {
            "accuracy": _rounded(mean_score(outcomes)),
            "ci95": _bounds(self.interval(outcomes)),
            "cost_per_1000": self.billed(outcomes),
        }

    def _ensemble(self, outcomes: Outcomes | None) -> dict[str, Any]:
        if outcomes is None:
            return dict.fromkeys(ENSEMBLE_FIELDS)
        agreement = agreement_of(outcomes)
        answered = [outcome.score for outcome in outcomes if not outcome.abstained]
        fields = {
            **self._model(outcomes),
            "vs_best_single": self._difference(outcomes, self.best_single),
            "vs_model": None,
            "cost_vs_model": None,
            "saved": None if self.early_decision or (saved := saved_of(outcomes)) is None else _rounded(saved),
            "calls_per_question": _rounded(calls_of(outcomes)),
            "agreement": None if agreement is None else _rounded(agreement),
            "escalation_rate": _rounded(escalations_of(outcomes)),
            "asked": asked_of(outcomes),
            "abstention_rate": _rounded(fmean(outcome.abstained for outcome in outcomes)),
            "accuracy_answered": _rounded(fmean(answered)) if answered else None,
            "errors": sum(outcome.failed for outcome in outcomes),
        }
        if self.against is not None:
            theirs, ours = self.billed(self.models[self.against]), self.billed(outcomes)
            fields["vs_model"] = {"model": self.against, **self._difference(outcomes, self.against)}
            fields["cost_vs_model"] = None if not theirs or ours is None else _rounded(ours / theirs)
        return fields

    def _difference(self, outcomes: Outcomes, model: str) -> dict[str, Any]:
        difference, interval = self.versus(outcomes, model)
        return {"diff": _rounded(difference), "ci95": _bounds(interval)}

    def _as_good(self, model: str, than: str) -> dict[str, Any]:
        found = self.models[model]
        return {"model": model, **self._model(found), "vs_model": {"model": than, **self._difference(found, than)}}

    def billed(self, outcomes: Outcomes) -> float | None:
        """US dollars per 1,000 questions; None if a cost is not known, or estimated, as with early decision."""
        cost = None if self.early_decision else cost_of(outcomes)
        return cost if cost is None else round(cost, 9)


ENSEMBLE_FIELDS = (
    "accuracy",
    "ci95",
    "cost_per_1000",
    "vs_best_single",
    "vs_model",
    "cost_vs_model",
    "saved",
    "calls_per_question",
    "agreement",
    "escalation_rate",
    "asked",
    "abstention_rate",
    "accuracy_answered",
    "errors",
)


def mean_score(outcomes: Outcomes) -> float:
    return sum(outcome.score for outcome in outcomes) / max(len(outcomes), 1)


def cost_of(outcomes: Outcomes) -> float | None:
    """US dollars per 1,000 questions; None if one question's cost is not known."""
    costs = [outcome.cost_usd for outcome in outcomes if outcome.cost_usd is not None]
    return fmean(costs) * 1000 if outcomes and len(costs) == len(outcomes) else None


def saved_of(outcomes: Outcomes) -> float | None:
    """The share of the cost at the config's baseline that was not spent, negative if more was spent: over the questions
    whose cost is known both here and there. None without such questions, or if the baseline is free."""
    known = [(o.cost_usd, o.baseline_usd) for o in outcomes if o.cost_usd is not None and o.baseline_usd is not None]
    there = sum(baseline for _, baseline in known)
    return 1 - sum(cost for cost, _ in known) / there if there else None


def calls_of(outcomes: Outcomes) -> float:
    return fmean(outcome.calls for outcome in outcomes)


def agreement_of(outcomes: Outcomes) -> float | None:
    """The mean over the questions that have one."""
    found = [outcome.agreement for outcome in outcomes if outcome.agreement is not None]
    return fmean(found) if found else None


def escalations_of(outcomes: Outcomes) -> float:
    """The share of questions on which a model was asked after the first round."""
    return fmean(outcome.escalated for outcome in outcomes)


def asked_of(outcomes: Outcomes) -> dict[str, float]:
    """Of each model that was asked after the first round, on which share of the questions."""
    counts = Counter(model for outcome in outcomes for model in outcome.asked)
    return {model: _rounded(count / len(outcomes)) for model, count in counts.items()}


def measurable(outcomes: Outcomes) -> bool:
    """Whether every reply has a score: a reply that a rule made new has no recorded grade."""
    return not any(isnan(outcome.score) for outcome in outcomes)


def table(comparison: Comparison) -> str:
    """The comparison as text: accuracies and shares in per cent."""
    best, against = comparison.best_single, comparison.against
    early = "on: costs are estimates" if comparison.early_decision else "off"
    good = comparison.cheapest_as_good
    lines = [
        *paragraph(
            f"{comparison.task}: {comparison.questions} questions, {comparison.left_out} left out "
            f"(not answered by every model), early decision {early}"
        ),
        "",
        *_accuracies(comparison),
        "",
        *_costs(comparison),
        "",
        *paragraph(
            f"{'mean scores' if comparison.graded else 'accuracies'} in per cent, differences in points, with 95 % "
            "intervals; agree: mean agreement; asked: questions on which a model was asked after the first round"
            + ("; saved: of the cost at the config's baseline" if _saves(comparison) else "")
        ),
        *paragraph(
            f"best single member: {best} {share(mean_score(comparison.models[best]))}, "
            f"oracle over the members: {share(comparison.oracle)}"
        ),
    ]
    if against is not None:
        if good is None:
            lines += paragraph(f"no cheaper model of the config is known to be as good as {against}")
        else:
            difference, interval = comparison.versus(comparison.models[good], against)
            lines += paragraph(
                f"cheapest model that is as good as {against}: {good}, {points((difference, *interval))} points"
            )
    return "\n".join(lines)


def _accuracies(comparison: Comparison) -> list[str]:
    best, against = comparison.best_single, comparison.against
    head = ["", "accuracy", f"against {best} (best member)", *([f"against {against}"] if against else [])]
    rows = []
    for name, outcomes in [*comparison.models.items(), *comparison.ensembles.items()]:
        if outcomes is None:
            rows.append([name, *["n/a"] * (len(head) - 1)])
            continue
        others = [best, *([against] if against else [])]
        differences = ["" if name == other else _versus(comparison, outcomes, other) for other in others]
        rows.append([name, percent((mean_score(outcomes), *comparison.interval(outcomes))), *differences])
    return aligned(head, rows)


def _costs(comparison: Comparison) -> list[str]:
    against = comparison.against
    theirs = None if against is None else cost_of(comparison.models[against])
    abstains = any(outcome.abstained for each in comparison.ensembles.values() for outcome in each or ())
    saves = _saves(comparison)
    head = ["", "$/1000", *([f"× {against}"] if theirs else []), *(["saved"] if saves else [])]
    head += ["calls", "agree", "asked", "errors"]
    head += ["abstains", "right if answered"] if abstains else []
    rows = []
    for name, outcomes in [*comparison.models.items(), *comparison.ensembles.items()]:
        if outcomes is None:
            rows.append([name, *["n/a"] * (len(head) - 1)])
            continue
        cost, single = cost_of(outcomes), name in comparison.models
        row = [name, dollars(cost)]
        if theirs:
            row.append("–" if cost is None else f"{cost / theirs:.2f}")
        if saves:
            row.append("" if single else share(saved_of(outcomes)))
        row.append(f"{calls_of(outcomes):.2f}")
        row += ["", ""] if single else [share(agreement_of(outcomes)), share(escalations_of(outcomes))]
        row.append(str(sum(outcome.failed for outcome in outcomes)))
        if abstains:
            answered = [outcome.score for outcome in outcomes if not outcome.abstained]
            rate = 1 - len(answered) / len(outcomes)
            row += ["", ""] if single else [share(rate), share(fmean(answered) if answered else None)]
        rows.append(row)
    return aligned(head, rows)


def _saves(comparison: Comparison) -> bool:
    return any(saved_of(outcomes) is not None for outcomes in comparison.ensembles.values() if outcomes)


def _versus(comparison: Comparison, outcomes: Outcomes, model: str) -> str:
    difference, interval = comparison.versus(outcomes, model)
    return points((difference, *interval))


def _rounded(value: float) -> float:
    return round(value, 6)


def _bounds(interval: Interval) -> list[float]:
    return [_rounded(bound) for bound in interval]
