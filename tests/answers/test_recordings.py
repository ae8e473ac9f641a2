"""Answer extraction against recorded replies of real models.

For every recorded reply that its source could score, "right by our key" must be what the source
says, on at least 99 % of the rows of each task. Run with `-s` to see the table. Set
EMERGE_RECORDINGS to another recordings directory to measure there.
"""

from __future__ import annotations

import ast
import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from emerge_core.answers import Extractor, same
from emerge_core.types import AnswerKey, ChatRequest, Completion
from tests.support.paths import RECORDINGS

TASKS = ("gsm8k", "math_l5", "crux", "mmlu_pro")
HUMAN_LABELLED = ("triviaqa", "nq_open")

pytestmark = pytest.mark.skipif(
    not RECORDINGS.is_dir(), reason=f"no recordings at {RECORDINGS}: set EMERGE_RECORDINGS to their directory"
)


@dataclass
class Tally:
    rows: int = 0
    scored: int = 0  # rows for which the source found an answer
    agreed: int = 0
    only_we: int = 0  # right by our key alone
    only_source: int = 0
    equal_by_value: int = 0  # a string comparison of the source missed that the literals are equal
    unscored: int = 0
    found: int = 0  # of the unscored, those in which we find an answer
    found_right: int = 0
    disagreements: list[str] = field(default_factory=list)

    @property
    def agreement(self) -> float:
        return self.agreed / self.scored if self.scored else 1.0


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    for name in (path, path.with_suffix("")):
        if name.is_file():
            with (
                gzip.open(name, "rt", encoding="utf-8")
                if name.suffix == ".gz"
                else name.open(encoding="utf-8") as lines
            ):
                yield from map(json.loads, lines)
            return


def prompt(question: dict[str, Any]) -> str:
    choices = question.get("choices") or []
    lines = [f"{chr(65 + index)}. {choice}" for index, choice in enumerate(choices)]
    return "\n".join([question["question"], "", *lines]) if choices else str(question["question"])


def equal_literals(stated: str, gold: str) -> bool:
    try:
        return bool(ast.literal_eval(stated) == ast.literal_eval(gold))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False


def measure(task: str) -> Tally:
    tally = Tally()
    questions = {row["id"]: row for row in rows_of(RECORDINGS / task / "questions.jsonl.gz")}
    readers: dict[str, tuple[Extractor, list[AnswerKey]]] = {}
    for row in rows_of(RECORDINGS / task / "responses.jsonl.gz"):
        question = questions[row["id"]]
        if row["id"] not in readers:
            extractor = Extractor.of(ChatRequest(messages=({"role": "user", "content": prompt(question)},)))
            golds = [key for gold in question["answers"] if (key := extractor.gold_key(gold)) is not None]
            readers[row["id"]] = extractor, golds
        extractor, golds = readers[row["id"]]
        key = extractor.key(Completion(text=row["response_text"], finish_reason="stop"))
        right = key is not None and any(same(key, gold) for gold in golds)
        tally.rows += 1
        if "vote_key" not in row:
            tally.unscored += 1
            tally.found += key is not None
            tally.found_right += right
            continue
        tally.scored += 1
        if right == bool(row["correct"]):
            tally.agreed += 1
        elif right and equal_literals(str(row.get("extracted_answer")), question["answers"][0]):
            tally.agreed += 1
            tally.equal_by_value += 1
        else:
            tally.only_we += right
            tally.only_source += not right
            stated = str(row.get("extracted_answer"))[:60]
            tally.disagreements.append(
                f"{row['id']} {row['model']}: ours {key and key.value[:60]!r} ({'right' if right else 'not right'}), "
                f"source {stated!r}, gold {question['answers'][0][:60]!r}"
            )
    return tally


def report(task: str, tally: Tally) -> str:
    return (
        f"{task:10} rows {tally.rows:6}  scored {tally.scored:6}  agree {100 * tally.agreement:7.3f} %  "
        f"right only by us {tally.only_we:4}  "
        f"only by the source {tally.only_source:4}  equal by value {tally.equal_by_value:4}  "
        f"unscored {tally.unscored:5}  of these found {tally.found:4}, right {tally.found_right:4}  "
    )


@pytest.mark.parametrize("task", TASKS)
def test_our_keys_agree_with_the_scored_recordings(task: str) -> None:
    if not (RECORDINGS / task).is_dir():
        pytest.skip(f"{RECORDINGS} has no {task}")
    tally = measure(task)
    print(f"\n{report(task, tally)}")
    if os.environ.get("EMERGE_DISAGREEMENTS"):
        print("\n".join(tally.disagreements))
    assert tally.scored > 0
    assert tally.agreement >= 0.99, "\n".join([report(task, tally), *tally.disagreements[:40]])


@pytest.mark.parametrize("task", HUMAN_LABELLED)
def test_short_free_texts_follow_the_human_labels(task: str) -> None:
    """GIVEN human labels of free-text answers THEN a key that matches a gold answer is mostly labelled right."""
    if not (RECORDINGS / task).is_dir():
        pytest.skip(f"{RECORDINGS} has no {task}")
    questions = {row["id"]: row for row in rows_of(RECORDINGS / task / "questions.jsonl.gz")}
    matched = matched_right = keyed = rows = 0
    for row in rows_of(RECORDINGS / task / "responses.jsonl.gz"):
        question = questions[row["id"]]
        extractor = Extractor.of(ChatRequest(messages=({"role": "user", "content": prompt(question)},)))
        key = extractor.key(Completion(text=row["response_text"], finish_reason="stop"))
        rows += 1
        keyed += key is not None
        golds = [extractor.gold_key(gold) for gold in question["answers"]]
        if key is not None and any(gold is not None and same(key, gold) for gold in golds):
            matched += 1
            matched_right += bool(row["correct"])
    print(
        f"\n{task:10} rows {rows}  with a key {keyed}  matching a gold answer {matched}  "
        f"labelled right of these {100 * matched_right / max(1, matched):.1f} %"
    )
    assert matched_right >= 0.9 * matched
