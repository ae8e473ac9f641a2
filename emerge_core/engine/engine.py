"""One request, from the validated body to the trace: opens its budget, runs the strategy, ends every call and
hands the trace to telemetry. Providers and their HTTP pools live as long as the engine."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from math import inf
from secrets import token_hex
from time import perf_counter
from typing import Any, Self

from emerge_core import pricing
from emerge_core.answers import Extractor
from emerge_core.answers.json_schema import check_installation
from emerge_core.config import KeyResolver, ensemble_of, resolve_key
from emerge_core.config.schema import Config, EnsembleConfig, MemberConfig
from emerge_core.engine.baseline import baseline_cost
from emerge_core.engine.final_error import failure_of
from emerge_core.engine.token_count import TokenCount, count_tokens
from emerge_core.errors import CLIENT_LEFT, INTERNAL, RequestError
from emerge_core.fanout import Breakers, Budget, FanOut
from emerge_core.immutable import immutable
from emerge_core.providers import load_adapters
from emerge_core.providers.pool import Pool
from emerge_core.strategies import Outcome, get_strategy
from emerge_core.strategies.routing import Serving, serving
from emerge_core.telemetry import Lines, Recorder
from emerge_core.types import (
    Candidate,
    ChatRequest,
    Decision,
    EmbeddingRequest,
    Member,
    Progress,
    Sink,
    Trace,
    Unusable,
)

log = logging.getLogger("emerge")

_NOTHING = Outcome(candidates=(), decision=None)


@immutable(frozen=True, slots=True, kw_only=True)
class Limits:
    """The ceilings that a caller may lower for one request, and the time that the host leaves. Seconds; US dollars."""

    deadline_s: float | None = None
    end_s: float | None = None  # the host cuts the request then, however much of the answer is streamed
    max_cost_usd: float | None = None


class Engine:
    """Answers requests with the ensembles of one config. Safe for concurrent use on one event loop.

    Close it with `aclose`, or use it in `async with`: it keeps the providers' connections open."""

    def __init__(
        self,
        config: Config,
        *,
        environ: Mapping[str, str] | None = None,
        keys: KeyResolver | None = None,
        record: Recorder | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """`keys` resolves references to secrets, by default from `environ` alone. `record` is called with every
        request once it is over; by default it writes the log lines. `clock` is the time, in seconds, by which a
        failing model is left out for a while; by default a monotonic one."""
        check_installation()
        self.config = config
        self._pool = Pool(config, keys or partial(resolve_key, environ=os.environ if environ is None else environ))
        self._breakers = Breakers(clock=clock)
        self._record = record or Lines(content=config.log_content and config.trace == "full")

    async def run(
        self,
        request: ChatRequest,
        name: str | None = None,
        *,
        limits: Limits | None = None,
        request_id: str | None = None,
        live: Sink | None = None,
        progress: Progress | None = None,
    ) -> Trace:
        """Answer a request and return its trace. `name` is an ensemble, a model or an alias; None is the config's
        default.

        Raises RequestError for an unknown `name` only: whatever else fails is the trace's `failure`. If one
        call's text is the answer, `live` receives it while it is written; it is then the beginning of the
        decision's message, or the request fails. `progress` watches the calls."""
        began = perf_counter()
        name = name or self.config.default or next(iter([*self.config.ensembles, *self.config.models]))
        served_by = serving(self.config, name, request)
        if served_by is None:
            known = ", ".join([*self.config.ensembles, *self.config.models])
            raise RequestError(
                f"The model `{name[:200]}` does not exist. Known here: {known}.",
                status=404,
                code="model_not_found",
                param="model",
            )
        ensemble = served_by.ensemble
        fanout = FanOut(
            self.config,
            self._pool,
            _budget(ensemble, limits or Limits(), began),
            live=live if request.n == 1 else None,
            breakers=self._breakers,
            progress=progress,
            marks_state=_several_models(served_by),
        )
        strategy = get_strategy(ensemble.strategy.name)
        traced = partial(_trace, name, served_by, request, fanout, began, request_id or token_hex(16))
        answering = strategy(ensemble, request, Extractor.of(request, ensemble.answer_key), fanout)
        return await self._recorded(request, fanout, traced, answering)

    async def embed(
        self, request: EmbeddingRequest, name: str, *, limits: Limits | None = None, request_id: str | None = None
    ) -> tuple[Trace, list[list[float]]]:
        """The trace of one call to an embedder, and a vector per input, or none if it failed. Raises RequestError
        for an unknown `name` only."""
        if name not in self.config.embedders:
            raise _unknown_embedder(self.config, name)
        began = perf_counter()
        alone = Serving(name=name, ensemble=EnsembleConfig(members=(MemberConfig(model=name),)))
        budget = _budget(alone.ensemble, limits or Limits(), began)
        fanout = FanOut(self.config, self._pool, budget, breakers=self._breakers)
        chat = ChatRequest(messages=())  # the log's form of a request: the texts to embed are not logged
        found: list[list[float]] = []

        async def embedding() -> Outcome:
            call, vectors = await fanout.embed_all(name, request, last_resort=True)
            fault = Unusable("no_vectors") if vectors is None else None
            candidate = Candidate(call=call, member=Member(model=name), why_unusable=fault)
            if vectors is None:
                return Outcome(candidates=(candidate,), decision=None)
            found.extend(vectors)
            decision = Decision(message=call.completion, selected=(call.id,), rule="embedder")
            return Outcome(candidates=(candidate,), decision=decision)

        def traced(outcome: Outcome) -> Trace:
            trace = _trace(name, alone, chat, fanout, began, request_id or token_hex(16), outcome)
            return replace(trace, strategy="embedding", aggregator="none")

        trace = await self._recorded(chat, fanout, traced, embedding())
        return trace, found

    async def count_tokens(self, request: ChatRequest, name: str) -> TokenCount | None:
        """The tokens of the request's input as a member counts them, at no cost; None if none of them can, or if
        nothing is called `name`."""
        served_by = serving(self.config, name, request)
        return None if served_by is None else await count_tokens(self.config, self._pool, served_by, request)

    async def _recorded(
        self,
        request: ChatRequest,
        fanout: FanOut,
        traced: Callable[[Outcome], Trace],
        answering: Awaitable[Outcome],
    ) -> Trace:
        """The trace of what `answering` comes to. No call outlives it, and the request is recorded however it
        ends: what was asked is billed even if the client leaves or we fail."""
        try:
            try:
                outcome = await answering
            finally:
                await fanout.aclose()
            trace = traced(outcome)
        except asyncio.CancelledError:
            left = RequestError(
                "The client left before its answer was ready.", status=CLIENT_LEFT, type="client_closed"
            )
            self._record(request, replace(traced(_NOTHING), failure=left))
            raise
        except Exception as fault:
            log.error("internal error: %s", type(fault).__name__, exc_info=fault)
            trace = replace(traced(_NOTHING), failure=INTERNAL)
        self._record(request, trace)
        return trace

    def breakers(self) -> dict[str, dict[str, Any]]:
        """The models that failed lately, by name, with the state of their breaker: closed, open or half-open."""
        return self._breakers.status()

    def refusals(self) -> list[dict[str, Any]]:
        """The optional parameters that are left out now because a model refused them: `provider`, `model`, `param`, the
        `reason` in words that quote no request, the HTTP `status`, and `forgotten_in_s`."""
        return self._pool.refusals()

    async def aclose(self) -> None:
        """Closes every provider's connections."""
        await self._pool.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _several_models(served_by: Serving) -> bool:
    """Whether other models take part in the conversation: the panel's, those asked later, and those of other routes."""
    ensemble = served_by.ensemble
    models = {member.model for member in ensemble.members}
    return len(models) > 1 or bool(ensemble.escalate) or served_by.route is not None


def preload(config: Config) -> None:
    """Load what requests to this config need: its providers' adapters and the price catalogue. The first request
    would wait for them, and on the event loop every other one. Thread-safe."""
    load_adapters(config)
    pricing.load_catalogue(config)


def _unknown_embedder(config: Config, name: str) -> RequestError:
    known = f"Known here: {', '.join(config.embedders)}." if config.embedders else "The config names none."
    what = "is no embedder" if ensemble_of(config, name) else "does not exist"
    return RequestError(
        f"The model `{name[:200]}` {what}. Embedders stand under `embedders` in the config. {known}",
        status=404,
        code="model_not_found",
        param="model",
    )


def _budget(ensemble: EnsembleConfig, limits: Limits, began: float) -> Budget:
    deadline_s = min(ensemble.deadline_s, limits.deadline_s or inf, limits.end_s or inf)
    return Budget(
        deadline=began + deadline_s,
        end=began + limits.end_s if limits.end_s is not None else inf,
        stream_idle_s=ensemble.stream_idle_s,
        attempts=ensemble.max_calls,
        fair_s=ensemble.deadline_s / 2,  # of what the config gives, whatever the caller leaves of it
        max_cost_usd=limits.max_cost_usd,
    )


def _trace(
    name: str,
    served_by: Serving,
    request: ChatRequest,
    fanout: FanOut,
    began: float,
    request_id: str,
    outcome: Outcome,
) -> Trace:
    ensemble = served_by.ensemble
    calls = tuple(sorted(fanout.calls, key=lambda call: int(call.id)))
    usable = sum(c.usable for c in outcome.candidates)
    decision = outcome.decision
    # A stronger model's answer stands alone; so does the only thing that a panel could say (cut off, refused).
    enough = decision is not None and (decision.escalated or max(usable, 1) >= ensemble.min_answers)
    if any(call.live and not call.completion.ok for call in calls):
        enough = False  # the caller has received the beginning of an answer that has no end
    latency_s = perf_counter() - began
    trace = Trace(
        request_id=request_id,
        name=name,
        ensemble=served_by.name,
        route=served_by.route,
        strategy=ensemble.strategy.name,
        aggregator=ensemble.aggregator.name,
        calls=calls,
        candidates=outcome.candidates,
        decision=decision if enough else None,
        usage_policy=ensemble.usage or fanout.config.usage,
        latency_ms=latency_s * 1000,
        overhead_ms=max(latency_s - fanout.busy.total_s, 0.0) * 1000,
    )
    if not enough:
        return replace(trace, failure=failure_of(trace, ensemble.min_answers))
    baseline = baseline_cost(fanout.config, trace, request)
    return trace if baseline is None else replace(trace, baseline=baseline)
