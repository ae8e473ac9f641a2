"""The circuit breakers: a model that fails several times in a row is left alone for a while, then one call tries it.

The state belongs to the engine and outlives requests. Only what the provider itself did counts: an invalid request
(whatever text a 400 quotes), too long a context, too short a deadline, a reply that the request may have provoked and
a cancelled call count neither for nor against a model.
Source: M. Nygard, "Release It!", 2007 (circuit breaker).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from emerge_core.config.schema import BreakerConfig
from emerge_core.providers.clock import SteadyClock
from emerge_core.providers.errors import REQUEST_STATUSES
from emerge_core.types import CallError

MAX_DOUBLINGS = 5  # of the cooldown, while a model stays down
MAX_RETRY_AFTER_S = 300.0  # an upstream that asks for more is asked again all the same

_COUNTED_KINDS = frozenset({"auth", "not_found", "rate_limit", "timeout", "connection", "server", "bad_response"})


@dataclass(slots=True)
class _Record:
    """What is known of one model."""

    failures: int = 0  # in a row
    trips: int = 0  # in a row
    until: float = 0.0  # the clock's time from which it may be tried again
    trying: bool = False
    last: CallError | None = None


class Breakers:
    """The breakers of one engine. `key` names a model or an embedder, apart from each other."""

    def __init__(self, *, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or SteadyClock()
        self._records: dict[str, _Record] = {}

    def open(self, key: str) -> CallError | None:
        """Why the model must not be asked now: its last error, with the time left. None if it may be asked."""
        record = self._records.get(key)
        if record is None or record.last is None or not record.trips:
            return None
        left_s = record.until - self._clock()
        if left_s <= 0 and not record.trying:
            return None
        when = f"for {max(left_s, 1):.0f} s" if left_s > 0 else "until another call has tried it"
        last = record.last
        return replace(
            last,
            message=f"not asked {when}: it failed {record.failures} times in a row; the last time: {last.message}",
            retry_after_s=max(left_s, 0.0),
        )

    def asking(self, key: str) -> bool:
        """Records that a call begins. Returns True if it is the one that tries a model that was down."""
        record = self._records.get(key)
        if record is None or not record.trips or record.trying:
            return False
        record.trying = True
        return True

    def succeeded(self, key: str) -> None:
        self._records.pop(key, None)

    def failed(self, key: str, error: CallError, config: BreakerConfig, *, trial: bool) -> None:
        """Records that a call failed, after its retries; `trial` is what `asking` returned. Errors that say nothing
        about the provider are not counted."""
        if not config.failures or not _counts(error):
            self.given_up(key, trial=trial)
            return
        record = self._records.setdefault(key, _Record())
        record.failures += 1
        record.last = error
        now = self._clock()
        if record.failures < config.failures or (record.until > now and not trial):
            return  # in the second case the call began before, or was the last resort
        record.trips += 1
        record.trying = record.trying and not trial
        cooldown_s = config.cooldown_s * 2 ** min(record.trips - 1, MAX_DOUBLINGS)
        record.until = now + max(cooldown_s, min(error.retry_after_s or 0.0, MAX_RETRY_AFTER_S))

    def given_up(self, key: str, *, trial: bool) -> None:
        """Records that a call ended in a way that says nothing about the model."""
        if trial and (record := self._records.get(key)):
            record.trying = False

    def status(self) -> dict[str, dict[str, Any]]:
        """For `/v1/emerge/status`: the models that failed lately. `retry_in_s` is null unless one is left alone."""
        return {key: self._shown(record) for key, record in self._records.items()}

    def _shown(self, record: _Record) -> dict[str, Any]:
        left_s = record.until - self._clock()
        state = "closed" if not record.trips else "open" if left_s > 0 else "half-open"
        last = record.last
        return {
            "state": state,
            "failures": record.failures,
            "last_error": " ".join(filter(None, [last.kind, str(last.status or "")])) if last else None,
            "retry_in_s": round(left_s, 1) if state == "open" else None,
        }


def _counts(error: CallError) -> bool:
    return error.kind in _COUNTED_KINDS and error.status not in REQUEST_STATUSES and not error.provoked
