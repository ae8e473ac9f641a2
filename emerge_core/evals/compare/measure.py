"""Measures the models and ensembles of a config on recorded answers, through the real HTTP path: client, proxy,
provider adapters, replayed upstreams."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from math import isnan
from pathlib import Path

import httpx

from emerge_core.api import create_app
from emerge_core.config.schema import Config, ModelConfig
from emerge_core.config.variables import REPLAY_KEY
from emerge_core.engine.engine import Engine
from emerge_core.errors import EmergeError
from emerge_core.evals.compare.comparison import Comparison, mean_score, measurable
from emerge_core.evals.compare.proxy_client import Asker, Outcome, Score, UnansweredError
from emerge_core.evals.compare.redirect import Panel, check_recorded, panel_of, redirect
from emerge_core.evals.recordings.recording import Question, RecordedModel, Recordings, Replies, Reply
from emerge_core.evals.replay.servers import replaying, serving
from emerge_core.evals.scoring.scorer import Scorer


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareSettings:
    """What to measure, and how. `against` is a model of the config, or a recorded one."""

    config: Config
    recordings: Path
    task: str = ""  # of `compare`; `compare_tasks` is given its tasks
    limit: int | None = None
    concurrency: int = 16
    early_decision: bool = False  # costs are bills only without it
    live: bool = False  # judges, mergers and embedders at their real providers
    against: str | None = None
    speed: float = 0.0


Progress = Callable[[str, int], Callable[[], object]]
"""Called with a name and a count before each model and ensemble; what it returns, after each question."""


async def compare(settings: CompareSettings, progress: Progress) -> Comparison:
    """Raises EmergeError if a model of the config was not recorded, or no question was answered by all of them."""
    settings, against = with_against(settings)
    recordings = Recordings(settings.recordings)
    recordings.choose(settings.task)
    scorer = Scorer.of(recordings, settings.task)
    panel = panel_of(settings.config)
    replies = recordings.replies(settings.task, recordings.questions(settings.task))
    questions, left_out = _questions(recordings, settings, panel, scorer, replies)
    known = recordings.models()
    async with replayed_proxy(settings, [settings.task], known, replies, scorer.score) as asker:
        return await _measure(settings, panel, questions, left_out, asker, scorer, against, known, progress)


@asynccontextmanager
async def replayed_proxy(
    settings: CompareSettings,
    tasks: Sequence[str],
    known: Mapping[str, RecordedModel],
    replies: Replies,
    score: Score,
) -> AsyncIterator[Asker]:
    """The proxy with the config of the settings, its providers redirected to the recorded answers of the tasks; ready
    to be asked until the block ends."""
    upstream_models = {model.model for model in settings.config.models.values()}
    with replaying(settings.recordings, *tasks, models=upstream_models, speed=settings.speed) as upstream:
        config = redirect(settings.config, upstream, known, early_decision=settings.early_decision, live=settings.live)
        engine = Engine(config, environ={**os.environ, REPLAY_KEY: "replay"})
        try:
            async with serving(create_app(engine)) as url, _client(settings.concurrency) as client:
                yield Asker(
                    client,
                    url,
                    config,
                    score,
                    _unpriced(config, known, replies),
                    strict=not settings.live,
                    concurrency=settings.concurrency,
                    latency=_latencies(settings.config, replies),
                )
        finally:
            await engine.aclose()


async def _measure(
    settings: CompareSettings,
    panel: Panel,
    questions: list[Question],
    left_out: int,
    asker: Asker,
    scorer: Scorer,
    against: str | None,
    known: Mapping[str, RecordedModel],
    progress: Progress,
) -> Comparison:
    models: dict[str, list[Outcome]] = {}
    ensembles: dict[str, list[Outcome] | None] = {}
    for name in (*panel.recorded, *panel.simulated):
        models[name] = await asker.ask_all(name, questions, progress(name, len(questions)))
    for name in settings.config.ensembles:
        try:
            outcomes = await asker.ask_all(name, questions, progress(name, len(questions)))
            ensembles[name] = outcomes if measurable(outcomes) else None
        except UnansweredError:
            ensembles[name] = None
    return Comparison(
        task=settings.task,
        questions=len(questions),
        left_out=left_out,
        members=panel.members,
        models={name: models[name] for name in settings.config.models if name in models},
        ensembles=ensembles,
        early_decision=settings.early_decision,
        against=against or best_frontier(settings.config, known, models),
        graded=scorer.graded,
        ids=tuple(question.id for question in questions),
        scorer=scorer,
    )


def with_against(settings: CompareSettings) -> tuple[CompareSettings, str | None]:
    """The settings with the model to compare with in the config, and its name there."""
    config, wanted = settings.config, settings.against
    if wanted is None:
        return settings, _target(config)
    if wanted in config.models:
        return settings, wanted
    for name, model in config.models.items():
        if model.model == wanted:
            return settings, name
    some = next(iter(config.models.values()))
    added = ModelConfig(provider=some.provider, model=wanted)
    config = config.model_copy(update={"models": {**config.models, wanted: added}})
    return replace(settings, config=config), wanted


def _target(config: Config) -> str | None:
    """The model that most ensembles escalate to; the first of several."""
    targets = Counter(name for ensemble in config.ensembles.values() for name in ensemble.targets)
    return max(targets, key=lambda name: targets[name], default=None)


def best_frontier(
    config: Config, known: Mapping[str, RecordedModel], models: Mapping[str, Sequence[Outcome]]
) -> str | None:
    """The most accurate of the measured models that are of the frontier tier."""
    frontier = [name for name in models if _known(known, config.models[name]).tier == "frontier"]
    return max(frontier, key=lambda name: mean_score(models[name]), default=None)


def _known(known: Mapping[str, RecordedModel], model: ModelConfig) -> RecordedModel:
    return known.get(model.model, RecordedModel())


def _latencies(config: Config, replies: Replies) -> Callable[[str, str], float | None]:
    def recorded(question: str, name: str) -> float | None:
        model = config.models.get(name)
        reply = replies.get(model.model, {}).get(question) if model else None
        return reply.details.latency_ms if reply and reply.details else None

    return recorded


def _questions(
    recordings: Recordings, settings: CompareSettings, panel: Panel, scorer: Scorer, replies: Replies
) -> tuple[list[Question], int]:
    """The questions that every model of the panel answered, and how many others there are."""
    questions = recordings.questions(settings.task)
    named = {settings.config.models[name].model for name in panel.recorded}
    check_recorded(settings.config, panel, replies, settings.task)
    answered = [
        question
        for question in questions.values()
        if all(question.id in replies[model] for model in named)
        and all(has_score(scorer, question.id, replies[model][question.id]) for model in named)
    ]
    if not answered:
        raise EmergeError(f"no question of {settings.task} was answered by every model of the config")
    return answered[: settings.limit], len(questions) - len(answered)


def has_score(scorer: Scorer, question: str, reply: Reply) -> bool:
    """Whether a graded reply has its grade."""
    return not scorer.graded or not isnan(scorer.score(question, reply.completion()))


def _unpriced(config: Config, known: Mapping[str, RecordedModel], replies: Replies) -> set[str]:
    """Models that were billed for tokens that were not recorded."""
    hiding = {name for name, model in config.models.items() if _known(known, model).hides_tokens}
    return {
        name
        for name in hiding
        if not all(
            reply.details and reply.details.output_counted
            for reply in replies.get(config.models[name].model, {}).values()
        )
    }


def _client(concurrency: int) -> httpx.AsyncClient:
    """A client that ignores the environment's proxy: it only asks loopback."""
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    return httpx.AsyncClient(limits=limits, timeout=None, trust_env=False)  # noqa: S113  (the proxy has a deadline)
