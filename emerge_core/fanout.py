"""The calls of one request: made in parallel, under one deadline, within its ceilings.

Every call to an upstream, whatever its role, goes through one `FanOut`, and it alone appends to the
trace. A failure never leaves it as an exception: it is a `Call` with a status and an error. Nothing
that it started outlives `aclose`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from time import perf_counter

from emerge_core import pricing
from emerge_core.config.schema import Config, ModelConfig
from emerge_core.errors import ConfigError
from emerge_core.providers import Provider
from emerge_core.types import (
    Call,
    CallError,
    ChatRequest,
    Completion,
    Cost,
    Member,
    Role,
    Status,
    UpstreamError,
    Usage,
)

log = logging.getLogger("emerge")

FIRST_BACKOFF_S = 0.25
MAX_BACKOFF_S = 8.0
# A cost ceiling must be judged before the output exists; without max_tokens a reply is taken to be this long.
ASSUMED_OUTPUT_TOKENS = 1024

Connect = Callable[[str], Provider]


@dataclass(slots=True, kw_only=True)
class Budget:
    """What a request may still use. `deadline` is on `perf_counter`'s clock, in seconds."""

    deadline: float
    attempts: int
    max_cost_usd: float | None = None
    reserved_usd: float = 0.0

    @property
    def remaining_s(self) -> float:
        return self.deadline - perf_counter()


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
    attempts: int = 0
    reserved_usd: float = 0.0


@dataclass(slots=True)
class FanOut:
    """Makes and records the calls of one request. Implements `types.Asker` for the aggregators."""

    config: Config
    connect: Connect
    budget: Budget
    calls: list[Call] = field(default_factory=list)
    busy: _Busy = field(default_factory=_Busy)
    _next_id: int = 0
    _tasks: dict[asyncio.Task[Call], _Started] = field(default_factory=dict)

    async def panel(self, members: Sequence[Member], request: ChatRequest) -> AsyncGenerator[Call]:
        """Ask all members at once and yield each call as it lands. Closing the iterator early
        cancels the members still out and records them."""
        tasks: set[asyncio.Task[Call]] = set()
        for member in members:
            started = self._begin("member", member.model, request, member)
            refusal = self._refuse(started)
            if refusal:
                yield self._record(started, "skipped", Completion(error=refusal, attempts=0))
                continue
            tasks.add(self._spawn(started))
        try:
            while tasks:
                landed, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for call in sorted((task.result() for task in landed), key=lambda call: int(call.id)):
                    yield call
        finally:
            if tasks:
                await self._cancel(tasks)

    async def ask(self, role: Role, model: str, request: ChatRequest, member: Member | None = None) -> Call:
        """One further call. Never raises for an upstream's failure."""
        started = self._begin(role, model, request, member)
        refusal = self._refuse(started)
        if refusal:
            return self._record(started, "skipped", Completion(error=refusal, attempts=0))
        task = self._spawn(started)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await self._cancel({task})
            raise

    async def embed(self, embedder: str, texts: Sequence[str]) -> tuple[Call, list[list[float]] | None]:
        """One embedding call for all texts; None instead of vectors where it failed."""
        config = self.config.embedders[embedder]
        model = ModelConfig(provider=config.provider, model=config.model, price=config.price)
        texts_as_input = ChatRequest(messages=tuple({"role": "user", "content": text} for text in texts))
        started = self._begin("embed", embedder, texts_as_input, None, model)
        refusal = self._refuse(started)
        if refusal:
            return self._record(started, "skipped", Completion(error=refusal, attempts=0)), None
        vectors: list[list[float]] | None = None

        async def attempt(timeout_s: float) -> Completion:
            nonlocal vectors
            reply = await self.connect(config.provider).embed(config.model, texts, timeout_s=timeout_s)
            vectors = reply.vectors
            return Completion(usage=reply.usage)

        with self.busy:
            status, completion = await self._attempts(started, attempt)
        cost = self._price(started, completion.usage) if completion.ok else Cost()
        return self._finish(started, status, completion, cost), vectors

    async def aclose(self) -> None:
        """Cancel and await whatever still runs, and record it."""
        if self._tasks:
            await self._cancel(set(self._tasks))

    def _begin(
        self, role: Role, name: str, request: ChatRequest, member: Member | None, model: ModelConfig | None = None
    ) -> _Started:
        self._next_id += 1
        model = model or self.config.models[name]
        tailored, dropped = _tailor(request, model, member)
        return _Started(
            id=str(self._next_id),
            role=role,
            name=name,
            model=model,
            request=tailored,
            member=member,
            dropped=dropped,
            began=perf_counter(),
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
        task = asyncio.create_task(self._run(started), name=f"call-{started.id}-{started.name}")
        self._tasks[task] = started
        return task

    async def _run(self, started: _Started) -> Call:
        async def attempt(timeout_s: float) -> Completion:
            provider = self.connect(started.model.provider)
            return await provider.complete(started.model.model, started.request, timeout_s=timeout_s)

        with self.busy:
            status, completion = await self._attempts(started, attempt)
        if completion.ok:
            cost = self._price(started, completion.usage)
        elif status == "timeout" and started.attempts:
            cost = self._estimate(started)
        else:
            cost = Cost()
        task = asyncio.current_task()
        if task:
            self._tasks.pop(task, None)
        return self._finish(started, status, completion, cost)

    async def _attempts(
        self, started: _Started, attempt: Callable[[float], Awaitable[Completion]]
    ) -> tuple[Status, Completion]:
        """Try, and try again while the fault may pass and deadline and call ceiling allow it."""
        error = CallError(kind="timeout", message="no time was left to ask")
        for tries in range(started.model.max_retries + 1):
            remaining = self.budget.remaining_s
            if remaining <= 0:
                break
            if self.budget.attempts <= 0:
                error = CallError(kind="budget", message="the request's ceiling of upstream calls is reached")
                break
            self.budget.attempts -= 1
            started.attempts += 1
            timeout_s = min(started.model.timeout_s or remaining, remaining)
            try:
                async with asyncio.timeout(timeout_s):
                    completion = await attempt(timeout_s)
                # An adapter may have asked once more, without a parameter that the model refused by name.
                self.budget.attempts -= completion.attempts - 1
                started.attempts += completion.attempts - 1
                return "ok", completion
            except UpstreamError as failure:
                error = failure.error
            except TimeoutError:
                error = CallError(kind="timeout", message=f"no reply within {timeout_s:.3g} s")
            except ConfigError as fault:
                error = CallError(kind="config", message=str(fault))
            except Exception as fault:  # a bug in an adapter must cost one member, not the request
                log.error("adapter fault in provider %s: %s", started.model.provider, type(fault).__name__)
                error = CallError(kind="bad_response", message=f"unreadable reply ({type(fault).__name__})")
            if not error.retryable or tries == started.model.max_retries:
                break
            wait_s = _backoff_s(tries, error.retry_after_s)
            if wait_s >= self.budget.remaining_s or self.budget.attempts <= 0:
                break
            await asyncio.sleep(wait_s)
        return ("timeout" if error.kind == "timeout" else "error"), Completion(error=error)

    async def _cancel(self, tasks: set[asyncio.Task[Call]]) -> None:
        """Cancel, await and record. A task that finished in the meantime has recorded itself."""
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in tasks:
            started = self._tasks.pop(task, None)
            if started is None:
                continue
            error = CallError(kind="cancelled", message="given up: it could not change the decision")
            cost = self._estimate(started) if started.attempts else Cost()
            self._finish(started, "cancelled", Completion(error=error), cost)

    def _finish(self, started: _Started, status: Status, completion: Completion, cost: Cost) -> Call:
        self.budget.reserved_usd += cost.usd - started.reserved_usd
        measured = replace(
            completion,
            latency_ms=(perf_counter() - started.began) * 1000,
            attempts=started.attempts,
            cost=cost,
            dropped_params=tuple(dict.fromkeys((*started.dropped, *completion.dropped_params))),
        )
        return self._record(started, status, measured)

    def _record(self, started: _Started, status: Status, completion: Completion) -> Call:
        call = Call(
            id=started.id,
            role=started.role,
            model=started.name,
            provider=started.model.provider,
            status=status,
            completion=completion,
            member=started.member,
        )
        self.calls.append(call)
        return call

    def _price(self, started: _Started, usage: Usage | None) -> Cost:
        return pricing.price(started.model, self.config.providers[started.model.provider], usage)

    def _estimate(self, started: _Started) -> Cost:
        """What a call that was cut off will have cost: its own input, and as much output as its
        finished siblings' median, never more than it was allowed."""
        outputs = [call.completion.usage.output_tokens for call in self.calls if call.completion.usage]
        output = median(outputs) if outputs else 0
        if started.request.max_tokens is not None:
            output = min(output, started.request.max_tokens)
        usage = Usage(input_tokens=pricing.estimate_input_tokens(started.request), output_tokens=int(output))
        return replace(self._price(started, usage), estimated=True)


def unfit(request: ChatRequest, model: ModelConfig) -> CallError | None:
    """Why this model cannot take this request, by what the config says of it; None if it can."""
    lacking = [
        name
        for name, needed, supported in (
            ("tools", request.offers_tools, model.supports.tools),
            ("images", request.has_images, model.supports.images),
            ("json_schema", request.json_schema is not None, model.supports.json_schema),
        )
        if needed and supported is False
    ]
    if lacking:
        return CallError(kind="unsupported", message=f"the model does not take {' or '.join(lacking)}")
    if model.context is not None:
        tokens = pricing.estimate_input_tokens(request)
        if tokens > model.context:
            return CallError(
                kind="context_length",
                message=f"about {tokens} tokens of input exceed its context of {model.context}",
                code="context_length_exceeded",
            )
    return None


def _tailor(request: ChatRequest, model: ModelConfig, member: Member | None) -> tuple[ChatRequest, tuple[str, ...]]:
    """The request as this member gets it, and the names of parameters that it cannot be given."""
    changes: dict[str, object] = {}
    dropped: tuple[str, ...] = ()
    if member and member.temperature is not None:
        changes["temperature"] = member.temperature
    if model.supports.logprobs is False:
        if request.logprobs:
            changes.update(logprobs=False, top_logprobs=None)
            dropped = ("logprobs",)
    elif member and member.calibration:
        changes["logprobs"] = True
    return (replace(request, **changes) if changes else request), dropped  # type: ignore[arg-type]


def _backoff_s(tries: int, retry_after_s: float | None) -> float:
    """Full-jitter exponential backoff, never shorter than what the upstream asked for.

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    jittered = random.uniform(0, min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2**tries))  # noqa: S311
    return max(jittered, retry_after_s or 0.0)
