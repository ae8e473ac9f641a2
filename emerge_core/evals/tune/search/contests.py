"""Whether a target should be shown a panel's disputes or be asked blind, by the questions on which one way alone is
right.

Of some twenty blind designs and two that adjudicate the luckiest blind one often looks best, although every dispute
that was recorded says otherwise. So the two ways are compared first, on the same panel and by all of its disputes, and
the designs of the way that loses are left out. They stay if the ways are about as good, or if a smaller part of the
disputes clearly says the opposite of all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from emerge_core.evals.statistics.intervals import Z

if TYPE_CHECKING:
    from emerge_core.evals.types import Booleans, Floats, Integers, Singles


@dataclass(frozen=True, slots=True)
class Contest:
    """One panel and one target. `shown` and `blind` say of each candidate whether it asks that target in this way, the
    panel's members or some of them being asked first. `won` and `lost` are (thresholds, blocks): the questions that
    only adjudicating, or only replacing, gets right; the first threshold asks about every dispute."""

    shown: Booleans
    blind: Booleans
    won: Integers
    lost: Integers

    def verdicts(self, samples: Singles, sizes: Integers, margin: float) -> Integers:
        """(samples,): 1 if adjudicating wins, -1 if asking blind does, else 0. `samples` is (samples, blocks)."""
        won, lost = samples @ self.won.T, samples @ self.lost.T
        gain = (won - lost)[:, 0] / (samples @ sizes)
        clear: Floats = (won - lost) / np.sqrt(np.maximum(won + lost, 1))
        for_shown: Booleans = (gain > margin) & (clear > -Z).all(axis=1)
        for_blind: Booleans = (gain < -margin) & (clear < Z).all(axis=1)
        found: Integers = for_shown.astype(np.int64) - for_blind
        return found

    def loses(self, verdicts: Integers, among: Integers) -> Booleans:
        """(samples, among): the candidates whose way has lost, if one of the other way is among them."""
        shown, blind = self.shown[among], self.blind[among]
        won, lost = (verdicts > 0)[:, None] & shown.any(), (verdicts < 0)[:, None] & blind.any()
        return (won & blind) | (lost & shown)
