"""The share of each task in the traffic that a mix of tasks stands for: given by name, or counted in a log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emerge_core.errors import EmergeError
from emerge_core.evals.recordings.log_lines import log_lines
from emerge_core.types import FORMS


def mix_weights(mix: str | None, questions: Mapping[str, int], forms: Mapping[str, str]) -> dict[str, float]:
    """The weight of each task; all weights add up to 1.

    `questions` are the numbers of questions of the tasks, `forms` the tasks' forms of request. `mix` is one of:
    None, for weights in proportion to the numbers of questions; "A=3,B=1", for weights by task; the path of a log of
    emerge, for the shares of the forms in it. Tasks of one form share the weight of the form in proportion to their
    questions. Raises EmergeError if the text cannot be read so, or names a task that is not measured.
    """
    if mix is None:
        return _normal({task: float(count) for task, count in questions.items()})
    if "=" in mix and not Path(mix).exists():
        return _normal(_named(mix, questions))
    counted = forms_in_log(Path(mix))
    of_form: Counter[str] = Counter()
    for task, count in questions.items():
        of_form[forms[task]] += count
    weights = {task: counted[forms[task]] * count / of_form[forms[task]] for task, count in questions.items()}
    if not any(weights.values()):
        served = ", ".join(sorted(counted))
        raise EmergeError(f"--mix {mix}: none of its requests has a form of the tasks; its forms are: {served}")
    return _normal(weights)


def forms_in_log(path: Path) -> Counter[str]:
    """How many requests of each form a log has. Raises EmergeError if routes served none of its requests."""
    counted: Counter[str] = Counter()
    seen: set[Any] = set()
    for line in log_lines(path):
        form, request = line.get("route"), line.get("request_id")
        if form in FORMS and request not in seen:
            seen.add(request)
            counted[form] += 1
    if not counted:
        raise EmergeError(f"--mix {path}: no line of it has a `route`: routes served none of the logged requests")
    return counted


def _named(mix: str, tasks: Mapping[str, int]) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in mix.split(","):
        task, _, weight = (each.strip() for each in part.partition("="))
        try:
            found[task] = float(weight)
        except ValueError:
            found[task] = -1.0
        if not 0 <= found[task] < float("inf"):
            raise EmergeError(f"--mix {mix}: write TASK=WEIGHT, separated by commas; a weight is a number from 0")
        if task not in tasks:
            raise EmergeError(f"--mix {mix}: {task!r} is none of the tasks: {', '.join(tasks)}")
    missing = [task for task in tasks if task not in found]
    if missing:
        raise EmergeError(f"--mix {mix}: no weight for {', '.join(missing)}; a task may have the weight 0")
    if not any(found.values()):
        raise EmergeError(f"--mix {mix}: some weight must be more than 0")
    return {task: found[task] for task in tasks}


def _normal(weights: Mapping[str, float]) -> dict[str, float]:
    total = sum(weights.values())
    return {task: weight / total for task, weight in weights.items()}
