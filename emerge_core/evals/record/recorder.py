"""Asks models through the product's own providers and appends each reply to a recording.

Providers are asked side by side, each at its own pace. Every reply is written as soon as it arrives, so a run can be
interrupted at any time and resumed later. Retries are made here, not in the fan-out, so that every attempt keeps to
the provider's pace.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any

from emerge_core.config import KeyResolver, resolve_key
from emerge_core.config.schema import Config, ModelConfig
from emerge_core.errors import EmergeError
from emerge_core.evals.record.journal import Journal, Place
from emerge_core.evals.record.models import temperature_of
from emerge_core.evals.record.pacing import Gate
from emerge_core.evals.recordings.prompts import request_of
from emerge_core.evals.recordings.rows import Dispute, Question
from emerge_core.fanout import Budget, FanOut
from emerge_core.pricing import list_price
from emerge_core.providers.pool import Pool
from emerge_core.types import Call, ChatRequest, Role

TIMEOUT_S = 120.0  # of one attempt, if the model's config sets none
IN_A_ROW = 8  # failures of a model after which the rest of its questions is left for another run
FIRST_WAIT_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Concurrent calls and calls per second: of the named providers, and under None of all others."""

    concurrency: Mapping[str | None, int] = field(default_factory=dict)
    rate: Mapping[str | None, float] = field(default_factory=dict)

    def gate(self, provider: str) -> Gate:
        at_once = self.concurrency.get(provider, self.concurrency.get(None, 4))
        return Gate(at_once, self.rate.get(provider, self.rate.get(None)))


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordSettings:
    """Which models to ask which questions. The parameters apply to questions; recorded requests keep their own.
    Without `temperature` a model is asked at the temperature that the config's ensembles give it as a member."""

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

    def jobs(self, name: str) -> Iterator[Job]:
        for place, question in self.places(name):
            yield Job(name, self.request(name, question, place.sample), place)

    def request(self, name: str, question: Question, sample: int) -> ChatRequest:
        """The request that asks the question. A request's own seed is raised by the number of the sample, since the
        same seed would draw the same answer again."""
        request = self.base_request(question)
        own = temperature_of(self.config, name) if self.temperature is None else None
        return replace(
            request,
            temperature=request.temperature if own is None else own,
            seed=None if request.seed is None else request.seed + sample,
        )

    def base_request(self, question: Question) -> ChatRequest:
        """The request without what depends on the model."""
        request = request_of(question)
        if question.request is None:
            request = replace(request, temperature=self.temperature, max_tokens=self.max_tokens)
        return replace(request, n=1, logprobs=self.logprobs or request.logprobs)


@dataclass(frozen=True, slots=True)
class Job:
    """A call to make, and the row that its reply goes to."""

    model: str  # the config's name
    request: ChatRequest
    row: Place | Dispute

    @property
    def role(self) -> Role:
        return "adjudication" if isinstance(self.row, Dispute) else "member"


@dataclass(slots=True)
class Report:
    """What a run did. `given_up` says, by model, why the rest of its calls was not made."""

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
    """Ask every model the questions that it has not answered yet. Raises ConfigError, before any call is made, if a
    provider's key is missing."""
    check_settings(plan)
    async with Recorder(plan, journal, progress, environ=environ, keys=keys) as recorder:
        await recorder.ask({name: plan.jobs(name) for name in plan.models})
        return recorder.report


def check_settings(plan: RecordSettings) -> None:
    """Raises EmergeError if a cost ceiling is set and a price is unknown, or if ensembles ask a model at several
    temperatures."""
    if plan.max_cost_usd is not None:
        _check_prices(plan)
    for name in plan.models if plan.temperature is None else ():
        temperature_of(plan.config, name)


class Recorder:
    """Makes calls within one cost ceiling and records them. Used as a context manager, which closes the providers."""

    def __init__(
        self,
        plan: RecordSettings,
        journal: Journal,
        progress: Progress = lambda _: None,
        *,
        environ: Mapping[str, str] | None = None,
        keys: KeyResolver | None = None,
    ) -> None:
        environ = os.environ if environ is None else environ
        patient = {name: _patient(model) for name, model in plan.config.models.items()}
        self.report = Report()
        self._plan = plan
        self._config = plan.config.model_copy(update={"models": patient})
        self._journal = journal
        self._pool = Pool(self._config, keys or (lambda reference: resolve_key(reference, environ)))
        self._progress = progress
        self._budget = Budget(deadline=math.inf, attempts=2**62, max_cost_usd=plan.max_cost_usd)
        self._open = 0
        self._landed = asyncio.Event()
        self._in_a_row: dict[str, int] = {}

    async def __aenter__(self) -> Recorder:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.aclose()

    async def ask(self, jobs: Mapping[str, Iterable[Job]]) -> None:
        """Make the calls that are not recorded yet. `jobs` is by the config's name of a model."""
        by_provider: dict[str, list[Iterator[Job]]] = {}
        for name, of_model in jobs.items():
            by_provider.setdefault(self._config.models[name].provider, []).append(iter(of_model))
        for provider in by_provider:
            self._pool(provider)
        tasks: list[asyncio.Task[None]] = []
        try:
            for provider, several in by_provider.items():
                gate, waiting = self._plan.pace.gate(provider), self._waiting(several)
                tasks += [asyncio.create_task(self._work(waiting, gate)) for _ in range(gate.concurrency)]
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _waiting(self, of_models: Sequence[Iterator[Job]]) -> Iterator[Job]:
        """The jobs of one provider, one of each model in turn."""
        for each in zip_longest(*of_models):
            for job in each:
                if job is not None and not self._journal.is_settled(job.row):
                    yield job

    async def _work(self, waiting: Iterator[Job], gate: Gate) -> None:
        for job in waiting:
            if job.model in self.report.given_up:
                continue
            call = None if self.report.stopped else await self._ask(job, gate)
            if call is None:
                return
            self._keep(job, call)
            self._progress(self.report)

    async def _ask(self, job: Job, gate: Gate) -> Call | None:
        """The call, retried while its error may pass; None if the cost ceiling leaves no room for it."""
        model = self._plan.config.models[job.model]
        retries = model.retries_at(self._plan.config.providers[model.provider])
        for tries in range(retries + 1):
            async with gate():
                call = await self._within_budget(job)
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

    async def _within_budget(self, job: Job) -> Call | None:
        """Open calls reserve their worst cost. If that leaves no room for another, wait until one of them ends."""
        while not self.report.stopped:
            self._open += 1
            call = await FanOut(self._config, self._pool, self._budget).ask(job.role, job.model, job.request)
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

    def _keep(self, job: Job, call: Call) -> None:
        model = self._config.models[job.model]
        head = {"provider": model.provider, **({"family": model.family} if model.family else {})}
        self._journal.add(job.row, {**head, **reply_fields(call)})
        self.report.asked += 1
        error = call.completion.error
        if error:
            self.report.errors[job.model, error.line] += 1
        self._in_a_row[job.model] = 0 if error is None else self._in_a_row.get(job.model, 0) + 1
        if error and (error.permanent or self._in_a_row[job.model] >= IN_A_ROW):
            times = "" if error.permanent else f"{IN_A_ROW} failures in a row, the last one: "
            self.report.given_up[job.model] = f"{times}{error.line}"


def reply_fields(call: Call) -> dict[str, Any]:
    """A call's part of a row of `responses.jsonl`. Fields without a value are left out."""
    done = call.completion
    measured: dict[str, Any] = {"latency_ms": round(done.latency_ms, 1)}
    if done.cost.known:
        measured["cost_usd"] = done.cost.usd
    if done.error:
        fields_of_error = {"kind": done.error.kind, "status": done.error.status, "message": done.error.message}
        return {"error": {name: value for name, value in fields_of_error.items() if value is not None}, **measured}
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
