"""One request, from the validated body to the trace: opens its budget, runs the strategy, closes
every call, and hands the trace to telemetry. Providers and their HTTP pools live as long as the engine."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any, Self
from uuid import uuid4

from emerge_core import pricing
from emerge_core.answers import Extractor
from emerge_core.config import KeyResolver, ensemble_of, resolve_key
from emerge_core.config.schema import Config, EnsembleConfig, MemberConfig
from emerge_core.engine.final_error import failure_of
from emerge_core.errors import CLIENT_LEFT, RequestError
from emerge_core.fanout import Breakers, Budget, FanOut
from emerge_core.providers import load_adapters
from emerge_core.providers.pool import Pool
from emerge_core.strategies import Outcome, get_strategy
from emerge_core.telemetry import Lines, Recorder
from emerge_core.types import Candidate, ChatRequest, Decision, EmbeddingRequest, Member, Sink, Trace, Unusable


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a caller may lower for one request. Seconds; US dollars."""

    deadline_s: float | None = None
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
    ) -> None:
        """`keys` resolves references to secrets, by default from `environ` alone; `record` is told of
        every request once it is over, by default the log."""
        self.config = config
        self._pool = Pool(config, keys or partial(resolve_key, environ=os.environ if environ is None else environ))
        self._breakers = Breakers()
        self._record = record or Lines(content=config.log_content and config.trace == "full")

    async def run(
        self,
        request: ChatRequest,
        name: str | None = None,
        *,
        limits: Limits | None = None,
        request_id: str | None = None,
        live: Sink | None = None,
    ) -> Trace:
        """The trace of the whole request, answered by the ensemble or model `name` (None: the config's default).
        Raises RequestError only if there is none of that name; any other failure is in the trace.

        `live` hears the answer's text while it is written, where one call's text is the answer: what it
        heard is then the beginning of the decision's message, or the request fails."""
        name = name or self.config.default or next(iter([*self.config.ensembles, *self.config.models]))
        ensemble = ensemble_of(self.config, name)
        if ensemble is None:
            known = ", ".join([*self.config.ensembles, *self.config.models])
            raise RequestError(
                f"The model `{name}` does not exist. Known here: {known}.",
                status=404,
                code="model_not_found",
                param="model",
            )
        began = perf_counter()
        fanout = FanOut(
            self.config,
            self._pool,
            _budget(ensemble, limits or Limits(), began),
            live=live if request.n == 1 else None,
            breakers=self._breakers,
        )
        strategy = get_strategy(ensemble.strategy.name)
        traced = partial(_trace, name, ensemble, fanout, began, request_id or uuid4().hex)
        async with self._closing(fanout, request, traced):
            outcome = await strategy(ensemble, request, Extractor.of(request, ensemble.answer_key), fanout)
        trace = traced(outcome)
        self._record(request, trace)
        return trace

    async def embed(
        self, request: EmbeddingRequest, name: str, *, limits: Limits | None = None, request_id: str | None = None
    ) -> tuple[Trace, list[list[float]]]:
        """The trace of one call to an embedder, and a vector per input, none where it failed. Raises
        RequestError for an unknown `name` only."""
        if name not in self.config.embedders:
            raise _unknown_embedder(self.config, name)
        began = perf_counter()
        alone = EnsembleConfig(members=(MemberConfig(model=name),))
        budget = _budget(alone, limits or Limits(), began)
        fanout = FanOut(self.config, self._pool, budget, breakers=self._breakers)
        request_id = request_id or uuid4().hex

        def traced(outcome: Outcome) -> Trace:
            trace = _trace(name, alone, fanout, began, request_id, outcome)
            return replace(trace, strategy="embedding", aggregator="none")

        nothing_said = ChatRequest(messages=())
        async with self._closing(fanout, nothing_said, traced):
            call, vectors = await fanout.embed_all(name, request, last_resort=True)
        candidate = Candidate(
            call=call, member=Member(model=name), why_unusable=Unusable("no_vectors") if vectors is None else None
        )
        decision = Decision(message=call.completion, selected=(call.id,), rule="embedder")
        trace = traced(Outcome(candidates=(candidate,), decision=None if vectors is None else decision))
        self._record(nothing_said, trace)
        return trace, vectors or []

    @asynccontextmanager
    async def _closing(
        self, fanout: FanOut, request: ChatRequest, traced: Callable[[Outcome], Trace]
    ) -> AsyncIterator[None]:
        """No call outlives the block. If the client leaves in it, what was asked is recorded: it is billed all the
        same."""
        try:
            try:
                yield
            finally:
                await fanout.aclose()
        except asyncio.CancelledError:
            left = RequestError(
                "The client left before its answer was ready.", status=CLIENT_LEFT, type="client_closed"
            )
            self._record(request, replace(traced(Outcome(candidates=(), decision=None)), failure=left))
            raise

    def breakers(self) -> dict[str, dict[str, Any]]:
        """The models that failed lately, by name, with their state: closed, open or half-open."""
        return self._breakers.status()

    async def aclose(self) -> None:
        """Closes every provider's connections."""
        await self._pool.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def preload(config: Config) -> None:
    """Loads what requests to this config need: the SDKs of its providers and the price catalogue. They take a
    second or two, which would be the first request's, and taken on the event loop everybody's. For any thread."""
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
    deadline_s = min(ensemble.deadline_s, limits.deadline_s or ensemble.deadline_s)
    return Budget(
        deadline=began + deadline_s,
        attempts=ensemble.max_calls,
        fair_s=ensemble.deadline_s / 2,  # of what the config gives, whatever the caller leaves of it
        max_cost_usd=limits.max_cost_usd,
    )


def _trace(
    name: str, ensemble: EnsembleConfig, fanout: FanOut, began: float, request_id: str, outcome: Outcome
) -> Trace:
    calls = tuple(sorted(fanout.calls, key=lambda call: int(call.id)))
    usable = sum(c.usable for c in outcome.candidates)
    decision = outcome.decision
    # A stronger model's answer stands alone; so does the only thing a panel could say (cut off, refused).
    enough = decision is not None and (decision.escalated or max(usable, 1) >= ensemble.min_answers)
    if any(call.live and not call.completion.ok for call in calls):
        enough = False  # the caller has heard the beginning of an answer that has no end
    latency_s = perf_counter() - began
    trace = Trace(
        request_id=request_id,
        name=name,
        strategy=ensemble.strategy.name,
        aggregator=ensemble.aggregator.name,
        calls=calls,
        candidates=outcome.candidates,
        decision=decision if enough else None,
        usage_policy=ensemble.usage or fanout.config.usage,
        latency_ms=latency_s * 1000,
        overhead_ms=max(latency_s - fanout.busy.total_s, 0.0) * 1000,
    )
    return trace if enough else replace(trace, failure=failure_of(trace, ensemble.min_answers))
