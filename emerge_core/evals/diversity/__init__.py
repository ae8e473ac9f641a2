"""How differently models fail on the same questions, and what that is worth to a panel."""

from emerge_core.evals.diversity.findings import Findings, findings
from emerge_core.evals.diversity.findings_table import findings_table
from emerge_core.evals.diversity.measures import PanelDiversity, measure
from emerge_core.evals.diversity.table import table
from emerge_core.evals.diversity.unlabelled import IncomparableError, Reliability, estimate
from emerge_core.evals.diversity.unlabelled_table import anchored_table, truth, unlabelled_table
from emerge_core.evals.diversity.wording import Likeness, likeness, likeness_table

__all__ = [
    "Findings",
    "IncomparableError",
    "Likeness",
    "PanelDiversity",
    "Reliability",
    "anchored_table",
    "estimate",
    "findings",
    "findings_table",
    "likeness",
    "likeness_table",
    "measure",
    "table",
    "truth",
    "unlabelled_table",
]
