"""The upstream calls of one request: in parallel, under one deadline, within the request's ceilings. Models
that keep failing are left alone for a while."""

from emerge_core.fanout.attempts import Budget
from emerge_core.fanout.breaker import Breakers
from emerge_core.fanout.calls import FanOut

__all__ = ["Breakers", "Budget", "FanOut"]
