"""The time that extraction takes for three replies of 2 KB each, by kind of answer: the median of many runs.

.venv/bin/python tests/bench/extraction.py
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from emerge_core.answers import Extractor, candidate
from emerge_core.types import Call, ChatRequest, Completion, Member

RUNS = 100
WORDS = "The river rises in the hills, turns north at the old mill and reaches the sea after ninety miles. "
STEPS = "First we take 48 and halve it, which gives 24; then we add both, since she sold clips in two months. "
CITIES = "Which city lies on the Seine?\n\n" + "\n".join(f"{'ABCDEFGHIJ'[n]}. City number {n}" for n in range(10))
SUM = "Natalia sold 48 clips in April and half as many in May. How many clips did she sell altogether?"
ROW = {"label": "spam", "score": 0.25, "why": "it asks for a click and nothing else", "tags": ["a", "b"], "ok": True}
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "letters": (CITIES, WORDS * 20 + "\n\nThe answer is (B).", {}),
    "numbers": (SUM, STEPS * 20 + "\n\nThe answer is 72.", {}),
    "JSON": ("Classify.", json.dumps([ROW] * 17), {"response_format": {"type": "json_object"}}),
    "prose": ("Describe the river.", WORDS * 20, {}),
}


def main() -> int:
    print("| three replies of 2 KB | median, ms |\n|---|---|")
    for name, (question, text, fields) in CASES.items():
        if name == "JSON":
            text = json.dumps({"rows": json.loads(text)})
        request = ChatRequest(messages=({"role": "user", "content": question},), **fields)
        print(f"| {name} | {1000 * statistics.median(seconds(request, text) for _ in range(RUNS)):.2f} |")
    text = json.dumps({"rows": [ROW] * 85})
    request = ChatRequest(messages=({"role": "user", "content": "x"},), response_format={"type": "json_object"})
    one = statistics.median(seconds(request, text, replies=1) for _ in range(RUNS))
    began = perf_counter()
    json.loads(text)
    parsing = 1000 * (perf_counter() - began)
    print(f"\none JSON reply of {len(text):,} characters: {1000 * one:.2f} ms, of which parsing {parsing:.2f}")
    return 0


def seconds(request: ChatRequest, text: str, replies: int = 3) -> float:
    calls = [
        Call(
            id=str(n),
            role="member",
            model="m",
            provider="p",
            status="ok",
            completion=Completion(text=text[:n] + text[n:], finish_reason="stop"),
        )
        for n in range(replies)
    ]
    began = perf_counter()
    extractor = Extractor.of(request)
    for call in calls:
        candidate(extractor, call, Member(model="m"))
    return perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
