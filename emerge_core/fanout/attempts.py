"""One call's attempts: tried again while the fault may pass and the request's budget allows it.

The SDKs' own retries are off, so that every attempt is counted here, against one ceiling, and a wait
never outlasts the deadline.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter

from emerge_core.config.schema import ModelConfig
from emerge_core.errors import ConfigError
from emerge_core.types import CallError, Completion, UpstreamError

log = logging.getLogger("emerge")

FIRST_BACKOFF_S = 0.25
MAX_BACKOFF_S = 8.0

Attempt = Callable[[float], Awaitable[Completion]]  # gets the seconds that it may take


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
class Attempts:
    """The attempts of one call. `made` counts them while they run, for a call that is cut off."""

    model: ModelConfig
    budget: Budget
    made: int = 0

    async def run(self, attempt: Attempt) -> Completion:
        """The first completion, or one with the last error. Raises CancelledError only."""
        error = CallError(kind="timeout", message="no time was left to ask")
        for tries in range(self.model.max_retries + 1):
            remaining_s = self.budget.remaining_s
            if remaining_s <= 0:
                break
            if self.budget.attempts <= 0:
                error = CallError(kind="budget", message="the request's ceiling of upstream calls is reached")
                break
            self._count(1)
            result = await self._once(attempt, min(self.model.timeout_s or remaining_s, remaining_s))
            if isinstance(result, Completion):
                return result
            error = result
            if not error.retryable or tries == self.model.max_retries:
                break
            wait_s = _backoff_s(tries, error.retry_after_s)
            if wait_s >= self.budget.remaining_s or self.budget.attempts <= 0:
                break
            await asyncio.sleep(wait_s)
        return Completion(error=error)

    async def _once(self, attempt: Attempt, timeout_s: float) -> Completion | CallError:
        try:
            async with asyncio.timeout(timeout_s):
                completion = await attempt(timeout_s)
            # An adapter asks once more, without it, where a model refuses a parameter by name.
            self._count(completion.attempts - 1)
            return completion
        except UpstreamError as failure:
            return failure.error
        except TimeoutError:
            return CallError(kind="timeout", message=f"no reply within {timeout_s:.3g} s")
        except ConfigError as fault:
            return CallError(kind="config", message=str(fault))
        except Exception as fault:  # a bug in an adapter must cost one member, not the request
            log.error("adapter fault in provider %s: %s", self.model.provider, type(fault).__name__)
            return CallError(kind="bad_response", message=f"unreadable reply ({type(fault).__name__})")

    def _count(self, attempts: int) -> None:
        self.made += attempts
        self.budget.attempts -= attempts


def _backoff_s(tries: int, retry_after_s: float | None) -> float:
    """Full-jitter exponential backoff, never shorter than what the upstream asked for.

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    jittered = random.uniform(0, min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2**tries))  # noqa: S311
    return max(jittered, retry_after_s or 0.0)
