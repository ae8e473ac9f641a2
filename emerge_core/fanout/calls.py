"""The calls of one request: made in parallel, under one deadline, within its ceilings.

Every call to an upstream, whatever its role, goes through one `FanOut`, and it alone has them entered
in the trace. A failure never leaves it as an exception: it is a `Call` with a status and an error. Nothing
that it started outlives `aclose`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Protocol

from emerge_core import pricing
from emerge_core.config.schema import Config, ModelConfig
from emerge_core.fanout.attempts import Attempt, Attempts, Budget
from emerge_core.fanout.breaker import Breakers
from emerge_core.fanout.capabilities import tailor, unfit
from emerge_core.fanout.ledger import Ledger, Started
from emerge_core.providers import Provider
from emerge_core.providers.tool_ids import unique
from emerge_core.types import (
    Call,
    CallError,
    ChatRequest,
    Completion,
    Delta,
    EmbeddingRequest,
    Member,
    Role,
    Sink,
    UpstreamError,
)


class Connect(Protocol):
    """Gives providers by name, and raises ConfigError where one is not set up."""

    def __call__(self, name: str) -> Provider: ...

    async def load(self, name: str) -> None:
        """Makes what a provider needs ready, where that takes long. Raises nothing."""
        ...


@dataclass(slots=True)
class _Busy:
    """The time in which at least one upstream call was open."""

    open: int = 0
    since: float = 0.0
    total_s: float = 0.0

    def __enter__(self) -> None:
        if self.open == 0:
            self.since = perf_counter()
        self.open += 1

    def __exit__(self, *_: object) -> None:
        self.open -= 1
        if self.open == 0:
            self.total_s += perf_counter() - self.since


@dataclass(slots=True)
class FanOut:
    """Makes and records the calls of one request. Implements `types.Asker` for the aggregators."""

    config: Config
    connect: Connect
    budget: Budget
    live: Sink | None = None  # where a caller who streams hears the text of a live call
    breakers: Breakers = field(default_factory=Breakers)
    ledger: Ledger = field(init=False)
    busy: _Busy = field(default_factory=_Busy)
    _next_id: int = 0
    _tasks: dict[asyncio.Task[Call], Started] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.config, self.budget)

    @property
    def calls(self) -> Sequence[Call]:
        """Those that have ended, in that order."""
        return self.ledger.calls

    async def panel(
        self, members: Sequence[Member], request: ChatRequest, *, at_least: int = 1, live: bool = False
    ) -> AsyncGenerator[Call]:
        """Ask all members at once and yield each call as it lands. Closing the iterator early
        cancels the members still out and records them. Members that are down are skipped, as long as
        `at_least` others are asked. `live` is for a panel of one, as in `ask`."""
        tasks: set[asyncio.Task[Call]] = set()
        down: list[tuple[Started, CallError]] = []
        skipped = []
        for member in members:
            started = self._begin("member", member.model, request, member, live=live)
            refusal = self.breakers.open(started.key)
            if refusal and not unfit(started.request, started.model):
                down.append((started, refusal))
            elif refusal := self._refuse(started):
                skipped.append(self.ledger.skipped(started, refusal))
            else:
                tasks.add(self._spawn(started, self._answer(started)))
        for started, refusal in sorted(down, key=lambda pair: pair[1].retry_after_s or 0.0):
            if len(tasks) < at_least:
                refusal = self._refuse(started)
            if refusal:
                skipped.append(self.ledger.skipped(started, refusal))
            else:
                tasks.add(self._spawn(started, self._answer(started)))
        try:
            for call in skipped:
                yield call
            while tasks:
                landed, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for call in sorted((task.result() for task in landed), key=lambda call: int(call.id)):
                    yield call
        finally:
            if tasks:
                await self._cancel(tasks)

    async def ask(
        self,
        role: Role,
        model: str,
        request: ChatRequest,
        member: Member | None = None,
        *,
        live: bool = False,
        last_resort: bool = False,
    ) -> Call:
        """One further call. Never raises for an upstream's failure. With `live` its text goes to the caller
        as it comes, where he streams; not if it may call a tool or must be JSON, which is shown once valid.
        A model that is down is asked only as the last resort."""
        started = self._begin(role, model, request, member, live=live)
        return await self._ask(started, self._answer(started), last_resort=last_resort)

    async def embed(self, embedder: str, texts: Sequence[str]) -> tuple[Call, list[list[float]] | None]:
        """One embedding call for all texts; None instead of vectors where it failed."""
        return await self.embed_all(embedder, EmbeddingRequest(inputs=tuple(texts)))

    async def embed_all(
        self, embedder: str, request: EmbeddingRequest, *, last_resort: bool = False
    ) -> tuple[Call, list[list[float]] | None]:
        config = self.config.embedders[embedder]
        model = ModelConfig(provider=config.provider, model=config.model, price=config.price)
        started = self._begin("embed", embedder, _as_prompt(request), None, model=model)
        vectors: list[list[float]] | None = None

        async def attempt(timeout_s: float) -> Completion:
            nonlocal vectors
            reply = await self.connect(config.provider).embed(config.model, request, timeout_s=timeout_s)
            vectors = reply.vectors
            return Completion(usage=reply.usage, dropped_params=reply.dropped_params, rate_limits=reply.rate_limits)

        return await self._ask(started, attempt, last_resort=last_resort), vectors

    async def aclose(self) -> None:
        """Cancel and await whatever still runs, and record it."""
        if self._tasks:
            await self._cancel(set(self._tasks))

    def _begin(
        self,
        role: Role,
        name: str,
        request: ChatRequest,
        member: Member | None,
        *,
        model: ModelConfig | None = None,
        live: bool = False,
    ) -> Started:
        self._next_id += 1
        model = model or self.config.models[name]
        tailored, dropped = tailor(request, role, model, member)
        return Started(
            id=str(self._next_id),
            role=role,
            name=name,
            model=model,
            request=tailored,
            member=member,
            dropped=dropped,
            began=perf_counter(),
            attempts=Attempts(model, self.config.providers[model.provider], self.budget),
            live=live and self.live is not None and not request.offers_tools and not request.wants_json,
        )

    def _refuse(self, started: Started) -> CallError | None:
        """Why this call must not be made; else None, and its worst cost is reserved."""
        return unfit(started.request, started.model) or self.ledger.reserve(started)

    async def _ask(self, started: Started, attempt: Attempt, *, last_resort: bool) -> Call:
        down = None if last_resort else self.breakers.open(started.key)
        if refusal := down or self._refuse(started):
            return self.ledger.skipped(started, refusal)
        task = self._spawn(started, attempt)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await self._cancel({task})
            raise

    def _spawn(self, started: Started, attempt: Attempt) -> asyncio.Task[Call]:
        started.attempts.trial = self.breakers.asking(started.key)
        task = asyncio.create_task(self._run(started, attempt), name=f"call-{started.id}-{started.name}")
        self._tasks[task] = started
        return task

    def _answer(self, started: Started) -> Attempt:
        """One attempt at a chat's answer, told live if that is asked for."""

        def emit(delta: Delta) -> None:
            started.spoken += len(delta.text) + len(delta.refusal)
            if self.live:
                self.live(delta)

        async def attempt(timeout_s: float) -> Completion:
            provider = self.connect(started.model.provider)
            name, request = started.model.model, started.request
            if not started.live:
                completion = await provider.complete(name, request, timeout_s=timeout_s)
                return replace(completion, tool_calls=unique(completion.tool_calls, request))
            try:
                return await provider.stream(name, request, timeout_s=timeout_s, emit=emit)
            except UpstreamError as failure:
                raise _final(failure) if started.spoken else failure from None

        return attempt

    async def _run(self, started: Started, attempt: Attempt) -> Call:
        await self.connect.load(started.model.provider)  # our time, not the model's
        with self.busy:
            completion = await started.attempts.run(attempt)
        if task := asyncio.current_task():
            self._tasks.pop(task, None)
        self._tell(started, completion.error)
        return self.ledger.landed(started, completion)

    def _tell(self, started: Started, error: CallError | None) -> None:
        """The breakers learn how a call ended."""
        attempts = started.attempts
        if error is None:
            self.breakers.succeeded(started.key)
        elif attempts.hurried:
            self.breakers.given_up(started.key, trial=attempts.trial)
        else:
            self.breakers.failed(started.key, error, attempts.provider.breaker, trial=attempts.trial)

    async def _cancel(self, tasks: set[asyncio.Task[Call]]) -> None:
        """Cancel, await and record. A task that finished in the meantime has recorded itself."""
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in tasks:
            started = self._tasks.pop(task, None)
            if started is None:
                continue
            self.breakers.given_up(started.key, trial=started.attempts.trial)
            self.ledger.cancelled(started)


def _final(failure: UpstreamError) -> UpstreamError:
    """The failure of a call that was heard already: asking again would say another text after the first."""
    error = failure.error
    return UpstreamError(replace(error, message=f"the reply broke off: {error.message}", final=True))


def _as_prompt(request: EmbeddingRequest) -> ChatRequest:
    """What its tokens are estimated by."""
    texts = (text if isinstance(text, str) else " " * pricing.BYTES_PER_TOKEN * len(text) for text in request.inputs)
    return ChatRequest(messages=tuple({"role": "user", "content": text} for text in texts))
