"""The account of one request's calls: what each may cost, what it did cost, and its entry in the trace.

Each call gets one entry, when it ends. A call that was cancelled or timed out is entered with an estimated
cost. The cost ceiling holds because the worst cost of a call is reserved before the call is made.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from statistics import median
from time import perf_counter

from emerge_core import pricing
from emerge_core.config.schema import Config, ModelConfig
from emerge_core.fanout.attempts import Attempts, Budget
from emerge_core.types import Call, CallError, ChatRequest, Completion, Cost, Member, Progress, Role, Status, Usage

# The cost of a call is reserved before its output exists: without max_tokens the reply is assumed to be this long.
ASSUMED_OUTPUT_TOKENS = 1024


@dataclass(slots=True, kw_only=True)
class PendingCall:
    """A call that has not ended: what its entry in the trace needs, even if it never finishes."""

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
    live_calls: bool = False  # whether tool calls, too, go to the caller as they arrive
    reserved_usd: float = 0.0
    streamed: int = 0  # characters that the caller has received already

    @property
    def key(self) -> str:
        """The name under which the breakers keep its model."""
        return f"embedder {self.name}" if self.role == "embed" else self.name


@dataclass(slots=True)
class Ledger:
    """Reserves cost in the request's budget and records its calls, in the order in which they end."""

    config: Config
    budget: Budget
    calls: list[Call] = field(default_factory=list)
    progress: Progress | None = None
    opened: float = field(default_factory=perf_counter)

    def reserve(self, pending: PendingCall) -> CallError | None:
        """Why the cost ceiling forbids this call; else None, and its worst cost is reserved."""
        if self.budget.max_cost_usd is None:
            return None
        output = 0 if pending.role == "embed" else pending.request.max_tokens or ASSUMED_OUTPUT_TOKENS
        expected = self._price(
            pending, Usage(input_tokens=pricing.estimate_input_tokens(pending.request), output_tokens=output)
        )
        if not expected.known:
            return CallError(kind="budget", message="its price is unknown, so the cost ceiling could not be kept")
        left = self.budget.max_cost_usd - self.budget.reserved_usd
        if expected.usd > left:
            return CallError(
                kind="budget", message=f"it may cost {expected.usd:.6f} USD and the ceiling leaves {max(left, 0):.6f}"
            )
        self.budget.reserved_usd += expected.usd
        pending.reserved_usd = expected.usd
        return None

    def release(self, pending: PendingCall) -> None:
        """Undo the reservation of a call that is not made after all."""
        self.budget.reserved_usd -= pending.reserved_usd
        pending.reserved_usd = 0.0

    def landed(self, pending: PendingCall, completion: Completion) -> Call:
        """Record a call that ended by itself, with a reply or an error."""
        error, known = completion.error, not pending.attempts.unsure
        known = known and not (error and pending.streamed)  # the part that arrived is billed; its usage is unknown
        if error is None:
            cost = self._price(pending, completion.usage)
            if cost.known and not known:
                cost = replace(cost, known=False)
            return self._settle(pending, "ok", completion, cost)
        if error.kind != "timeout":
            # A reply that broke off was generated and is billed, but its usage never arrived.
            return self._settle(pending, "error", completion, Cost(known=known))
        # An upstream that reports its own timeout, by a status, has not answered and bills nothing.
        cost = Cost(known=known) if error.status else self._estimate(pending)
        return self._settle(pending, "timeout", completion, cost)

    def cancelled(self, pending: PendingCall) -> Call:
        error = CallError(kind="cancelled", message="cancelled: the decision no longer depended on it")
        return self._settle(pending, "cancelled", Completion(error=error), self._estimate(pending))

    def skipped(self, pending: PendingCall, error: CallError, *, breaker_open: bool = False) -> Call:
        """Record a call that was not made."""
        return self._enter(pending, "skipped", Completion(error=error, attempts=0), breaker_open=breaker_open)

    def _settle(self, pending: PendingCall, status: Status, completion: Completion, cost: Cost) -> Call:
        self.budget.reserved_usd += cost.usd - pending.reserved_usd
        measured = replace(
            completion,
            latency_ms=(perf_counter() - pending.began) * 1000,
            attempts=pending.attempts.made,
            cost=cost,
            dropped_params=tuple(dict.fromkeys((*pending.dropped, *completion.dropped_params))),
        )
        return self._enter(pending, status, measured)

    def _enter(
        self, pending: PendingCall, status: Status, completion: Completion, *, breaker_open: bool = False
    ) -> Call:
        call = Call(
            id=pending.id,
            role=pending.role,
            model=pending.name,
            provider=pending.model.provider,
            status=status,
            completion=completion,
            member=pending.member,
            live=pending.streamed > 0,
            breaker_open=breaker_open,
            began_ms=(pending.began - self.opened) * 1000,
        )
        self.calls.append(call)
        if self.progress:
            self.progress.ended(call)
        return call

    def _price(self, pending: PendingCall, usage: Usage | None) -> Cost:
        return pricing.price(pending.model, self.config.providers[pending.model.provider], usage)

    def _estimate(self, pending: PendingCall) -> Cost:
        """The likely cost of a call that did not finish: its own input, and as output the median of its
        finished siblings or what was streamed of it, whichever is more, but at most its max_tokens."""
        if not pending.attempts.made:
            return Cost()
        siblings = [call.completion.usage for call in self.calls if call.role == "member"]
        outputs = [usage.output_tokens for usage in siblings if usage]
        output = max(median(outputs) if outputs else 0, pending.streamed // pricing.BYTES_PER_TOKEN)
        if pending.role == "embed":
            output = 0
        if pending.request.max_tokens is not None:
            output = min(output, pending.request.max_tokens)
        usage = Usage(input_tokens=pricing.estimate_input_tokens(pending.request), output_tokens=int(output))
        return replace(self._price(pending, usage), estimated=True)
