"""The table of forms in emerge_core/answers/README.md, measured on recordings and on the prompts of the tests.

.venv/bin/python tests/bench/forms.py RECORDINGS
"""

from __future__ import annotations

import gzip
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from emerge_core.answers.question import form_of
from emerge_core.types import FORMS, ChatRequest
from tests.answers.question.prompts import PROMPTS

TASKS = ("gsm8k", "math_l5", "crux", "mmlu_pro", "bfcl_tools", "triviaqa", "nq_open", "alpaca_open", "prose_graded")


def main(folder: str) -> int:
    print(f"| prompts | how many | {' | '.join(FORMS)} |\n|{'---|' * (2 + len(FORMS))}")
    for task in TASKS:
        print(row(task, map(request_of, questions(Path(folder) / task / "questions.jsonl.gz"))))
    for form in FORMS[1:]:
        print(row(f"our own, {form}", (asks(text) for wanted, text in PROMPTS if wanted == form)))
    return 0


def row(name: str, requests: Iterable[ChatRequest]) -> str:
    """A line of the table: the share of each form in per cent."""
    found = Counter(map(form_of, requests))
    total = sum(found.values())
    return f"| {name} | {total:,} | {' | '.join(f'{100 * found[form] / total:.1f}' for form in FORMS)} |"


def questions(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def request_of(question: dict[str, Any]) -> ChatRequest:
    """The question as a prompt: with its choices, one a line, or its recorded request."""
    if "request" in question:
        body = question["request"]
        return ChatRequest(messages=tuple(body["messages"]), tools=tuple(body["tools"]))
    choices = [f"{chr(65 + index)}. {choice}" for index, choice in enumerate(question.get("choices") or ())]
    return asks("\n".join([question["question"], "", *choices]) if choices else question["question"])


def asks(text: str) -> ChatRequest:
    return ChatRequest(messages=({"role": "user", "content": text},))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
