"""How well a panel of small models votes on tool calls, measured on a recording.

    .venv/bin/python tests/bench/tool_calls.py RECORDINGS [TASK]

Reads the recorded replies of three small models and of a stronger one, decides every question by the product's own
rules, once by vote alone and once asking the stronger model below an agreement of 0.6, and prints the accuracy, the
share of questions on which it was asked, and the cost against asking it always.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from emerge_core.aggregators.tally import agreement, escalates, pick
from emerge_core.answers import Extractor, candidate
from emerge_core.types import Call, ChatRequest, Completion, Member, ToolCall

PANEL = ("gpt-4o-mini-2024-07-18", "gemini-1.5-flash", "functionary-small-v3.1")
STRONGER = "gpt-4o-2024-08-06"
BELOW = 0.6


def main(folder: str, task: str = "bfcl_tools") -> int:
    root = Path(folder)
    prices = {row["model"]: row.get("price") for row in json.loads((root / "models.json").read_text())["models"]}
    replies: dict[str, dict[str, Any]] = defaultdict(dict)
    for row in rows(root / task / "responses.jsonl.gz"):
        replies[row["id"]][row["model"]] = row
    right: dict[str, int] = defaultdict(int)
    cost: dict[str, float] = defaultdict(float)
    asked = count = 0
    for question in rows(root / task / "questions.jsonl.gz"):
        given = replies[question["id"]]
        if not all(model in given for model in (*PANEL, STRONGER)):
            continue
        count += 1
        request = ChatRequest(
            messages=tuple(question["request"]["messages"]), tools=tuple(question["request"]["tools"])
        )
        extractor = Extractor.of(request)
        panel = [of(extractor, given[model], position) for position, model in enumerate(PANEL)]
        found = pick(panel)
        winner = found.winner or next(iter(found.among), None)
        voted = given[winner.call.model]["correct"] if winner else 0
        more = winner is None or escalates(agreement(winner, panel, offers_tools=True), BELOW)
        asked += more
        strong = given[STRONGER]
        for model in (*PANEL, STRONGER):
            right[model] += given[model]["correct"]
        right["vote"] += voted
        right["vote, then the stronger one"] += strong["correct"] if more else voted
        spent = sum(dollars(given[model], prices[model]) for model in PANEL)
        cost["vote"] += spent
        cost["vote, then the stronger one"] += spent + (dollars(strong, prices[STRONGER]) if more else 0)
        cost[STRONGER] += dollars(strong, prices[STRONGER])
    print(f"{task}: {count} questions, asked {STRONGER} on {100 * asked / count:.1f} % (agreement below {BELOW})")
    for name, hits in right.items():
        against = f", {cost[name] / cost[STRONGER]:.3f} x the cost of {STRONGER}" if name in cost else ""
        print(f"{name:32} {100 * hits / count:5.1f} %{against}")
    return 0


def rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def of(extractor: Extractor, row: dict[str, Any], position: int) -> Any:
    calls = tuple(ToolCall(id=c["id"], name=c["name"], arguments=c["arguments"]) for c in row.get("tool_calls") or ())
    reply = Completion(text=row["response_text"], tool_calls=calls, finish_reason=row.get("finish_reason"))
    member = Member(model=row["model"], position=position)
    made = Call(
        id=str(position), role="member", model=row["model"], provider="p", status="ok", completion=reply, member=member
    )
    return candidate(extractor, made, member)


def dollars(row: dict[str, Any], price: dict[str, float] | None) -> float:
    """The cost of a recorded reply. A model without a known price counts as free, and the output says nothing of it."""
    if price is None:
        return 0.0
    tokens_in, tokens_out = row["usage"]["input_tokens"], row["completion_tokens"]
    return float(tokens_in * price["input"] + tokens_out * price["output"]) / 1e6


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
