"""Turning candidates into one decision: one module per rule, and one table of them.

An aggregator is pure over the candidates, but for the calls that it makes through an `Asker`. Config order
(`member.position`) breaks the last ties.
"""

from emerge_core.aggregators.registry import AGGREGATORS, Aggregate, AggregatorRow, get_aggregator

__all__ = ["AGGREGATORS", "Aggregate", "AggregatorRow", "get_aggregator"]
