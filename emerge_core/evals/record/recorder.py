"""Making a recording: every model asked every question, through the product's own providers.

Providers are asked side by side, each at its own pace; every answer is written when it lands, so that a
run can be ended at any time and taken up again. Retries are made here, not in the fan-out, so that
each attempt keeps the provider's pace.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from emerge_core.config import KeyResolver, resolve_key
from emerge_core.config.schema import Config, ModelConfig
from emerge_core.errors import EmergeError
from emerge_core.evals.record.journal import Journal, Place
from emerge_core.evals.record.models import temperature_of
from emerge_core.evals.record.pacing import Gate
from emerge_core.evals.recordings.prompts import request_of
from emerge_core.evals.recordings.rows import Question
from emerge_core.fanout import Budget, FanOut
from emerge_core.pricing import list_price
from emerge_core.providers.pool import Pool
from emerge_core.types import Call, ChatRequest

TIMEOUT_S = 120.0  # of one attempt, where the model's config says nothing
IN_A_ROW = 8  # failures of a model after which the rest of its questions is left for another run
FIRST_WAIT_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Calls at once and calls per second: of every provider, or of those that are named."""

    concurrency: Mapping[str | None, int] = field(default_factory=dict)
    rate: Mapping[str | None, float] = field(default_factory=dict)

    def gate(self, provider: str) -> Gate:
        at_once = self.concurrency.get(provider, self.concurrency.get(None, 4))
        return Gate(at_once, self.rate.get(provider, self.rate.get(None)))


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordSettings:
    """What to ask of whom. Parameters are given to questions; recorded requests keep their own. Without
    `temperature` a model is asked at the one that the config's ensembles give it as a member."""

    config: Config
    models: tuple[str, ...]
    questions: Sequence[Question]
    repeat: int = 1
    temperature: float | None = None
    max_tokens: int | None = None
    logprobs: bool = True
    pace: Pace = field(default_factory=Pace)
    max_cost_usd: float | None = None

    def places(self, name: str) -> Iterator[tuple[Place, Question]]:
        """Question by question, so that a run that ends early leaves whole questions."""
        model = self.config.models[name].model
        for question in self.questions:
            for sample in range(self.repeat):
                yield Place(question.id, model, sample), question

    def request(self, name: str, question: Question, sample: int) -> ChatRequest:
        """A request's own seed is moved on by the number of the sample: one seed draws the same answer again."""
        request = request_of(question)
        if question.request is None:
            request = replace(request, temperature=self.temperature, max_tokens=self.max_tokens)
        own = temperature_of(self.config, name) if self.temperature is None else None
        return replace(
            request,
            n=1,
            temperature=request.temperature if own is None else own,
            seed=None if request.seed is None else request.seed + sample,
            logprobs=self.logprobs or request.logprobs,
        )


@dataclass(slots=True)
class Report:
    """What a run did. `given_up` says by model why the rest of its questions was not asked."""

    asked: int = 0
    errors: Counter[tuple[str, str]] = field(default_factory=Counter)  # by model and cause
    cost_usd: float = 0.0
    cost_known: bool = True
    stopped: str = ""  # at the cost ceiling: why the next call was not made
    given_up: dict[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        return self.errors.total()


Progress = Callable[[Report], object]


async def record(
    plan: RecordSettings,
    journal: Journal,
    progress: Progress = lambda _: None,
    *,
    environ: Mapping[str, str] | None = None,
    keys: KeyResolver | None = None,
) -> Report:
    """Ask what is missing. Raises ConfigError where a provider's key is missing, before anything is asked."""
    environ = os.environ if environ is None else environ
    config = plan.config.model_copy(
        update={"models": {name: _patient(model) for name, model in plan.config.models.items()}}
    )
    if plan.max_cost_usd is not None:
        _check_prices(plan)
    for name in plan.models if plan.temperature is None else ():
        temperature_of(config, name)  # which may find several
    pool = Pool(config, keys or (lambda reference: resolve_key(reference, environ)))
    run = _Run(plan, config, journal, pool, progress)
    tasks: list[asyncio.Task[None]] = []
    try:
        by_provider: dict[str, list[str]] = {}
        for name in plan.models:
            by_provider.setdefault(config.models[name].provider, []).append(name)
        for provider in by_provider:
            pool(provider)
        for provider, names in by_provider.items():
            gate, waiting = plan.pace.gate(provider), run.waiting(names)
            tasks += [asyncio.create_task(run.work(waiting, gate)) for _ in range(gate.concurrency)]
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await pool.aclose()
    return run.report


@dataclass(slots=True)
class _Job:
    name: str
    place: Place
    question: Question


class _Run:
    def __init__(self, plan: RecordSettings, config: Config, journal: Journal, pool: Pool, progress: Progress) -> None:
        self.report = Report()
        self._plan = plan
        self._config = config
        self._journal = journal
        self._pool = pool
        self._progress = progress
        self._budget = Budget(deadline=math.inf, attempts=2**62, max_cost_usd=plan.max_cost_usd)
        self._open = 0
        self._landed = asyncio.Event()
        self._in_a_row: dict[str, int] = {}

    def waiting(self, names: Sequence[str]) -> Iterator[_Job]:
        """The jobs of one provider, its models side by side."""
        for each in zip(*(self._plan.places(name) for name in names), strict=True):
            for name, (place, question) in zip(names, each, strict=True):
                if place not in self._journal.settled:
                    yield _Job(name, place, question)

    async def work(self, waiting: Iterator[_Job], gate: Gate) -> None:
        for job in waiting:
            if job.name in self.report.given_up:
                continue
            call = None if self.report.stopped else await self._ask(job, gate)
            if call is None:
                return
            self._keep(job, call)
            self._progress(self.report)

    async def _ask(self, job: _Job, gate: Gate) -> Call | None:
        """The call, tried again while its fault may pass; None where the ceiling leaves no room for it."""
        request = self._plan.request(job.name, job.question, job.place.sample)
        model = self._plan.config.models[job.name]
        retries = model.retries_at(self._plan.config.providers[model.provider])
        for tries in range(retries + 1):
            async with gate():
                call = await self._within_budget(job.name, request)
            if call is None:
                return None
            error = call.completion.error
            if error is None or not error.retryable or tries == retries:
                break
            wait_s = max(error.retry_after_s or 0.0, FIRST_WAIT_S * 2**tries)
            if error.kind == "rate_limit":
                gate.pause(wait_s)
            else:
                await asyncio.sleep(wait_s)
        return call

    async def _within_budget(self, name: str, request: ChatRequest) -> Call | None:
        """Calls under way hold room for their worst case: where there is none, wait until one has landed."""
        while not self.report.stopped:
            self._open += 1
            call = await FanOut(self._config, self._pool, self._budget).ask("member", name, request)
            self._open -= 1
            error = call.completion.error
            if error is None or error.kind != "budget":
                self.report.cost_usd += call.completion.cost.usd
                self.report.cost_known &= call.completion.cost.known
                self._landed.set()
                self._landed = asyncio.Event()
                return call
            if self._open == 0:
                self.report.stopped = error.message
            else:
                await self._landed.wait()
        return None

    def _keep(self, job: _Job, call: Call) -> None:
        model = self._config.models[job.name]
        head = {"provider": model.provider, **({"family": model.family} if model.family else {})}
        self._journal.add(job.place, {**head, **reply_fields(call)})
        self.report.asked += 1
        error = call.completion.error
        if error:
            self.report.errors[job.name, error.line] += 1
        self._in_a_row[job.name] = 0 if error is None else self._in_a_row.get(job.name, 0) + 1
        if error and (error.permanent or self._in_a_row[job.name] >= IN_A_ROW):
            times = "" if error.permanent else f"{IN_A_ROW} failures in a row, the last one: "
            self.report.given_up[job.name] = f"{times}{error.line}"


def reply_fields(call: Call) -> dict[str, Any]:
    """A call's part of a row of `responses.jsonl`. What is not there is left out."""
    done = call.completion
    measured: dict[str, Any] = {"latency_ms": round(done.latency_ms, 1)}
    if done.cost.known:
        measured["cost_usd"] = done.cost.usd
    if done.error:
        told = {"kind": done.error.kind, "status": done.error.status, "message": done.error.message}
        return {"error": {name: value for name, value in told.items() if value is not None}, **measured}
    fields: dict[str, Any] = {"response_text": done.text or "", "finish_reason": done.finish_reason}
    if done.tool_calls:
        calls = [{"id": each.id, "name": each.name, "arguments": each.arguments} for each in done.tool_calls]
        fields["tool_calls"] = calls
    if done.refusal:
        fields["refusal"] = done.refusal
    if done.usage:
        parts = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")
        counts = {name: getattr(done.usage, name) for name in parts}
        fields["usage"] = {name: count for name, count in counts.items() if count or name in parts[:2]}
        fields["completion_tokens"] = done.usage.output_tokens
    if done.upstream_model:
        fields["upstream_model"] = done.upstream_model
    if done.logprobs:
        fields["logprobs"] = [[each.token, round(each.logprob, 6)] for each in done.logprobs]
    return {**fields, **measured}


def _patient(model: ModelConfig) -> ModelConfig:
    return model.model_copy(update={"max_retries": 0, "timeout_s": model.timeout_s or TIMEOUT_S})


def _check_prices(plan: RecordSettings) -> None:
    for name in plan.models:
        model = plan.config.models[name]
        if list_price(model, plan.config.providers[model.provider]) is None:
            raise EmergeError(f"the price of {name} is unknown, so a cost ceiling cannot be kept: give it a `price`")
