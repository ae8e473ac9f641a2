"""Turning candidates into one decision: one file per way, one registry.

An aggregator is pure over the candidates plus an `Asker` for the calls that some of them make. It
sees *all* members that were asked, unusable ones too, in any order; config order
(`member.position`) breaks the last ties. At least one candidate is usable.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Protocol, cast

from emerge_core.config.schema import AggregatorConfig
from emerge_core.types import Asker, Candidate, ChatRequest, Decision

_MODULES = {
    "vote": "emerge_core.aggregators.vote",
    "consensus": "emerge_core.aggregators.consensus",
    "confidence": "emerge_core.aggregators.confidence",
    "judge": "emerge_core.aggregators.judge",
    "merge": "emerge_core.aggregators.merge",
    "adaptive": "emerge_core.aggregators.adaptive",
}
NAMES = tuple(_MODULES)


class Aggregate(Protocol):
    async def __call__(
        self, candidates: Sequence[Candidate], *, request: ChatRequest, options: AggregatorConfig, asker: Asker
    ) -> Decision: ...


def get_aggregator(name: str) -> Aggregate:
    """The aggregator of that name, its module imported now. KeyError where there is none."""
    return cast(Aggregate, import_module(_MODULES[name]).aggregate)
