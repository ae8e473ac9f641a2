"""A recording made by simulated models, so that every evaluation test runs in any clone.

`write_recording(root)` writes five tasks, the same for the same seed: `sums` (numbers), `picks` (multiple choice),
`facts` (short texts with verdicts), `calls` (requests with tools) and `essays` (graded prose). Members err
independently and are about equally good; `titan` is a better and dearer frontier model, `thinker` a reasoning model
whose hidden tokens were not recorded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Row = dict[str, Any]

TASKS = ("sums", "picks", "facts", "calls", "essays")


class Simulated(NamedTuple):
    """A model: how often it is right, and US dollars per million tokens in and out."""

    accuracy: float
    provider: str
    tier: str
    price: tuple[float, float] | None
    latency_ms: float


MODELS: Mapping[str, Simulated] = {
    "amber": Simulated(0.76, "openai", "small", (0.15, 0.6), 600),
    "birch": Simulated(0.74, "google", "small", (0.1, 0.4), 450),
    "cedar": Simulated(0.72, "anthropic", "small", (0.25, 1.25), 700),
    "delta": Simulated(0.55, "meta", "mid", (0.05, 0.2), 300),
    "titan": Simulated(0.90, "openai", "frontier", (2.5, 10.0), 1500),
    "thinker": Simulated(0.95, "deepseek", "reasoning", (0.5, 2.0), 9000),
}
CITIES = ("Lisbon", "Oslo", "Quito", "Hanoi", "Accra", "Turin", "Sucre", "Perth")
LANDS = ("Portugal", "Norway", "Ecuador", "Vietnam", "Ghana", "Italy", "Bolivia", "Australia")
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": about,
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer", "default": 1}},
                "required": ["city"],
            },
        },
    }
    for name, about in (("forecast", "The weather of the next days."), ("timetable", "Trains that leave a city."))
]


def write_recording(root: Path, *, questions: int = 80, seed: int = 11) -> Path:
    """Writes the directory and returns it."""
    random = np.random.default_rng(seed)
    (root / "models.json").write_text(json.dumps({"models": [_model(name) for name in MODELS]}))
    for task, make in zip(TASKS, (_sum, _pick, _fact, _call, _essay), strict=True):
        asked, replies = [], []
        for number in range(questions):
            hard = random.normal(0, 0.08)
            question, of_models = make(number, random, hard)
            asked.append({"id": f"{task}-{number}", "task": task, **question})
            replies += [
                {"id": f"{task}-{number}", "model": name, "provider": MODELS[name].provider, **fields}
                for name, fields in of_models
            ]
        folder = root / task
        folder.mkdir()
        _write(folder / "questions.jsonl", asked)
        _write(folder / "responses.jsonl", replies)
    return root


Made = tuple[Row, list[tuple[str, Row]]]


def _sum(number: int, random: np.random.Generator, hard: float) -> Made:
    a, b = int(random.integers(11, 99)), int(random.integers(11, 99))
    replies = []
    for name, right in _right(random, hard):
        said = a + b if right else a + b + int(random.choice([-10, -1, 1, 10]))
        replies.append((name, _reply(f"I add {a} and {b}, tens first.\n\nThe answer is {said}.", name, random)))
    return {
        "question": f"What is {a} plus {b}? ({number})",
        "answers": [str(a + b)],
        "answer_format": "number",
    }, replies


def _pick(number: int, random: np.random.Generator, hard: float) -> Made:
    place = int(random.integers(4))
    shown = [CITIES[(number + step) % 8] for step in range(4)]
    land = LANDS[(number + place) % 8]
    replies = []
    for name, right in _right(random, hard):
        letter = "ABCD"[place if right else (place + int(random.integers(1, 4))) % 4]
        text = "I cannot tell." if random.random() < 0.03 else f"The answer is ({letter})."
        replies.append((name, _reply(text, name, random)))
    question = f"Which of these cities, in round {number}, lies in {land}?"
    return {"question": question, "choices": shown, "answers": ["ABCD"[place]], "answer_format": "letter"}, replies


def _fact(number: int, random: np.random.Generator, hard: float) -> Made:
    gold = CITIES[number % 8]
    replies = []
    for name, right in _right(random, hard):
        said = gold if right else CITIES[(number + int(random.integers(1, 8))) % 8]
        text = f"{said}." if random.random() < 0.6 else f"As far as I know, it is the city of {said}."
        replies.append((name, {**_reply(text, name, random), "correct": int(right)}))
    question = f"Which city in {LANDS[number % 8]} is the subject of chapter {number}?"
    return {"question": question, "answers": [gold], "answer_format": "short text"}, replies


def _call(number: int, random: np.random.Generator, hard: float) -> Made:
    """Every fifth request needs no call; two neighbours have one text and different tools."""
    city, days, needed = CITIES[number // 2 % 8], 2 + number // 16, number % 5 != 4
    tool = TOOLS[number % 2]
    words = f"What awaits me in {city} within {days} days?" if needed else f"Thank you, goodbye. ({number})"
    wanted = [{"name": tool["function"]["name"], "arguments": {"city": [city], "days": [days]}}] if needed else []
    replies = []
    for name, right in _right(random, hard):
        wrong_city = CITIES[(number // 2 + int(random.integers(1, 8))) % 8]
        # A wrong reply calls for the wrong city, or does the opposite of what is needed.
        calls = needed if right else (not needed or random.random() < 0.7)
        if not calls:
            replies.append((name, _reply(f"You are welcome, says {name}.", name, random)))
            continue
        arguments = {"city": city if right else wrong_city, "days": days}
        call = {"id": "call_0", "name": tool["function"]["name"], "arguments": json.dumps(arguments)}
        fields = _reply("", name, random)
        replies.append((name, {**fields, "tool_calls": [call], "finish_reason": "tool_calls"}))
    request = {"messages": [{"role": "user", "content": words}], "tools": [tool]}
    question = {"question": words, "request": request, "answers": [json.dumps(wanted)], "answer_format": "tool_calls"}
    return question, replies


def _essay(number: int, random: np.random.Generator, hard: float) -> Made:
    replies = []
    for name, each in MODELS.items():
        words = random.choice(["calm", "river", "stone", "light", "winter", "garden", "slowly", "again"], size=40)
        score = float(np.clip(random.normal(each.accuracy - 0.4 + hard, 0.2), 0, 1))
        text = f"{' '.join(words).capitalize()}. So ends the walk that {name} took."
        replies.append((name, {**_reply(text, name, random), "score": round(score, 4)}))
    return {"question": f"Describe walk number {number} along the river."}, replies


def _right(random: np.random.Generator, hard: float) -> Iterator[tuple[str, bool]]:
    for name, each in MODELS.items():
        yield name, bool(random.random() < np.clip(each.accuracy - hard, 0.02, 0.98))


def _reply(text: str, name: str, random: np.random.Generator) -> Row:
    tokens = int(random.integers(20, 60))
    latency = round(MODELS[name].latency_ms * float(random.uniform(0.7, 1.6)), 1)
    usage = {"input_tokens": 50, "output_tokens": tokens}
    return {
        "response_text": text,
        "finish_reason": "stop",
        "usage": usage,
        "completion_tokens": tokens,
        "latency_ms": latency,
    }


def _model(name: str) -> Row:
    each = MODELS[name]
    row: Row = {"model": name, "provider": each.provider, "family": name, "tier": each.tier}
    if each.price:
        row["price"] = {"input": each.price[0], "output": each.price[1]}
    return row


def _write(path: Path, rows: Sequence[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
