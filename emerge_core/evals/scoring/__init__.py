"""Scores replies: by rules, by recorded verdicts and grades, by a function; by a model, in `scoring.judge`, which loads
the providers."""

from emerge_core.evals.scoring.grading import Case, Grader, GradingResult, by_function, grade_task
from emerge_core.evals.scoring.scorer import Scorer, labelled

__all__ = ["Case", "Grader", "GradingResult", "Scorer", "by_function", "grade_task", "labelled"]
