"""The evidence table of emerge_core/evals/README.md, made anew from recordings.

    make evidence RECORDINGS=DIR

One row per task: the best small model alone, the cheapest single model that is as good as the frontier model named,
the best panel that asks nobody else, what tune chooses within the limit, and what that costs against the frontier
model. Accuracies are of unseen questions, with 95 % intervals. The row of a reasoning model is an accuracy without a
cost, since its hidden tokens were not recorded.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from emerge_core.cli import main as emerge

TASKS: Sequence[tuple[str, str, tuple[str, ...]]] = (
    ("gsm8k", "claude-3-5-sonnet-20241022", ("--max-cost", "0.35x")),
    ("math_l5", "grok-2-1212", ("--max-cost", "0.3x")),
    ("math_l5", "grok-2-1212", ("--reasoning",)),
    ("crux", "gpt-4o-2024-08-06", ("--max-cost", "0.6x")),
    ("mmlu_pro_letters", "gpt-4.1", ("--max-cost", "0.25x")),
    ("bfcl_tools", "gpt-4o-2024-08-06", ("--max-cost", "0.35x")),
    ("themes_letters", "claude-sonnet-4-20250514", ("--max-cost", "0.4x")),
)
HEAD = (
    "task, questions, limit",
    "best small model",
    "cheapest single model as good",
    "panel alone",
    "tuned",
    "its cost against the frontier model",
)


def main(recordings: str, only: Sequence[str]) -> int:
    print("| " + " | ".join(HEAD) + " |\n" + "|---" * len(HEAD) + "|")
    for task, reference, limits in TASKS:
        if only and task not in only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out.json"
            asked = ["--task", task, "--reference", reference, *limits, "--json", str(out)]
            with redirect_stdout(StringIO()):
                status = emerge(["tune", "--recordings", recordings, *asked])
            if status:
                return status
            print("| " + " | ".join(row(json.loads(out.read_text()), reference, limits)) + " |", flush=True)
    return 0


def row(found: dict[str, Any], reference: str, limits: Sequence[str]) -> list[str]:
    controls, chosen = found["controls"], found["frontier"][found["chosen"]]
    spent = controls["frontier_cost_per_1000"][reference]
    single, good, panel = controls["best_single"], controls["cheapest_as_good"], controls["panel"]
    limit = limits[-1].replace("x", "×") if limits[0] == "--max-cost" else "with reasoning models"
    return [
        f"{found['task']}, {found['questions']} ({found['left_out']} left out), {limit}",
        f"{single['model']} {accuracy(single['accuracy'], single['ci95'])}",
        "none" if good is None else f"{good['model']} {shown(good['accuracy'])}, {share(good['cost_per_1000'], spent)}",
        f"{accuracy(panel['accuracy_cv'], panel['ci95'])}, {share(panel['cost_per_1000'], spent)}",
        f"{name(chosen)}: **{accuracy(chosen['accuracy_cv'], chosen['ci95'])}**",
        f"{share(chosen['cost_per_1000'], spent)} of {reference} ({shown(controls['frontier'][reference])}): "
        f"{difference(chosen['vs_reference'])}",
    ]


def name(chosen: dict[str, Any]) -> str:
    """The members, and whom they ask on how many questions."""
    said, asks = " + ".join(chosen["members"]), chosen["escalate"]
    if asks is None:
        return said if len(chosen["members"]) > 1 else f"{said} alone"
    stronger = ", then ".join([asks["to"], *asks.get("then", ())])
    return f"{said}, asking {stronger} on {shown(chosen['escalation_rate'])} %"


def difference(found: dict[str, Any]) -> str:
    low, high = found["ci95"]
    return f"{100 * found['diff']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def accuracy(value: float, interval: Sequence[float]) -> str:
    return f"{shown(value)} ({shown(interval[0])}–{shown(interval[1])})"


def shown(value: float) -> str:
    return f"{100 * value:.1f}"


def share(cost: float | None, of: float | None) -> str:
    return "cost not known" if cost is None or not of else f"{cost / of:.2f}×"


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("give the directory of recordings, and tasks if not all of them")
    sys.exit(main(sys.argv[1], sys.argv[2:]))
