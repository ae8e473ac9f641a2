"""Words of bits, one row per panel, and means over questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from emerge_core.evals.types import Bits, Booleans, Floats, Integers


def any_of(parts: Sequence[Bits]) -> Bits:
    found = parts[0].copy()
    for part in parts[1:]:
        found |= part
    return found


def all_of(parts: Sequence[Bits]) -> Bits:
    found = parts[0].copy()
    for part in parts[1:]:
        found &= part
    return found


def mask(flags: Booleans) -> Bits:
    """(n, 1): all bits of a panel, or none."""
    return np.where(flags, np.iinfo(np.uint64).max, np.uint64(0)).astype(np.uint64)[:, None]


def mean_where(flags: Booleans, values: Floats) -> Floats:
    found: Floats = np.where(flags, values, 0.0).mean(axis=1)
    return found


def mean_of_slowest(latency: Floats, panels: Integers) -> Floats:
    """Members are asked together: the slowest is waited for."""
    if np.isnan(latency).all():
        return np.full(len(panels), np.nan)
    slowest: Floats = latency[panels[:, 0]]
    for column in panels.T[1:]:
        slowest = np.maximum(slowest, latency[column])
    mean: Floats = slowest.mean(axis=1)
    return mean
