"""Measures a config with routes on the questions of several tasks, through one proxy and in one shuffled order.

Which questions of a task are counted follows the routes: those that every model of the ensemble that serves the
task's form answered. A question that is routed elsewhere is answered there, or left out as misrouted if the models
there have no recorded answer to it. Other models and ensembles of the config are measured on the tasks of which they
answered every counted question.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from emerge_core.answers import form_of
from emerge_core.config import ensemble_of
from emerge_core.config.schema import Config
from emerge_core.errors import EmergeError
from emerge_core.evals.compare.comparison import Comparison, measurable
from emerge_core.evals.compare.measure import (
    CompareSettings,
    Progress,
    best_frontier,
    has_score,
    replayed_proxy,
    with_against,
)
from emerge_core.evals.compare.mix import MixComparison, MixedTask
from emerge_core.evals.compare.proxy_client import Asker, Outcome, UnansweredError
from emerge_core.evals.compare.redirect import Panel, check_recorded, panel_of
from emerge_core.evals.recordings.mix_weights import mix_weights
from emerge_core.evals.recordings.mixture import NAME, Mixture, split_id
from emerge_core.evals.recordings.prompts import body_of, request_of
from emerge_core.evals.recordings.recording import Question, Recordings, Replies
from emerge_core.evals.scoring.scorer import Scorer
from emerge_core.types import Completion, Form


async def compare_tasks(
    settings: CompareSettings, tasks: Sequence[str], progress: Progress, *, mix: str | None = None
) -> MixComparison:
    """`mix` gives the weights of the tasks, as in `mix_weights`; `settings.limit` is per task. Raises EmergeError if
    the config has no routes, a model was not recorded in any of the tasks, or a task has no question to count."""
    settings, against = with_against(settings)
    config = settings.config
    routes = _routes_of(config)
    recordings = Recordings(settings.recordings)
    mixture = Mixture(recordings, tasks)
    scorers = {task: Scorer.of(recordings, task) for task in mixture.parts}
    questions = mixture.questions()
    replies = mixture.replies(NAME, questions)
    panel = panel_of(config)
    check_recorded(config, panel, replies, ", ".join(mixture.parts))
    answered = _Answered(config, panel, questions, replies, scorers)
    asked_once = _asked_once(questions)
    plans: dict[str, _Plan] = {}
    for task in mixture.parts:
        own = [question for id_, question in questions.items() if split_id(id_)[0] == task]
        plans[task] = _plan(task, own, asked_once, settings.limit, routes, answered)
    weights = mix_weights(
        mix,
        {task: len(plan.counted) for task, plan in plans.items()},
        {task: plan.form for task, plan in plans.items()},
    )

    def score(question: str, said: Completion) -> float:
        task, id_ = split_id(question)
        return scorers[task].score(id_, said)

    known = recordings.models()
    async with replayed_proxy(settings, mixture.parts, known, replies, score) as asker:
        names = [*panel.recorded, *panel.simulated, *config.ensembles]
        measured = {name: await _outcomes(name, asker, plans, answered, progress) for name in names}
    found: dict[str, MixedTask] = {}
    for task, plan in plans.items():
        of_task = {name: each[task] for name, each in measured.items() if task in each}
        models = {name: of_task[name] for name in config.models if name in of_task}
        served_by = ensemble_of(config, plan.ensemble)
        candidates = [against, *(served_by.targets if served_by else ())]
        comparison = Comparison(
            task=task,
            questions=len(plan.counted),
            left_out=plan.left_out,
            members=tuple(name for name in models if name in panel.members) or tuple(models),
            models=models,
            ensembles={name: of_task.get(name) for name in config.ensembles},
            early_decision=settings.early_decision,
            against=next((each for each in candidates if each in models), None) or best_frontier(config, known, models),
            graded=scorers[task].graded,
            ids=tuple(split_id(question.id)[1] for question in plan.counted),
            scorer=scorers[task],
        )
        found[task] = MixedTask(
            comparison=comparison, form=plan.form, ensemble=plan.ensemble, forms=plan.forms, misrouted=plan.misrouted
        )
    return MixComparison(routes=routes, tasks=found, weights=weights)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is measured of a task. The ids of the questions are those of the mixture."""

    form: Form
    ensemble: str
    forms: Mapping[Form, int]
    counted: tuple[Question, ...]
    left_out: int
    misrouted: int


class _Answered:
    """To which questions the models that an ensemble may ask have recorded answers."""

    def __init__(
        self,
        config: Config,
        panel: Panel,
        questions: Mapping[str, Question],
        replies: Replies,
        scorers: Mapping[str, Scorer],
    ) -> None:
        self._config = config
        self._panel = panel
        self._replies = replies
        self._scorers = scorers
        self.forms: dict[str, Form] = {id_: form_of(request_of(question)) for id_, question in questions.items()}

    def serving(self, name: str, form: Form) -> str:
        """The ensemble or model that serves requests of a form that name `name`."""
        ensemble = self._config.ensembles.get(name)
        if ensemble is None or not ensemble.routes:
            return name
        return ensemble.route(form)

    def by(self, name: str, question: Question) -> bool:
        """Whether every model that `name` may ask has an answer to the question, and a grade if the task is graded."""
        served_by = ensemble_of(self._config, self.serving(name, self.forms[question.id]))
        asked = {member.model for member in served_by.members} | set(served_by.targets) if served_by else set()
        return all(self._by_model(model, question) for model in asked)

    def _by_model(self, name: str, question: Question) -> bool:
        if name in self._panel.simulated:
            return True
        reply = self._replies.get(self._config.models[name].model, {}).get(question.id)
        if reply is None:
            return False
        task, id_ = split_id(question.id)
        return has_score(self._scorers[task], id_, reply)


def _routes_of(config: Config) -> str:
    """The config's default if it has routes, else its first ensemble that has."""
    found = [name for name, ensemble in config.ensembles.items() if ensemble.routes]
    if not found:
        raise EmergeError("several tasks need a config with routes: an ensemble that says which one serves which form")
    return config.default if config.default in found else found[0]


def _asked_once(questions: Mapping[str, Question]) -> set[str]:
    """The questions that no other task asks in the same words: the recorded answer to the others is ambiguous."""
    prompts = {id_: json.dumps(body_of(question), sort_keys=True) for id_, question in questions.items()}
    tasks: dict[str, set[str]] = {}
    for id_, prompt in prompts.items():
        tasks.setdefault(prompt, set()).add(split_id(id_)[0])
    return {id_ for id_, prompt in prompts.items() if len(tasks[prompt]) == 1}


def _plan(
    task: str,
    questions: Sequence[Question],
    asked_once: set[str],
    limit: int | None,
    routes: str,
    answered: _Answered,
) -> _Plan:
    form = Counter(answered.forms[question.id] for question in questions).most_common(1)[0][0]
    ensemble = answered.serving(routes, form)
    usable = [each for each in questions if each.id in asked_once and answered.by(ensemble, each)]
    considered = usable[:limit]
    counted = tuple(each for each in considered if answered.by(routes, each))
    if not counted:
        why = f"its form is {form}, and {routes} sends that to {ensemble}"
        raise EmergeError(f"no question of {task} was answered by every model that serves it: {why}")
    return _Plan(
        form=form,
        ensemble=ensemble,
        forms=Counter(answered.forms[each.id] for each in considered),
        counted=counted,
        left_out=len(questions) - len(usable),
        misrouted=len(considered) - len(counted),
    )


async def _outcomes(
    name: str, asker: Asker, plans: Mapping[str, _Plan], answered: _Answered, progress: Progress
) -> dict[str, list[Outcome]]:
    """The outcomes of a model or an ensemble by task; without the tasks on which it cannot be measured."""
    tasks = [task for task, plan in plans.items() if all(answered.by(name, each) for each in plan.counted)]
    questions = [question for task in tasks for question in plans[task].counted]
    questions.sort(key=lambda question: sha256(question.id.encode()).digest())  # shuffled, the same way every time
    if not questions:
        return {}
    try:
        asked = await asker.ask_all(name, questions, progress(name, len(questions)))
    except UnansweredError:
        if len(tasks) == 1:
            return {}
        found = [await _outcomes(name, asker, {task: plans[task]}, answered, progress) for task in tasks]
        return {task: outcomes for each in found for task, outcomes in each.items()}
    of_question = {question.id: outcome for question, outcome in zip(questions, asked, strict=True)}
    of_task = {task: [of_question[question.id] for question in plans[task].counted] for task in tasks}
    return {task: outcomes for task, outcomes in of_task.items() if measurable(outcomes)}
