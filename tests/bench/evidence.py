"""The tables of emerge_core/evals/README.md, of tuned panels beside frontier models, made anew from recordings.

    make evidence RECORDINGS=DIR

One row for the chosen panel and one for each frontier model with a known cost: accuracy on unseen
questions with its 95 % interval, US dollars per 1,000 questions, calls, latency where it was recorded.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from emerge_core.cli import main as emerge
from emerge_core.evals.offline.arrays import read_answers
from emerge_core.evals.recordings.recording import Recordings
from emerge_core.evals.statistics.intervals import wilson

TASKS = (
    ("gsm8k", "claude-3-5-sonnet-20241022", "0.35x"),
    ("math_l5", "grok-2-1212", "0.3x"),
    ("crux", "gpt-4o-2024-08-06", "0.6x"),
    ("mmlu_pro_letters", "gpt-4.1", "0.25x"),
)


def main(folder_of_recordings: str) -> int:
    print("| task | who answers | accuracy | $ per 1,000 | calls | latency |\n|---|---|---|---|---|---|")
    for task, reference, limit in TASKS:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out.json"
            asked = ["--task", task, "--reference", reference, "--max-cost", limit, "--json", str(out)]
            with redirect_stdout(StringIO()):
                status = emerge(["tune", "--recordings", folder_of_recordings, *asked])
            if status:
                return status
            for row in rows(Recordings(Path(folder_of_recordings)), task, json.loads(out.read_text())):
                print("| " + " | ".join(row) + " |")
    return 0


def rows(recordings: Recordings, task: str, found: dict[str, Any]) -> Iterator[list[str]]:
    chosen = found["frontier"][found["chosen"]]
    asks = chosen["escalate"]
    panel = " + ".join(chosen["members"])
    if asks:
        stronger = ", then ".join([asks["to"], *asks.get("then", ())])
        panel += f", asking {stronger} on {shown(chosen['escalation_rate'])} %"
    latency = chosen["latency_ms"]
    yield [
        f"{task}, {found['questions']}",
        f"**{panel}**",
        f"**{accuracy(chosen['accuracy_cv'], chosen['ci95'])}**",
        dollars(chosen["cost_per_1000"]),
        f"{chosen['calls_per_question']:.2f}",
        "not recorded" if latency is None else f"{latency:.0f} ms",
    ]
    single = found["controls"]["best_single"]
    yield [
        "",
        f"{single['model']} alone, the best member",
        accuracy(single["accuracy"], single["ci95"]),
        "",
        "1.00",
        "",
    ]
    alone = found["controls"]["frontier"]
    answers = read_answers(recordings, task, tuple(alone))
    for name in sorted(alone, key=lambda name: -alone[name]):
        cost = float(answers.costs(answers.index(name)).mean()) * 1000
        if cost == cost:  # a price is known
            count = found["questions"]
            figures = accuracy(alone[name], wilson(round(alone[name] * count), count))
            yield ["", f"{name} alone", figures, dollars(cost), "1.00", ""]


def accuracy(value: float, interval: Sequence[float]) -> str:
    return f"{shown(value)} ({shown(interval[0])}–{shown(interval[1])})"


def shown(share: float) -> str:
    return f"{100 * share:.1f}"


def dollars(cost: float | None) -> str:
    return "unknown" if cost is None else f"{cost:.2f}"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("give the directory of recordings")
    sys.exit(main(sys.argv[1]))
