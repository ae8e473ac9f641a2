"""What a search for the best ensemble may use, and what its choice must keep to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from emerge_core.config import Config
from emerge_core.evals.tune.choice import MARGIN
from emerge_core.evals.tune.crossval import SEEDS

AS_GOOD = 0.03


@dataclass(frozen=True, slots=True)
class CostLimit:
    """US dollars per 1,000 questions, or a share of what the reference model costs."""

    amount: float
    share: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneSettings:
    """`margin` and `as_good` are shares: how much less accurate a cheaper choice, or a cheaper model, may be."""

    task: str
    recordings: Path = Path()
    models: tuple[str, ...] | None = None  # members; default: those of the small and mid tiers
    max_members: int = 3
    reference: str | None = None
    max_cost: CostLimit | None = None
    min_accuracy: float | None = None
    max_latency_ms: float | None = None
    frontier: bool = True  # whether a frontier model may be asked
    reasoning: bool = False  # whether reasoning models may be asked although their cost is not known
    margin: float = MARGIN
    as_good: float = AS_GOOD
    seeds: int = SEEDS
    config: Config | None = None  # whose models and providers are written
