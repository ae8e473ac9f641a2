"""Measures the models and ensembles of a config on recorded answers, through the real proxy."""

from emerge_core.evals.compare.comparison import Comparison, table
from emerge_core.evals.compare.measure import CompareSettings, compare
from emerge_core.evals.compare.measure_mix import compare_tasks
from emerge_core.evals.compare.mix import MixComparison, mix_table
from emerge_core.evals.compare.proxy_client import Outcome

__all__ = [
    "CompareSettings",
    "Comparison",
    "MixComparison",
    "Outcome",
    "compare",
    "compare_tasks",
    "mix_table",
    "table",
]
