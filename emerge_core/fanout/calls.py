"""The upstream calls of one request: made in parallel, under one deadline, within the request's ceilings.

Every call to an upstream, whatever its role, goes through one `FanOut`, which alone adds calls to the trace.
An upstream's failure is never raised: it is a `Call` with a status and an error. No task outlives `aclose`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Protocol, cast

from emerge_core import pricing
from emerge_core.config.schema import Config, ModelConfig
from emerge_core.fanout.attempts import Attempt, Attempts, Budget
from emerge_core.fanout.breaker import Breakers
from emerge_core.fanout.capabilities import tailor, unfit
from emerge_core.fanout.ledger import Ledger, PendingCall
from emerge_core.provider_kinds import KINDS
from emerge_core.providers import Provider
from emerge_core.providers.state import DeltaMarks, for_maker, maker_of, marked
from emerge_core.providers.tool_ids import CallIds, unique
from emerge_core.providers.tool_names import ToolNames
from emerge_core.providers.transport.trace_headers import trace_headers
from emerge_core.telemetry.trace_context import headers_of_call
from emerge_core.types import (
    Call,
    CallError,
    ChatRequest,
    Completion,
    Delta,
    EmbeddingRequest,
    Member,
    Progress,
    Role,
    Sink,
    UpstreamError,
)

LONGEST_STREAM_S = 24 * 3600.0


class Connect(Protocol):
    """Returns a provider by its name. Raises ConfigError if the provider is not set up."""

    def __call__(self, name: str) -> Provider: ...

    async def load(self, name: str) -> None:
        """Load what the provider needs, if that takes long. Raises nothing."""
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


class _Ended:
    """The calls of a panel that have ended. As `asyncio.wait`, but a call is handed over in the turn of the event loop
    in which it ends, and not one turn later, which every reply would wait for."""

    __slots__ = ("_tasks", "_waiting")

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[Call]] = []
        self._waiting: asyncio.Future[None] | None = None

    def announce(self, task: asyncio.Task[Call]) -> None:
        """Called by the task itself, as the last thing that it does."""
        self._tasks.append(task)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def take(self) -> list[asyncio.Task[Call]]:
        """The tasks that have ended since the last time, at least one. They are done when the caller goes on."""
        if not self._tasks:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        taken, self._tasks = self._tasks, []
        return taken


@dataclass(slots=True)
class FanOut:
    """Makes and records the calls of one request. Implements `types.Asker` for the aggregators."""

    config: Config
    connect: Connect
    budget: Budget
    live: Sink | None = None  # receives the text of a live call; None if the caller does not stream
    breakers: Breakers = field(default_factory=Breakers)
    progress: Progress | None = None
    marks_state: bool = False  # several models take part in the conversation: state says who made it
    ledger: Ledger = field(init=False)
    busy: _Busy = field(default_factory=_Busy)
    _next_id: int = 0
    _tasks: dict[asyncio.Task[Call], PendingCall] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.config, self.budget, progress=self.progress)

    @property
    def calls(self) -> Sequence[Call]:
        """The calls that have ended, in the order in which they did."""
        return self.ledger.calls

    async def panel(
        self,
        members: Sequence[Member],
        request: ChatRequest,
        *,
        role: Role = "member",
        at_least: int = 1,
        live: bool = False,
        live_calls: bool = False,
        whole: bool = False,
    ) -> AsyncGenerator[Call]:
        """Ask all members at once and yield each call as it ends. Closing the iterator early cancels and
        records the calls that are still running. Members whose breaker is open are skipped, as long as
        `at_least` others are asked. `live` is for a panel of one, see `ask`; with `live_calls` tool calls, too,
        are sent as they arrive, unchecked. With `whole` all members are skipped unless time, cost and calls are
        left to ask each of them."""
        tasks: set[asyncio.Task[Call]] = set()
        ended = _Ended()
        fit: list[PendingCall] = []
        held_back: list[tuple[PendingCall, CallError]] = []  # their breakers are open
        skipped = []
        for member in members:
            pending = self._begin(role, member.model, request, member, live=live, live_calls=live_calls)
            broken = self.breakers.open(pending.key)
            if broken and not unfit(pending.request, pending.model):
                held_back.append((pending, broken))
            elif refusal := self._refuse(pending):
                skipped.append(self.ledger.skipped(pending, refusal))
            else:
                fit.append(pending)
        if whole and (refusal := self._refuse_all(fit, skipped)):
            skipped += [self.ledger.skipped(pending, refusal) for pending in fit]
            fit = []
        for pending in fit:
            tasks.add(self._spawn(pending, self._answer(pending), ended))
        for pending, broken in sorted(held_back, key=lambda pair: pair[1].retry_after_s or 0.0):
            if len(tasks) >= at_least:
                skipped.append(self.ledger.skipped(pending, broken, breaker_open=True))
            elif refusal := self._refuse(pending):
                skipped.append(self.ledger.skipped(pending, refusal))
            else:
                tasks.add(self._spawn(pending, self._answer(pending), ended))
        try:
            for call in skipped:
                yield call
            while tasks:
                landed = await ended.take()
                tasks -= set(landed)
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
        """Make one further call. An upstream's failure is in the call's completion, never raised.

        With `live` a caller that streams receives the text as it arrives, unless the reply may be a tool
        call or must be JSON: those are sent once they are valid. A model whose breaker is open is asked
        only with `last_resort`."""
        pending = self._begin(role, model, request, member, live=live)
        return await self._ask(pending, self._answer(pending), last_resort=last_resort)

    async def embed(self, embedder: str, texts: Sequence[str]) -> tuple[Call, list[list[float]] | None]:
        """Embed all texts in one call. The vectors are None if it failed."""
        return await self.embed_all(embedder, EmbeddingRequest(inputs=tuple(texts)))

    async def embed_all(
        self, embedder: str, request: EmbeddingRequest, *, last_resort: bool = False
    ) -> tuple[Call, list[list[float]] | None]:
        config = self.config.embedders[embedder]
        model = ModelConfig(provider=config.provider, model=config.model, price=config.price)
        pending = self._begin("embed", embedder, _as_prompt(request), None, model=model)
        vectors: list[list[float]] | None = None

        async def attempt(timeout_s: float) -> Completion:
            nonlocal vectors
            reply = await self.connect(config.provider).embed(config.model, request, timeout_s=timeout_s)
            vectors = reply.vectors
            return Completion(usage=reply.usage, dropped_params=reply.dropped_params, rate_limits=reply.rate_limits)

        return await self._ask(pending, attempt, last_resort=last_resort), vectors

    async def aclose(self) -> None:
        """Cancel, await and record the calls that are still running."""
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
        live_calls: bool = False,
    ) -> PendingCall:
        self._next_id += 1
        model = model or self.config.models[name]
        tailored, dropped = tailor(request, role, model, member)
        live = live and self.live is not None and not request.wants_json and (live_calls or not request.offers_tools)
        return PendingCall(
            id=str(self._next_id),
            role=role,
            name=name,
            model=model,
            request=tailored,
            member=member,
            dropped=dropped,
            began=perf_counter(),
            attempts=Attempts(model, self.config.providers[model.provider], self.budget),
            live=live,
            live_calls=live_calls and request.offers_tools,
        )

    def _refuse(self, pending: PendingCall) -> CallError | None:
        """Why this call must not be made. None if it may be: its worst cost is then reserved."""
        return unfit(pending.request, pending.model) or self.ledger.reserve(pending)

    def _refuse_all(self, pending: Sequence[PendingCall], skipped: Sequence[Call]) -> CallError | None:
        """Why these calls must not be made, since one of the panel cannot be; their reservations are undone."""
        over = [call.completion.error for call in skipped if call.completion.error]
        refusal = next((error for error in over if error.kind == "budget"), None) or self._exhausted(len(pending))
        if refusal:
            for each in pending:
                self.ledger.release(each)
        return refusal

    def _exhausted(self, calls: int) -> CallError | None:
        """Why there is no room for so many calls, or None."""
        if self.budget.remaining_s <= 0:
            return CallError(kind="timeout", message="no time was left to ask")
        if self.budget.attempts < calls:
            left = max(self.budget.attempts, 0)
            return CallError(kind="budget", message=f"{calls} upstream call(s) needed, and max_calls leaves {left}")
        return None

    async def _ask(self, pending: PendingCall, attempt: Attempt, *, last_resort: bool) -> Call:
        if not last_resort and (broken := self.breakers.open(pending.key)):
            return self.ledger.skipped(pending, broken, breaker_open=True)
        if refusal := self._exhausted(1) or self._refuse(pending):
            return self.ledger.skipped(pending, refusal)
        task = self._spawn(pending, attempt)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await self._cancel({task})
            raise

    def _spawn(self, pending: PendingCall, attempt: Attempt, ended: _Ended | None = None) -> asyncio.Task[Call]:
        pending.attempts.trial = self.breakers.asking(pending.key)
        task = asyncio.create_task(self._run(pending, attempt, ended), name=f"call-{pending.id}-{pending.name}")
        self._tasks[task] = pending
        if self.progress:
            self.progress.began(pending.id, pending.role, pending.name)
        return task

    def _answer(self, pending: PendingCall) -> Attempt:
        """One attempt at a chat completion, streamed to the caller if the call is live."""

        names = ToolNames(pending.request, KINDS[pending.attempts.provider.kind].longest_tool_name)
        maker = maker_of(pending.attempts.provider, pending.model)
        own = for_maker(pending.request, pending.attempts.provider, maker)
        marks_state = self._marks_state_of(pending)

        async def whole(timeout_s: float) -> Completion:
            provider = self.connect(pending.model.provider)
            request = names.shorten(own)
            completion = names.restore(await provider.complete(pending.model.model, request, timeout_s=timeout_s))
            if completion.tool_calls:
                completion = replace(completion, tool_calls=unique(completion.tool_calls, request))
            return marked(completion, maker) if marks_state else completion

        if not pending.live:
            return whole

        ids = CallIds(own)  # which compares ids without marks, as providers make them
        marks = DeltaMarks(maker) if marks_state else None

        def emit(delta: Delta) -> None:
            calls = tuple(map(ids.of_delta, delta.tool_calls)) if pending.live_calls else ()
            if delta.tool_calls:
                delta = names.restore_delta(replace(delta, tool_calls=calls))
            if marks:
                delta = marks.of(delta)
            pending.streamed += len(delta.text) + len(delta.refusal) + len(delta.reasoning) + (delta.native is not None)
            pending.streamed += sum(len(call.name) + len(call.arguments) for call in calls)
            if pending.streamed:
                pending.attempts.streamed()
            if self.live:
                self.live(delta)

        async def streamed(_: float) -> Completion:
            provider = self.connect(pending.model.provider)
            most_s = min(self.budget.left_to_end_s, LONGEST_STREAM_S)  # `attempts` bounds the silences
            try:
                completion = await provider.stream(pending.model.model, names.shorten(own), timeout_s=most_s, emit=emit)
            except UpstreamError as failure:
                raise _final(failure) if pending.streamed else failure from None
            completion = replace(completion, tool_calls=ids.of_calls(names.restore(completion).tool_calls))
            return marks.of_whole(completion) if marks else completion

        return streamed

    def _marks_state_of(self, pending: PendingCall) -> bool:
        """Whether the reply's state says who made it: if other models may read it, and if the client speaks another
        provider's format, in which a call has no place for state but its id."""
        native = pending.request.native
        return self.marks_state or (native is not None and native.kind != pending.attempts.provider.kind)

    async def _run(self, pending: PendingCall, attempt: Attempt, ended: _Ended | None) -> Call:
        task = cast("asyncio.Task[Call]", asyncio.current_task())
        try:
            await self.connect.load(pending.model.provider)  # an import: our time, not the model's
            trace_headers.set(headers_of_call(pending.id))  # in the context of this call's task alone
            with self.busy:
                completion = await pending.attempts.run(attempt)
            self._tasks.pop(task, None)
            self._report(pending, completion.error)
            return self.ledger.landed(pending, completion)
        finally:
            if ended:
                ended.announce(task)

    def _report(self, pending: PendingCall, error: CallError | None) -> None:
        """Report the end of a call to the breakers."""
        attempts = pending.attempts
        if error is None:
            self.breakers.succeeded(pending.key)
        elif attempts.hurried:
            self.breakers.given_up(pending.key, trial=attempts.trial)
        else:
            self.breakers.failed(pending.key, error, attempts.provider.breaker, trial=attempts.trial)

    async def _cancel(self, tasks: set[asyncio.Task[Call]]) -> None:
        """Cancel, await and record the tasks. One that finished in the meantime has recorded itself."""
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in tasks:
            pending = self._tasks.pop(task, None)
            if pending is None:
                continue
            self.breakers.given_up(pending.key, trial=pending.attempts.trial)
            self.ledger.cancelled(pending)


def _final(failure: UpstreamError) -> UpstreamError:
    """The failure of a call whose text went out already: a second attempt would continue with another text."""
    error = failure.error
    return UpstreamError(replace(error, message=f"the reply broke off: {error.message}", final=True))


def _as_prompt(request: EmbeddingRequest) -> ChatRequest:
    """A chat request with as many tokens, for the estimates."""
    texts = (text if isinstance(text, str) else " " * pricing.BYTES_PER_TOKEN * len(text) for text in request.inputs)
    return ChatRequest(messages=tuple({"role": "user", "content": text} for text in texts))
