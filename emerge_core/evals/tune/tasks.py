"""Tunes one ensemble for each form of request, and writes one config whose routes send each form to its ensemble.

A task's form is that of most of its questions. Tasks of one form are tuned together: their questions are pooled, in
proportion to the weights of the mix.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from emerge_core.answers import form_of
from emerge_core.errors import EmergeError
from emerge_core.evals.offline.arrays import Answers, read_answers
from emerge_core.evals.offline.ensembles import evaluate
from emerge_core.evals.recordings.mix_weights import mix_weights
from emerge_core.evals.recordings.mixture import NAME as MIXTURE
from emerge_core.evals.recordings.mixture import Mixture, split_id
from emerge_core.evals.recordings.prompts import request_of
from emerge_core.evals.recordings.recording import Recordings
from emerge_core.evals.scoring.scorer import Scorer
from emerge_core.evals.statistics.intervals import Interval
from emerge_core.evals.statistics.resampling import Estimate
from emerge_core.evals.statistics.strata import weighted
from emerge_core.evals.tune.config_writer import NAME
from emerge_core.evals.tune.result import Tuned
from emerge_core.evals.tune.settings import TuneSettings
from emerge_core.evals.tune.tuning import FRONTIER, REASONING, tune_answers
from emerge_core.types import FORMS, Form

FALLBACK_FORMS: Mapping[Form, tuple[Form, ...]] = {
    "tools": ("json", "short", "choices", "open_ended"),
    "json": ("short", "choices", "tools", "open_ended"),
    "choices": ("short", "json", "tools", "open_ended"),
    "short": ("choices", "json", "tools", "open_ended"),
    "open_ended": ("short", "choices", "json", "tools"),
}
"""Whose ensemble serves a form for which nothing was tuned: the first of these that was. Answers that can be counted
come first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TunedForm:
    """The ensemble of one form, tuned on the tasks of that form."""

    tasks: tuple[str, ...]
    weight: float  # of the form in the mix
    tuned: Tuned
    shares: Mapping[str, float]  # of each task's questions, those of this form

    @property
    def accuracies(self) -> dict[str, float]:
        """The chosen ensemble's accuracy on each task, on the same questions that it was chosen by."""
        scores = evaluate(self.tuned.answers, self.tuned.choice.ensemble).score
        of_task = np.array([split_id(id_)[0] for id_ in self.tuned.answers.questions])
        return {task: float(scores[of_task == task].mean()) for task in self.tasks}


@dataclass(frozen=True, slots=True, kw_only=True)
class TunedTasks:
    """`forms` are in the order of precedence; `weights` those of the tasks, which add up to 1."""

    forms: Mapping[Form, TunedForm]
    weights: Mapping[str, float]

    @property
    def accuracy(self) -> Estimate:
        """Of the mix, on unseen questions."""
        chosen = [each.tuned.choice.accuracy for each in self.forms.values()]
        value, interval = weighted(
            [each.value for each in chosen], [Interval(each.low, each.high) for each in chosen], self._weights
        )
        return Estimate(value, *interval)

    @property
    def versus(self) -> Estimate | None:
        """The difference of the mix to each form's reference model; None if a form has none."""
        found = [each.tuned.choice.versus for each in self.forms.values()]
        known = [each for each in found if each is not None]
        if len(known) < len(found):
            return None
        value, interval = weighted(
            [each.value for each in known], [Interval(each.low, each.high) for each in known], self._weights
        )
        return Estimate(value, *interval)

    @property
    def cost(self) -> float | None:
        """US dollars per 1,000 questions of the mix."""
        return self._mean([each.tuned.choice.cost for each in self.forms.values()])

    @property
    def reference_cost(self) -> float | None:
        """What each form's reference model costs, for the mix."""
        return self._mean([each.tuned.reference_cost for each in self.forms.values()])

    @property
    def calls(self) -> float:
        return self._mean([each.tuned.choice.calls for each in self.forms.values()]) or 0.0

    @property
    def routes(self) -> dict[Form, Form]:
        """Of every form the one whose ensemble serves it."""
        return {
            form: form if form in self.forms else next(each for each in FALLBACK_FORMS[form] if each in self.forms)
            for form in FORMS
        }

    @property
    def config(self) -> dict[str, Any]:
        """A whole config. Its default has routes to one ensemble per form, or to a single model."""
        config: dict[str, Any] = {"providers": {}, "models": {}, "ensembles": {}, "default": NAME}
        names: dict[Form, str] = {}
        ensembles: dict[str, Any] = {}
        for form, each in self.forms.items():
            part = each.tuned.config
            renamed = _merged_models(config, part)
            names[form] = _free(f"{NAME}-{form.replace('_', '-')}", {*config["models"], *ensembles})
            ensembles[names[form]] = _renamed(part["ensembles"][NAME], renamed)
        routes = {form: names[serving] for form, serving in self.routes.items()}
        config["ensembles"] = {NAME: {"routes": routes}, **ensembles}
        return config

    @property
    def _weights(self) -> list[float]:
        return [each.weight for each in self.forms.values()]

    def _mean(self, values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return None
        return sum(weight * value for weight, value in zip(self._weights, known, strict=True))


def tune_tasks(
    settings: TuneSettings,
    tasks: Sequence[str],
    *,
    mix: str | None = None,
    progress: Callable[[str], object] = lambda _: None,
) -> TunedTasks:
    """`mix` gives the weights of the tasks, as in `mix_weights`. Raises EmergeError as `tune` does, naming the form."""
    recordings = Recordings(settings.recordings)
    mixture = Mixture(recordings, tasks)
    of_task: dict[str, Counter[Form]] = {
        task: Counter(form_of(request_of(question)) for question in recordings.questions(task).values())
        for task in mixture.parts
    }
    empty = [task for task, counted in of_task.items() if not counted]
    if empty:
        raise EmergeError(f"{', '.join(empty)}: no question has a text: its form cannot be known")
    forms = {task: counted.most_common(1)[0][0] for task, counted in of_task.items()}
    weights = mix_weights(mix, {task: counted.total() for task, counted in of_task.items()}, forms)
    if unweighted := [task for task, weight in weights.items() if not weight]:
        raise EmergeError(f"{', '.join(unweighted)}: a task without weight cannot be tuned for: leave it out")
    found: dict[Form, TunedForm] = {}
    for form in FORMS:
        own = tuple(task for task in mixture.parts if forms[task] == form)
        if not own:
            continue
        progress(f"{form}: {', '.join(own)}")
        name = own[0] if len(own) == 1 else " + ".join(own)
        answers = _pooled(recordings, own, settings, {task: weights[task] for task in own})
        tuned = tune_answers(replace(answers, task=name), replace(settings, task=name), progress=progress)
        found[form] = TunedForm(
            tasks=own,
            weight=sum(weights[task] for task in own),
            tuned=tuned,
            shares={task: of_task[task][form] / of_task[task].total() for task in own},
        )
    return TunedTasks(forms=found, weights=weights)


def _pooled(
    recordings: Recordings, tasks: Sequence[str], settings: TuneSettings, weights: Mapping[str, float]
) -> Answers:
    """The answers to the questions of several tasks as those of one. Tasks that have more questions than their weight
    asks for lose some, spread evenly."""
    pool = Mixture(recordings, tasks)
    graded = {task: Scorer.of(recordings, task).graded for task in tasks}
    if len(set(graded.values())) > 1:
        told = ", ".join(task for task, each in graded.items() if each)
        raise EmergeError(f"{', '.join(tasks)} have one form, but only {told} is graded: tune them one by one")
    answers = read_answers(pool, MIXTURE) if settings.models is None else _of_named(pool, settings)
    places: dict[str, list[int]] = {task: [] for task in tasks}
    for place, id_ in enumerate(answers.questions):
        places[split_id(id_)[0]].append(place)
    missing = [task for task, own in places.items() if not own]
    if missing:
        raise EmergeError(f"{', '.join(missing)}: no question was answered by every model of {', '.join(tasks)}")
    total = min(len(own) / weights[task] for task, own in places.items())
    kept = [place for task, own in places.items() for place in _spread(own, round(weights[task] * total))]
    if len(kept) == len(answers.questions):
        return answers
    return answers.only(np.array(sorted(kept)))


def _of_named(pool: Mixture, settings: TuneSettings) -> Answers:
    """Of the named models those that the tasks have, with every possible target."""
    recorded = pool.replies(MIXTURE, pool.questions())
    wanted = dict.fromkeys((*(settings.models or ()), *([settings.reference] if settings.reference else [])))
    named = tuple(name for name in wanted if name in recorded)
    if not named:
        raise EmergeError(f"no answers of {', '.join(wanted)} are recorded in {', '.join(pool.parts)}")
    tiers = (FRONTIER, REASONING) if settings.frontier else ()
    stronger = [name for name, known in pool.models().items() if known.tier in tiers]
    return read_answers(pool, MIXTURE, named, also=stronger)


def _spread(places: Sequence[int], count: int) -> list[int]:
    """So many of the places, spread evenly."""
    return [places[int(each)] for each in np.linspace(0, len(places) - 1, max(1, min(count, len(places)))).round()]


def _merged_models(config: dict[str, Any], part: dict[str, Any]) -> dict[str, str]:
    """Adds the models and providers of a part to the config; returns the config's name of each model of the part."""
    renamed: dict[str, str] = {}
    for provider, section in part["providers"].items():
        config["providers"].setdefault(provider, section)
    for name, model in part["models"].items():
        taken = config["models"]
        renamed[name] = name if taken.get(name, model) == model else _free(name, set(taken))
        taken[renamed[name]] = model
    return renamed


def _free(name: str, taken: set[str]) -> str:
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name}-{number}"
    return found


def _renamed(ensemble: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The ensemble with the config's names of its models."""
    members = [
        {**member, "model": names[member["model"]]} if isinstance(member, dict) else names[member]
        for member in ensemble["members"]
    ]
    found = {**ensemble, "members": members}
    if "escalate" in ensemble:
        found["escalate"] = _with_target(ensemble["escalate"], names)
    return found


def _with_target(escalate: Any, names: Mapping[str, str]) -> Any:
    if isinstance(escalate, list):
        return [_with_target(step, names) for step in escalate]
    return {**escalate, "to": names.get(escalate["to"], escalate["to"])} if "to" in escalate else escalate
