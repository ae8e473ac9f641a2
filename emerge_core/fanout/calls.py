"""The calls of one request: made in parallel, under one deadline, within its ceilings.

Every call to an upstream, whatever its role, goes through one `FanOut`, and it alone appends to the
trace. A failure never leaves it as an exception: it is a `Call` with a status and an error. Nothing
that it started outlives `aclose`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from time import perf_counter

from emerge_core import pricing
from emerge_core.config.schema import Config, ModelConfig
from emerge_core.fanout.attempts import Attempt, Attempts, Budget
from emerge_core.fanout.breaker import Breakers
from emerge_core.fanout.fitness import tailor, unfit
from emerge_core.providers import Provider
from emerge_core.providers.tool_ids import unique
from emerge_core.types import (
    Call,
    CallError,
    ChatRequest,
    Completion,
    Cost,
    Delta,
    EmbeddingRequest,
    Member,
    Role,
    Sink,
    Status,
    UpstreamError,
    Usage,
)

# A cost ceiling must be judged before the output exists; without max_tokens a reply is taken to be this long.
ASSUMED_OUTPUT_TOKENS = 1024

Connect = Callable[[str], Provider]


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


@dataclass(slots=True, kw_only=True)
class _Started:
    """A call that is under way: what its record needs if it never finishes."""

    id: str
    role: Role
    name: str
    model: ModelConfig
    request: ChatRequest
    member: Member | None
    dropped: tuple[str, ...]
    began: float
    attempts: Attempts
    live: bool
    reserved_usd: float = 0.0
    spoken: int = 0  # characters that went to the caller as they came

    @property
    def key(self) -> str:
        """What the breakers know its model by."""
        return f"embedder {self.name}" if self.role == "embed" else self.name


@dataclass(slots=True)
class FanOut:
    """Makes and records the calls of one request. Implements `types.Asker` for the aggregators."""

    config: Config
    connect: Connect
    budget: Budget
    live: Sink | None = None  # where a caller who streams hears the text of a live call
    breakers: Breakers = field(default_factory=Breakers)
    calls: list[Call] = field(default_factory=list)
    busy: _Busy = field(default_factory=_Busy)
    _next_id: int = 0
    _tasks: dict[asyncio.Task[Call], _Started] = field(default_factory=dict)

    async def panel(
        self, members: Sequence[Member], request: ChatRequest, *, at_least: int = 1, live: bool = False
    ) -> AsyncGenerator[Call]:
        """Ask all members at once and yield each call as it lands. Closing the iterator early
        cancels the members still out and records them. Members that are down are skipped, as long as
        `at_least` others are asked. `live` is for a panel of one, as in `ask`."""
        tasks: set[asyncio.Task[Call]] = set()
        down: list[tuple[_Started, CallError]] = []
        skipped = []
        for member in members:
            started = self._begin("member", member.model, request, member, live=live)
            refusal = self.breakers.open(started.key)
            if refusal and not unfit(started.request, started.model):
                down.append((started, refusal))
            elif refusal := self._refuse(started):
                skipped.append(self._skip(started, refusal))
            else:
                tasks.add(self._spawn(started))
        for started, refusal in sorted(down, key=lambda pair: pair[1].retry_after_s or 0.0):
            if len(tasks) < at_least:
                refusal = self._refuse(started)
            if refusal:
                skipped.append(self._skip(started, refusal))
            else:
                tasks.add(self._spawn(started))
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
        down = None if last_resort else self.breakers.open(started.key)
        if refusal := down or self._refuse(started):
            return self._skip(started, refusal)
        task = self._spawn(started)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await self._cancel({task})
            raise

    async def embed(self, embedder: str, texts: Sequence[str]) -> tuple[Call, list[list[float]] | None]:
        """One embedding call for all texts; None instead of vectors where it failed."""
        return await self.embed_all(embedder, EmbeddingRequest(inputs=tuple(texts)))

    async def embed_all(
        self, embedder: str, request: EmbeddingRequest, *, last_resort: bool = False
    ) -> tuple[Call, list[list[float]] | None]:
        config = self.config.embedders[embedder]
        model = ModelConfig(provider=config.provider, model=config.model, price=config.price)
        started = self._begin("embed", embedder, _as_prompt(request), None, model=model)
        down = None if last_resort else self.breakers.open(started.key)
        if refusal := down or self._refuse(started):
            return self._skip(started, refusal), None
        vectors: list[list[float]] | None = None

        async def attempt(timeout_s: float) -> Completion:
            nonlocal vectors
            reply = await self.connect(config.provider).embed(config.model, request, timeout_s=timeout_s)
            vectors = reply.vectors
            return Completion(usage=reply.usage, dropped_params=reply.dropped_params, rate_limits=reply.rate_limits)

        started.attempts.trial = self.breakers.asking(started.key)
        try:
            return await self._run(started, attempt), vectors
        except asyncio.CancelledError:
            self.breakers.given_up(started.key, trial=started.attempts.trial)
            raise

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
    ) -> _Started:
        self._next_id += 1
        model = model or self.config.models[name]
        tailored, dropped = tailor(request, role, model, member)
        return _Started(
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

    def _refuse(self, started: _Started) -> CallError | None:
        """Why this call must not be made; else None, and its worst cost is reserved."""
        error = unfit(started.request, started.model)
        if error or self.budget.max_cost_usd is None:
            return error
        output = 0 if started.role == "embed" else started.request.max_tokens or ASSUMED_OUTPUT_TOKENS
        expected = self._price(
            started, Usage(input_tokens=pricing.estimate_input_tokens(started.request), output_tokens=output)
        )
        if not expected.known:
            return CallError(kind="budget", message="its price is unknown, so the cost ceiling could not be kept")
        left = self.budget.max_cost_usd - self.budget.reserved_usd
        if expected.usd > left:
            return CallError(
                kind="budget", message=f"it may cost {expected.usd:.6f} USD and the ceiling leaves {max(left, 0):.6f}"
            )
        self.budget.reserved_usd += expected.usd
        started.reserved_usd = expected.usd
        return None

    def _spawn(self, started: _Started) -> asyncio.Task[Call]:
        started.attempts.trial = self.breakers.asking(started.key)
        task = asyncio.create_task(self._complete(started), name=f"call-{started.id}-{started.name}")
        self._tasks[task] = started
        return task

    async def _complete(self, started: _Started) -> Call:
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

        call = await self._run(started, attempt)
        if task := asyncio.current_task():
            self._tasks.pop(task, None)
        return call

    async def _run(self, started: _Started, attempt: Attempt) -> Call:
        with self.busy:
            completion = await started.attempts.run(attempt)
        error, known = completion.error, not started.attempts.unsure
        known = known and not (error and started.spoken)  # what was written is billed, by tokens that nobody told us
        if error is None:
            self.breakers.succeeded(started.key)
            cost = self._price(started, completion.usage)
            return self._finish(started, "ok", completion, replace(cost, known=cost.known and known))
        self._tell(started, error)
        if error.kind != "timeout":
            # A reply that did not arrive whole was generated, and billed by tokens that nobody told us.
            return self._finish(started, "error", completion, Cost(known=known))
        # An upstream that says by its status that it was too slow has not answered, and bills nothing.
        cost = Cost(known=known) if error.status else self._estimate(started)
        return self._finish(started, "timeout", completion, cost)

    def _tell(self, started: _Started, error: CallError) -> None:
        """The breakers learn how a call failed."""
        attempts = started.attempts
        if attempts.hurried:
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
            error = CallError(kind="cancelled", message="given up: it could not change the decision")
            self._finish(started, "cancelled", Completion(error=error), self._estimate(started))

    def _finish(self, started: _Started, status: Status, completion: Completion, cost: Cost) -> Call:
        self.budget.reserved_usd += cost.usd - started.reserved_usd
        measured = replace(
            completion,
            latency_ms=(perf_counter() - started.began) * 1000,
            attempts=started.attempts.made,
            cost=cost,
            dropped_params=tuple(dict.fromkeys((*started.dropped, *completion.dropped_params))),
        )
        return self._record(started, status, measured)

    def _skip(self, started: _Started, error: CallError) -> Call:
        return self._record(started, "skipped", Completion(error=error, attempts=0))

    def _record(self, started: _Started, status: Status, completion: Completion) -> Call:
        call = Call(
            id=started.id,
            role=started.role,
            model=started.name,
            provider=started.model.provider,
            status=status,
            completion=completion,
            member=started.member,
            live=started.spoken > 0,
        )
        self.calls.append(call)
        return call

    def _price(self, started: _Started, usage: Usage | None) -> Cost:
        return pricing.price(started.model, self.config.providers[started.model.provider], usage)

    def _estimate(self, started: _Started) -> Cost:
        """What a call that was cut off will have cost: its own input, and as much output as its
        finished siblings' median or as was heard of it, never more than it was allowed."""
        if not started.attempts.made:
            return Cost()
        siblings = [call.completion.usage for call in self.calls if call.role == "member"]
        outputs = [usage.output_tokens for usage in siblings if usage]
        output = max(median(outputs) if outputs else 0, started.spoken // pricing.BYTES_PER_TOKEN)
        if started.request.max_tokens is not None:
            output = min(output, started.request.max_tokens)
        usage = Usage(input_tokens=pricing.estimate_input_tokens(started.request), output_tokens=int(output))
        return replace(self._price(started, usage), estimated=True)


def _final(failure: UpstreamError) -> UpstreamError:
    """The failure of a call that was heard already: asking again would say another text after the first."""
    error = failure.error
    return UpstreamError(replace(error, message=f"the reply broke off: {error.message}", final=True))


def _as_prompt(request: EmbeddingRequest) -> ChatRequest:
    """What its tokens are estimated by."""
    texts = (text if isinstance(text, str) else " " * pricing.BYTES_PER_TOKEN * len(text) for text in request.inputs)
    return ChatRequest(messages=tuple({"role": "user", "content": text} for text in texts))
