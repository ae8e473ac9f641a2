"""A clock for cooldowns: it never runs backwards, and it does not stand still while an environment is frozen."""

from __future__ import annotations

import time
from collections.abc import Callable

FROZEN_S = 1.0  # by which the wall clock must have run ahead to count as a freeze


class SteadyClock:
    """Seconds since some moment. It follows the monotonic clock, so a wall clock that is set back changes nothing.

    While a Lambda environment is frozen the monotonic clock may stand still: the time by which the wall clock ran
    ahead since the last reading is added. A wall clock that is set forward looks the same, and so ends cooldowns early.
    """

    def __init__(
        self, *, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._ahead_s = 0.0
        self._last = (monotonic(), wall())

    def __call__(self) -> float:
        now = (self._monotonic(), self._wall())
        frozen_s = (now[1] - self._last[1]) - (now[0] - self._last[0])
        if frozen_s > FROZEN_S:
            self._ahead_s += frozen_s
        self._last = now
        return now[0] + self._ahead_s
