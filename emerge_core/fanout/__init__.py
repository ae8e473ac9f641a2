"""The upstream calls of one request: in parallel, under one deadline, within its ceilings."""

from emerge_core.fanout.attempts import Budget
from emerge_core.fanout.calls import FanOut

__all__ = ["Budget", "FanOut"]
