"""The account of one request's calls: what each may cost, what it did cost, and its entry in the trace.

A call gets one entry, when it has ended, whichever way: one that was cut off has a cost too, by estimate.
The ceiling of cost is kept by reserving the worst cost of a call before it is made.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from statistics import median
from time import perf_counter

from emerge_core import pricing
from emerge_core.config.schema import Config, ModelConfig
from emerge_core.fanout.attempts import Attempts, Budget
from emerge_core.types import Call, CallError, ChatRequest, Completion, Cost, Member, Role, Status, Usage

# A cost ceiling must be judged before the output exists; without max_tokens a reply is taken to be this long.
ASSUMED_OUTPUT_TOKENS = 1024


@dataclass(slots=True, kw_only=True)
class Started:
    """A call that is under way: what its entry needs if it never finishes."""

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
class Ledger:
    """Reserves in the request's budget, and enters its calls in the order in which they end."""

    config: Config
    budget: Budget
    calls: list[Call] = field(default_factory=list)

    def reserve(self, started: Started) -> CallError | None:
        """Why the cost ceiling forbids this call; else None, and its worst cost is reserved."""
        if self.budget.max_cost_usd is None:
            return None
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

    def landed(self, started: Started, completion: Completion) -> Call:
        """A call that ended by itself, well or badly."""
        error, known = completion.error, not started.attempts.unsure
        known = known and not (error and started.spoken)  # what was written is billed, by tokens that nobody told us
        if error is None:
            cost = self._price(started, completion.usage)
            return self._settle(started, "ok", completion, replace(cost, known=cost.known and known))
        if error.kind != "timeout":
            # A reply that did not arrive whole was generated, and billed by tokens that nobody told us.
            return self._settle(started, "error", completion, Cost(known=known))
        # An upstream that says by its status that it was too slow has not answered, and bills nothing.
        cost = Cost(known=known) if error.status else self._estimate(started)
        return self._settle(started, "timeout", completion, cost)

    def cancelled(self, started: Started) -> Call:
        error = CallError(kind="cancelled", message="given up: nobody waited for it any more")
        return self._settle(started, "cancelled", Completion(error=error), self._estimate(started))

    def skipped(self, started: Started, error: CallError) -> Call:
        """A call that was not made."""
        return self._enter(started, "skipped", Completion(error=error, attempts=0))

    def _settle(self, started: Started, status: Status, completion: Completion, cost: Cost) -> Call:
        self.budget.reserved_usd += cost.usd - started.reserved_usd
        measured = replace(
            completion,
            latency_ms=(perf_counter() - started.began) * 1000,
            attempts=started.attempts.made,
            cost=cost,
            dropped_params=tuple(dict.fromkeys((*started.dropped, *completion.dropped_params))),
        )
        return self._enter(started, status, measured)

    def _enter(self, started: Started, status: Status, completion: Completion) -> Call:
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

    def _price(self, started: Started, usage: Usage | None) -> Cost:
        return pricing.price(started.model, self.config.providers[started.model.provider], usage)

    def _estimate(self, started: Started) -> Cost:
        """What a call that was cut off will have cost: its own input, and as much output as its
        finished siblings' median or as was heard of it, never more than it was allowed."""
        if not started.attempts.made:
            return Cost()
        siblings = [call.completion.usage for call in self.calls if call.role == "member"]
        outputs = [usage.output_tokens for usage in siblings if usage]
        output = max(median(outputs) if outputs else 0, started.spoken // pricing.BYTES_PER_TOKEN)
        if started.role == "embed":
            output = 0
        if started.request.max_tokens is not None:
            output = min(output, started.request.max_tokens)
        usage = Usage(input_tokens=pricing.estimate_input_tokens(started.request), output_tokens=int(output))
        return replace(self._price(started, usage), estimated=True)
