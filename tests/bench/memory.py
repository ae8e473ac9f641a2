"""Peak memory of diversity and tune on a large recording.

    python tests/bench/memory.py [QUESTIONS]

Writes a recording of so many questions (200,000) answered by three members and a frontier model, runs each command in a
process of its own, and prints its peak memory and the processor time that it took.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

MODELS = {"amber": (0.76, 0.6), "birch": (0.74, 0.4), "cedar": (0.72, 1.2), "titan": (0.90, 10.0)}  # accuracy, price
QUESTION = "A parcel holds {0} boxes of {1} pens each, and {2} pens lie beside it. How many pens are there in all?"
REPLY = "Each of the {0} boxes holds {1} pens, and {2} more lie beside them, so in all there are \\boxed{{{3}}} pens."
COMMANDS: Sequence[str] = ("diversity", "tune")


def write(root: Path, questions: int) -> None:
    task = root / "parcels"
    task.mkdir(parents=True)
    known = [
        {
            "model": name,
            "provider": "local",
            "tier": "frontier" if name == "titan" else "small",
            "price": {"input": 0.1, "output": price},
        }
        for name, (_, price) in MODELS.items()
    ]
    (root / "models.json").write_text(json.dumps({"models": known}))
    numbers = np.random.default_rng(0).integers(2, 400, (questions, 3)).tolist()
    with gzip.open(task / "questions.jsonl.gz", "wt", compresslevel=1) as file:
        for place, (a, b, c) in enumerate(numbers):
            answers = {"answers": [str(a * b + c)], "answer_format": "number"}
            file.write(json.dumps({"id": f"q{place}", "question": QUESTION.format(a, b, c), **answers}) + "\n")
    with gzip.open(task / "responses.jsonl.gz", "wt", compresslevel=1) as file:
        file.writelines(json.dumps(row) + "\n" for row in _replies(numbers))


def _replies(numbers: Sequence[Sequence[int]]) -> Iterator[dict[str, object]]:
    random = np.random.default_rng(1)
    for place, (a, b, c) in enumerate(numbers):
        for name, (accuracy, _) in MODELS.items():
            said = a * b + c + (0 if random.random() < accuracy else int(random.integers(1, 5)))
            yield {
                "id": f"q{place}",
                "model": name,
                "response_text": REPLY.format(a, b, c, said),
                "completion_tokens": 30,
                "correct": int(said == a * b + c),
            }


def measured(command: str, root: Path) -> tuple[float, float]:
    """Peak memory in GB and processor seconds."""
    told = [sys.executable, "-m", "emerge_core", command, "--recordings", str(root), "--task", "parcels", "--quiet"]
    process = subprocess.Popen(told, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command} failed")
    return used.ru_maxrss * 1024 / 1e9, used.ru_utime + used.ru_stime


def main(questions: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), questions)
        print(f"| command, {questions:,} questions of {len(MODELS)} models | peak memory | processor time |")
        print("|---|---|---|")
        for command in COMMANDS:
            peak, seconds = measured(command, Path(folder))
            print(f"| {command} | {peak:.2f} GB | {seconds:.0f} s |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
