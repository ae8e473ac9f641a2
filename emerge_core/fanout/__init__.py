"""The upstream calls of one request: in parallel, under one deadline, within its ceilings, and to
nobody who is known to be down."""

from emerge_core.fanout.attempts import Budget
from emerge_core.fanout.breaker import Breakers
from emerge_core.fanout.calls import FanOut

__all__ = ["Breakers", "Budget", "FanOut"]
