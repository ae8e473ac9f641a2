"""The panel of an ensemble, as the strategies ask it."""

from __future__ import annotations

from emerge_core.config.schema import EnsembleConfig
from emerge_core.types import Member


def members_of(ensemble: EnsembleConfig) -> tuple[Member, ...]:
    """The members in config order."""
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
