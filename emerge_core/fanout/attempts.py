"""The attempts of one call: it is repeated while the fault may pass and the request's budget allows it.

Providers do not retry, so every attempt is counted here, against one ceiling, and a wait never outlasts the deadline.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import inf
from time import perf_counter

from emerge_core.config.schema import ModelConfig, ProviderConfig
from emerge_core.errors import ConfigError
from emerge_core.providers.transport.resend import counted_by
from emerge_core.types import CallError, Completion, UpstreamError

log = logging.getLogger("emerge")

FIRST_BACKOFF_S = 0.25
MAX_BACKOFF_S = 8.0

Attempt = Callable[[float], Awaitable[Completion]]  # gets the seconds that it may take


@dataclass(slots=True, kw_only=True)
class Budget:
    """What a request may still use. `deadline` and `end` are on `perf_counter`'s clock, in seconds. A call that
    had less than `fair_s` and was too slow for it says nothing about its model.

    The deadline bounds the wait for the first text that the caller receives. Once a call streams live, each
    silence is bounded by `stream_idle_s`, and the whole by `end` alone: the host cuts the request then."""

    deadline: float
    end: float = inf
    stream_idle_s: float = inf
    attempts: int
    fair_s: float = 0.0
    max_cost_usd: float | None = None
    reserved_usd: float = 0.0

    @property
    def remaining_s(self) -> float:
        return self.deadline - perf_counter()

    @property
    def left_to_end_s(self) -> float:
        return self.end - perf_counter()


@dataclass(slots=True)
class Attempts:
    """The attempts of one call. `made` counts them while they run, for a call that is cut off; `unsure`
    says that one of them failed when the upstream may have billed it already, `hurried` that the last
    one had less time than is fair."""

    model: ModelConfig
    provider: ProviderConfig
    budget: Budget
    made: int = 0
    unsure: bool = False
    hurried: bool = True
    trial: bool = False  # of a model that was down: once is enough
    _clock: asyncio.Timeout | None = None
    _streams: bool = False  # part of the reply has gone to the caller
    _heard: float = 0.0  # when the time for a silence was set, on the loop's clock

    async def run(self, attempt: Attempt) -> Completion:
        """The first completion, or one with the last error. Raises CancelledError only."""
        error = CallError(kind="timeout", message="no time was left to ask")
        retries = 0 if self.trial else self.model.retries_at(self.provider)
        for tries in range(retries + 1):
            remaining_s = self.budget.remaining_s
            if remaining_s <= 0:
                break
            if not self._may_send():
                error = CallError(kind="budget", message="the request's ceiling of upstream calls is reached")
                break
            limit_s = self.model.timeout_at(self.provider) or inf
            result = await self._once(attempt, min(limit_s, remaining_s))
            if isinstance(result, Completion):
                return result
            error = result
            self.unsure |= error.sent or error.kind == "bad_response"
            fair_s = min(limit_s, self.provider.first_byte_timeout_s or inf, self.budget.fair_s)
            self.hurried = error.kind == "timeout" and remaining_s < fair_s
            if not error.retryable or tries == retries:
                break
            wait_s = _backoff_s(tries, error.retry_after_s)
            if wait_s >= self.budget.remaining_s or self.budget.attempts <= 0:
                break
            await asyncio.sleep(wait_s)
        return Completion(error=error)

    def streamed(self) -> None:
        """Part of the reply has gone to the caller: from now on only a silence, or the host's end, cuts it. The time
        for a silence is set anew once a hundredth of it has passed: not with each of the many parts of a reply."""
        if self._clock is None or self._clock.expired():
            return
        now = asyncio.get_running_loop().time()
        idle_s = self.budget.stream_idle_s
        if self._streams and now < self._heard + idle_s / 100:
            return
        self._streams, self._heard = True, now
        self._clock.reschedule(now + min(idle_s, self.budget.left_to_end_s))

    async def _once(self, attempt: Attempt, timeout_s: float) -> Completion | CallError:
        try:
            with counted_by(self._may_send):
                async with asyncio.timeout(timeout_s) as self._clock:
                    return await attempt(timeout_s)
        except UpstreamError as failure:
            return failure.error
        except TimeoutError:
            if self._streams:
                silent = f"the stream was silent for {self.budget.stream_idle_s:.3g} s"
                over = self.budget.left_to_end_s <= 0
                return CallError(kind="timeout", message="the host's time is over" if over else silent, final=True)
            return CallError(kind="timeout", message=f"no reply within {timeout_s:.3g} s")
        except ConfigError as fault:
            return CallError(kind="config", message=str(fault))
        except Exception as fault:  # a bug in an adapter must cost one member, not the request
            log.error("adapter fault in provider %s: %s", self.model.provider, type(fault).__name__)
            return CallError(kind="bad_response", message=f"unreadable reply ({type(fault).__name__})", provoked=True)

    def _may_send(self) -> bool:
        """Whether the ceiling allows one more request; it is then counted."""
        if self.budget.attempts <= 0:
            return False
        self.made += 1
        self.budget.attempts -= 1
        return True


def _backoff_s(tries: int, retry_after_s: float | None) -> float:
    """Full-jitter exponential backoff, never shorter than what the upstream asked for.

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    jittered = random.uniform(0, min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2**tries))  # noqa: S311
    return max(jittered, retry_after_s or 0.0)
