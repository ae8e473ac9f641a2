"""Which models are down: after some failures in a row one is left alone for a while, then tried by one call.

The state belongs to the engine and outlives requests. Times are the wall clock's, since others stand
still while a Lambda environment is frozen. The caller's own faults (an invalid request, too long a
context, too short a deadline) and calls that were given up count neither for nor against a model.
Source: M. Nygard, "Release It!", 2007 (circuit breaker).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from emerge_core.config.schema import BreakerConfig
from emerge_core.types import CallError

MAX_DOUBLINGS = 5  # of the cooldown, while a model stays down
MAX_RETRY_AFTER_S = 300.0  # an upstream that asks for more is asked again all the same

_TOLD = frozenset({"auth", "not_found", "rate_limit", "timeout", "connection", "server", "bad_response"})


@dataclass(slots=True)
class _Line:
    """What is known of one model."""

    failures: int = 0  # in a row
    trips: int = 0  # in a row
    until: float = 0.0  # the wall clock's time at which it may be tried again
    trying: bool = False
    last: CallError | None = None


class Breakers:
    """One per engine. `key` names a model, or an embedder, and what its name alone may not tell apart."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lines: dict[str, _Line] = {}

    def open(self, key: str) -> CallError | None:
        """Why the model is not to be asked now: its last error, and for how long; None if it may be."""
        line = self._lines.get(key)
        if line is None or line.last is None or not line.trips:
            return None
        left_s = line.until - self._clock()
        if left_s <= 0 and not line.trying:
            return None
        when = f"for {max(left_s, 1):.0f} s" if left_s > 0 else "until another call has tried it"
        return replace(
            line.last,
            message=f"not asked {when}: it failed {line.failures} times in a row; the last time: {line.last.message}",
            retry_after_s=max(left_s, 0.0),
        )

    def asking(self, key: str) -> bool:
        """A call begins. Whether it is the one that tries a model that was down."""
        line = self._lines.get(key)
        if line is None or not line.trips or line.trying:
            return False
        line.trying = True
        return True

    def succeeded(self, key: str) -> None:
        self._lines.pop(key, None)

    def failed(self, key: str, error: CallError, config: BreakerConfig, *, trial: bool) -> None:
        """A call failed, after its retries; `trial` as `asking` said. `error` may be one that tells nothing."""
        if not config.failures or error.kind not in _TOLD or error.status == 403:  # 403: often the prompt's fault
            self.given_up(key, trial=trial)
            return
        line = self._lines.setdefault(key, _Line())
        line.failures += 1
        line.last = error
        now = self._clock()
        if line.failures < config.failures or (line.until > now and not trial):
            return  # the second: it was under way, or the last resort, while the model is known to be down
        line.trips += 1
        line.trying = line.trying and not trial
        cooldown_s = config.cooldown_s * 2 ** min(line.trips - 1, MAX_DOUBLINGS)
        line.until = now + max(cooldown_s, min(error.retry_after_s or 0.0, MAX_RETRY_AFTER_S))

    def given_up(self, key: str, *, trial: bool) -> None:
        """A call ended in a way that tells nothing."""
        if trial and (line := self._lines.get(key)):
            line.trying = False

    def status(self) -> dict[str, dict[str, Any]]:
        """For `/v1/emerge/status`: the models that failed lately. `retry_in_s` is null unless one is left alone."""
        return {key: self._shown(line) for key, line in self._lines.items()}

    def _shown(self, line: _Line) -> dict[str, Any]:
        left_s = line.until - self._clock()
        state = "closed" if not line.trips else "open" if left_s > 0 else "half-open"
        last = line.last
        return {
            "state": state,
            "failures": line.failures,
            "last_error": " ".join(filter(None, [last.kind, str(last.status or "")])) if last else None,
            "retry_in_s": round(left_s, 1) if state == "open" else None,
        }
