"""A small hand-made directory of recordings: numbers, options (texts and letters), short texts."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emerge_core.evals.recordings.recording import Recordings, read_rows

Row = Mapping[str, Any]

SUMS = {"s1": ("What is 17 plus 25?", "42"), "s2": ("What is 6 times 9?", "54"), "s3": ("Halve the number 90.", "45")}
SAID = {  # what each model says to s1, s2, s3; None: not recorded
    "alpha": ("42", "54", "44"),
    "beta": ("42", "55", "45"),
    "gamma": ("43", "56", "45"),
    "titan": ("42", "54", "45"),
    "thinker": ("42", "54", "45"),
    "patchy": ("42", None, "45"),
}
PICK = "Which of the following is true of the sky?"


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)


def models_of(recordings: Path, task: str) -> set[str]:
    """The models that a task has rows of."""
    names = re.compile(rb'"model": ?"([^"]+)"')
    found = {match[1] for line in replies_of(recordings, task) if (match := names.search(line))}
    return {name.decode() for name in found}


def replies_of(recordings: Path, task: str) -> Iterator[bytes]:
    source = Recordings(recordings).replies_file(task)
    with gzip.open(source, "rb") if source.suffix == ".gz" else source.open("rb") as lines:
        yield from lines


def first_of(recordings: Path, task: str, models: Collection[str], count: int, out: Path) -> Path:
    """A recording in `out` with the first `count` questions that all these models answered, and their replies alone, so
    that no server and no comparison has to read the others."""
    source = Recordings(recordings).replies_file(task)
    names = [json.dumps(model).encode() for model in models]
    rows = [json.loads(line) for line in replies_of(recordings, task) if any(name in line for name in names)]
    rows = [row for row in rows if row["model"] in models]
    first = (row for row in rows if not (row.get("error") or row.get("role") or row.get("sample")))
    answered = Counter(row["id"] for row in first)
    (questions,) = source.parent.glob("questions.jsonl*")
    kept = [row for _, row in read_rows(questions) if answered[row["id"]] == len(models)][:count]
    ids = {row["id"] for row in kept}
    folder = out / source.parent.name
    write_rows(folder / "questions.jsonl", kept)
    write_rows(folder / source.name.removesuffix(".gz"), [row for row in rows if row["id"] in ids])
    if (recordings / "models.json").is_file():
        (out / "models.json").write_text((recordings / "models.json").read_text())
    return out


def make_recordings(root: Path) -> Path:
    prices = {
        "alpha": (1.0, 2.0),
        "beta": (1.0, 2.0),
        "gamma": (0.5, 1.0),
        "titan": (10.0, 20.0),
        "thinker": (1.0, 1.0),
    }
    models = [
        {
            "model": name,
            "tier": "reasoning" if name == "thinker" else "small",
            **({"price": {"input": prices[name][0], "output": prices[name][1]}} if name in prices else {}),
        }
        for name in SAID
    ]
    (root / "models.json").write_text(json.dumps({"models": models}))
    write_rows(
        root / "sums" / "questions.jsonl.gz",
        [
            {"id": id_, "task": "sums", "question": question, "answers": [gold], "answer_format": "number"}
            for id_, (question, gold) in SUMS.items()
        ],
    )
    write_rows(
        root / "sums" / "responses.jsonl.gz",
        [
            {
                "id": id_,
                "model": model,
                "response_text": f"Let me work that out step by step.\n\nThe answer is {said}.",
                "completion_tokens_est": 100,
                "vote_key": said,
                "correct": int(said == SUMS[id_][1]),
            }
            for model, sayings in SAID.items()
            for id_, said in zip(SUMS, sayings, strict=True)
            if said is not None
        ],
    )
    options = {
        "p1": ["It is green at noon.", "It is blue at noon.", "It is made of tin."],
        "p2": ["It weighs a ton.", "It is often grey in winter."],
    }
    picks = [
        {"id": id_, "task": "picks", "question": PICK, "choices": choices, "answers": ["B"], "answer_format": "letter"}
        for id_, choices in options.items()
    ]
    write_rows(root / "picks" / "questions.jsonl", picks)
    write_rows(
        root / "picks" / "responses.jsonl",
        [
            {"id": id_, "model": "alpha", "response_text": f"It is (B), I am sure of {id_}.", "correct": 1}
            for id_ in options
        ],
    )
    letters: list[Row] = [
        {"id": "p1", "model": "alpha", "extracted_answer": "B", "confidence_logit": 0.8, "confidence_stated": 0.95},
        {"id": "p1", "model": "beta", "extracted_answer": "A", "confidence_stated": 0.9},
        {"id": "p2", "model": "alpha"},
        {"id": "p2", "model": "beta", "extracted_answer": "B", "confidence_stated": 0.0},
    ]
    write_rows(root / "picks" / "letters.jsonl.gz", [{"completion_tokens": 120, **row} for row in letters])
    write_rows(
        root / "facts" / "questions.jsonl",
        [
            {
                "id": "f1",
                "task": "facts",
                "question": "Who painted the ceiling of the chapel?",
                "answers": ["Michelangelo", "Michelangelo Buonarroti"],
                "answer_format": "short text",
            }
        ],
    )
    write_rows(
        root / "facts" / "responses.jsonl",
        [
            {"id": "f1", "model": "alpha", "response_text": "That was Buonarroti.", "correct": 1},
            {"id": "f1", "model": "beta", "response_text": "Michelangelo was not the painter.", "correct": 0},
        ],
    )
    return root


def make_mixed(root: Path) -> None:
    """Letters with confidences, none, and replies without an answer; prices known; one model of Anthropic's."""
    random = np.random.default_rng(7)
    models = {"ann": "anthropic", "bob": "openai", "cyd": "meta", "dan": "google", "eve": "openai"}
    listed = [
        {"model": name, "provider": provider, "tier": "small", "price": {"input": 1 + n, "output": 2 * (5 - n)}}
        for n, (name, provider) in enumerate(models.items())
    ]
    (root / "models.json").write_text(json.dumps({"models": listed}))
    asked = range(60)
    questions = [
        {"id": f"m{n}", "question": f"What comes {n}th?", "choices": ["one", "two", "three"], "answers": ["A"]}
        for n in asked
    ]
    rows = []
    for n in asked:
        for name in models:
            letter = random.choice(["A", "A", "B", "C", ""])
            row: dict[str, Any] = {"id": f"m{n}", "model": name, "completion_tokens": int(random.integers(5, 50))}
            if letter:
                row["extracted_answer"] = str(letter)
            if random.random() < 0.8:
                row["confidence_logit"] = round(float(random.random()), 1)
            rows.append(row)
    write_rows(root / "mixed" / "questions.jsonl", questions)
    write_rows(root / "mixed" / "letters.jsonl", rows)
