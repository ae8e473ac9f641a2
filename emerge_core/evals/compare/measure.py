"""Members and ensembles of a config, measured on recorded answers through the real HTTP path:
client → proxy → the providers' SDKs → replayed upstreams."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from emerge_core.api import create_app
from emerge_core.config.schema import Config
from emerge_core.engine.engine import Engine
from emerge_core.errors import EmergeError
from emerge_core.evals.compare.comparison import Comparison
from emerge_core.evals.compare.proxy_client import Asker, Outcome, UnansweredError
from emerge_core.evals.compare.redirect import KEY_VARIABLE, Panel, check_recorded, panel_of, redirect
from emerge_core.evals.recordings.recording import Question, RecordedModel, Recordings
from emerge_core.evals.replay.servers import replaying, serving
from emerge_core.evals.scoring.scorer import Scorer


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure, and how."""

    config: Config
    recordings: Path
    task: str
    limit: int | None = None
    concurrency: int = 16
    early_decision: bool = False  # costs are bills only without it
    live: bool = False  # judges, mergers and embedders at their real providers
    speed: float = 0.0


Progress = Callable[[str, int], Callable[[], object]]
"""Called with a name and a count before each model and ensemble; what it returns, after each question."""


async def compare(plan: Plan, progress: Progress) -> Comparison:
    recordings = Recordings(plan.recordings)
    recordings.choose(plan.task)
    scorer = Scorer.of(recordings, plan.task)
    panel = panel_of(plan.config)
    questions, left_out = _questions(recordings, plan, panel)
    known = recordings.models()
    upstream_models = {model.model for model in plan.config.models.values()}
    with replaying(plan.recordings, plan.task, models=upstream_models, speed=plan.speed) as upstream:
        config = redirect(plan.config, upstream, known, early_decision=plan.early_decision, live=plan.live)
        engine = Engine(config, environ={**os.environ, KEY_VARIABLE: "replay"})
        try:
            async with serving(create_app(engine)) as url, _client(plan.concurrency) as client:
                unpriced = _unpriced(config, known)
                asker = Asker(client, url, scorer, unpriced, strict=not plan.live, concurrency=plan.concurrency)
                return await _measure(plan, panel, questions, left_out, asker, progress)
        finally:
            await engine.aclose()


async def _measure(
    plan: Plan, panel: Panel, questions: list[Question], left_out: int, asker: Asker, progress: Progress
) -> Comparison:
    models: dict[str, list[Outcome]] = {}
    ensembles: dict[str, list[Outcome] | None] = {}
    for name in (*panel.recorded, *panel.simulated):
        models[name] = await asker.ask_all(name, questions, progress(name, len(questions)))
    for name in plan.config.ensembles:
        try:
            ensembles[name] = await asker.ask_all(name, questions, progress(name, len(questions)))
        except UnansweredError:
            ensembles[name] = None
    return Comparison(
        task=plan.task,
        questions=len(questions),
        left_out=left_out,
        members=panel.members,
        models={name: models[name] for name in plan.config.models if name in models},
        ensembles=ensembles,
        early_decision=plan.early_decision,
    )


def _questions(recordings: Recordings, plan: Plan, panel: Panel) -> tuple[list[Question], int]:
    """The questions that every model of the panel answered, and how many others there are."""
    questions = recordings.questions(plan.task)
    named = {plan.config.models[name].model for name in panel.recorded}
    replies = recordings.replies(plan.task, questions)
    check_recorded(plan.config, panel, replies, plan.task)
    answered = [question for question in questions.values() if all(question.id in replies[model] for model in named)]
    if not answered:
        raise EmergeError(f"no question of {plan.task} was answered by every model of the config")
    return answered[: plan.limit], len(questions) - len(answered)


def _unpriced(config: Config, known: Mapping[str, RecordedModel]) -> set[str]:
    """Models that were billed for tokens that nobody recorded."""
    recorded = {name: known.get(model.model) for name, model in config.models.items()}
    return {name for name, model in recorded.items() if model is not None and model.hides_tokens}


def _client(concurrency: int) -> httpx.AsyncClient:
    """Straight to loopback, whatever proxy the environment names."""
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    return httpx.AsyncClient(limits=limits, timeout=None, trust_env=False)  # noqa: S113  (the proxy has a deadline)
