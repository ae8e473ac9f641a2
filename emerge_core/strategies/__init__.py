"""Which members to ask, and when to stop. One file each; `ensemble` asks all at once, `cascade` the
cheapest first. A strategy returns an `Outcome`; whether that is enough to answer is the engine's word."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from emerge_core.answers import Extractor
from emerge_core.config.schema import EnsembleConfig
from emerge_core.fanout import FanOut
from emerge_core.types import Candidate, ChatRequest, Decision, Member


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a strategy found. `decision` is None where nothing usable came back."""

    candidates: tuple[Candidate, ...]
    decision: Decision | None


Strategy = Callable[[EnsembleConfig, ChatRequest, Extractor, FanOut], Awaitable[Outcome]]


def get_strategy(name: str) -> Strategy:
    if name == "cascade":
        from emerge_core.strategies.cascade import run as cascade

        return cascade
    from emerge_core.strategies.ensemble import run as ensemble

    return ensemble


def members_of(ensemble: EnsembleConfig) -> tuple[Member, ...]:
    """The panel in config order."""
    return tuple(
        Member(
            model=member.model,
            position=position,
            weight=member.weight,
            temperature=member.temperature,
            reliability=member.reliability,
            calibration=member.calibration,
        )
        for position, member in enumerate(ensemble.members)
    )
