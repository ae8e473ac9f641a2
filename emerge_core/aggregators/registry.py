"""The table of aggregators: a new aggregator is one module and one row here.

The table is plain data that imports nothing else of the package, because the config's checks read it too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Literal, Protocol, cast

from emerge_core.errors import ConfigError

if TYPE_CHECKING:
    from emerge_core.config.schema import AggregatorConfig
    from emerge_core.types import Asker, Candidate, ChatRequest, Decision, KeyOf


class Aggregate(Protocol):
    """Turns the candidates into one decision.

    `candidates` are all members of the panel, unusable ones included, in any order; at least one is usable.
    `asker` makes further calls; `key_of` reads a reply that such a call wrote, as the members' were read.
    """

    async def __call__(
        self,
        candidates: Sequence[Candidate],
        *,
        request: ChatRequest,
        options: AggregatorConfig,
        asker: Asker,
        key_of: KeyOf,
    ) -> Decision: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregatorRow:
    """What there is to know about an aggregator without importing it."""

    module: str  # has a function `aggregate`, see `Aggregate`
    options: tuple[str, ...] = ()  # fields of AggregatorConfig that it reads
    needs: Mapping[str, str] = field(default_factory=dict)  # required option → what the model named there does
    decides_early: Literal["vote", "adaptive"] | None = None  # the rule by which `early_decision` tells its winner


# Aggregators that may fall back to a vote may end at consensus, and so use the embedder.
AGGREGATORS: dict[str, AggregatorRow] = {
    "vote": AggregatorRow(module="emerge_core.aggregators.vote", options=("embedder",), decides_early="vote"),
    "consensus": AggregatorRow(module="emerge_core.aggregators.consensus", options=("embedder",)),
    "confidence": AggregatorRow(module="emerge_core.aggregators.confidence", options=("embedder",)),
    "judge": AggregatorRow(
        module="emerge_core.aggregators.judge",
        options=("judge", "two_orders", "embedder"),
        needs={"judge": "picks the answer"},
    ),
    "merge": AggregatorRow(
        module="emerge_core.aggregators.merge",
        options=("merger", "embedder"),
        needs={"merger": "writes the answer"},
    ),
    "adaptive": AggregatorRow(
        module="emerge_core.aggregators.adaptive",
        options=("merger", "embedder", "near"),
        decides_early="adaptive",
    ),
}


def get_aggregator(name: str) -> Aggregate:
    """The aggregator's function; its module is imported now. Raises ConfigError for an unknown name."""
    row = AGGREGATORS.get(name)
    if row is None:
        raise ConfigError(f"there is no aggregator `{name}` (there are: {', '.join(AGGREGATORS)})")
    return cast(Aggregate, import_module(row.module).aggregate)
