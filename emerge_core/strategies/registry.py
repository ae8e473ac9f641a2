"""The table of strategies: a new strategy is one module and one row here.

The table is plain data that imports nothing else of the package, because the config's checks read it too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

from emerge_core.errors import ConfigError

if TYPE_CHECKING:
    from emerge_core.answers import Extractor
    from emerge_core.config.schema import EnsembleConfig
    from emerge_core.fanout import FanOut
    from emerge_core.types import Candidate, ChatRequest, Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a strategy found. `decision` is None if no reply is usable."""

    candidates: tuple[Candidate, ...]
    decision: Decision | None


Strategy = Callable[["EnsembleConfig", "ChatRequest", "Extractor", "FanOut"], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyRow:
    """What there is to know about a strategy without importing it."""

    module: str  # has a function `run`, see `Strategy`
    options: tuple[str, ...] = ()  # fields of StrategyConfig that it reads
    asks: str  # how it asks the members, as config errors say it
    parallel: bool = False  # whether all members are asked at once: only then can stragglers be cut
    escalates: bool = False  # whether `escalate` applies
    aggregates: bool = False  # whether the ensemble's aggregator decides


STRATEGIES: dict[str, StrategyRow] = {
    "ensemble": StrategyRow(
        module="emerge_core.strategies.ensemble",
        asks="asks all members at once",
        parallel=True,
        escalates=True,
        aggregates=True,
    ),
    "cascade": StrategyRow(
        module="emerge_core.strategies.cascade",
        options=("stop", "order"),
        asks="asks one member after the other",
    ),
    "fallback": StrategyRow(
        module="emerge_core.strategies.fallback",
        asks="asks one member after the other",
    ),
}


def get_strategy(name: str) -> Strategy:
    """The strategy's function; its module is imported now. Raises ConfigError for an unknown name."""
    row = STRATEGIES.get(name)
    if row is None:
        raise ConfigError(f"there is no strategy `{name}` (there are: {', '.join(STRATEGIES)})")
    return cast(Strategy, import_module(row.module).run)
