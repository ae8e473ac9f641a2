"""Which members to ask, and when to stop: one module per strategy, and one table of them.

A strategy returns an `Outcome`. Whether that is enough to answer the request is for the engine to say.
"""

from emerge_core.strategies.registry import STRATEGIES, Outcome, Strategy, StrategyRow, get_strategy

__all__ = ["STRATEGIES", "Outcome", "Strategy", "StrategyRow", "get_strategy"]
