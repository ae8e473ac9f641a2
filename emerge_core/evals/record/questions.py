"""Reads a user's question file as the question rows of a recording.

JSONL (packed or not) whose rows are questions (`question`, optional `answers`, `choices`, `id`), rows of
a recording, or requests of one's own application: bodies of chat completions, bare or as `body` or
`request` of a row. CSV with the same columns: lists as JSON, or choices in columns A, B, C and so on.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from emerge_core.api.chat.parse import read_chat
from emerge_core.errors import EmergeError, RequestError
from emerge_core.evals.recordings.recording import Question, prompt_of, read_rows

# Fields that do not change what a request asks, or that may name a person.
_LEFT_OUT = frozenset({"model", "stream", "stream_options", "n", "user", "metadata", "store", "safety_identifier"})
_ASKED = ("messages", "tools", "tool_choice", "response_format")
_NUMBER = re.compile(r"[-+]?[$€£]?\d[\d,]*(?:\.\d+)?%?")


class QuestionFile(NamedTuple):
    task: str  # what the rows call their task, or the file's name
    rows: list[dict[str, Any]]
    repeated: int  # rows left out because they ask what another row asks


def read_questions(path: Path) -> QuestionFile:
    """Raises EmergeError with the place of the first row that cannot be understood."""
    if not path.is_file():
        raise EmergeError(f"{path} is not a file of questions")
    rows: dict[str, dict[str, Any]] = {}
    repeated = 0
    found = _csv_rows(path) if path.suffix.lower() == ".csv" else read_rows(path)
    for place, raw in found:
        row = question_row(place, raw)
        known = rows.get(row["id"])
        if known is None:
            rows[row["id"]] = row
        elif known == row:
            repeated += 1
        else:
            raise EmergeError(f"{place}: the id {row['id']!r} occurs twice, with different contents")
    if not rows:
        raise EmergeError(f"{path} holds no questions")
    tasks = {row.pop("task", None) for row in rows.values()}
    named = tasks.pop() if len(tasks) == 1 else None
    return QuestionFile(task_name(str(named or path.name.split(".")[0])), list(rows.values()), repeated)


def task_name(text: str) -> str:
    """A name that can be a folder and part of a URL."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.") or "questions"


def question_row(place: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `questions.jsonl` from a row of a user's file."""
    row = {key: value for key, value in raw.items() if key not in ("answer", "custom_id", "method", "url", "body")}
    request = raw if "messages" in raw else raw.get("body") or raw.get("request")
    if request is not None:
        row = {} if "messages" in raw else row
        row |= _request(place, request)
    elif not isinstance(raw.get("question"), str) or not raw["question"].strip():
        raise EmergeError(f"{place}: needs `question` (a string), or `messages` (the body of a chat completion)")
    answers = _answers(place, raw)
    choices = raw.get("choices")
    if choices is not None and not (isinstance(choices, list) and all(isinstance(each, str) for each in choices)):
        raise EmergeError(f"{place}: `choices` must be a list of strings")
    if answers:
        row["answers"] = answers
        row.setdefault("answer_format", _form(answers, row))
    else:
        row.pop("answers", None)
    named = raw.get("id") or raw.get("custom_id")
    row["id"] = str(named) if named is not None else _id(row)
    return {"id": row.pop("id"), **row}


def request_id(request: Mapping[str, Any]) -> str:
    """Equal for requests that ask the same: sampling parameters do not count."""
    return f"r-{_hash({name: request[name] for name in _ASKED if name in request})}"


def _request(place: str, request: Any) -> dict[str, Any]:
    if not isinstance(request, Mapping) or "messages" not in request:
        raise EmergeError(f"{place}: a request must be an object with `messages`")
    body = {name: value for name, value in request.items() if name not in _LEFT_OUT and value is not None}
    try:
        words = read_chat({**body, "model": "any"}).request.last_user_text
    except RequestError as error:
        raise EmergeError(f"{place}: {error.message}") from error
    return {"question": words, "request": body}


def _answers(place: str, raw: Mapping[str, Any]) -> list[str]:
    value = raw.get("answers") if raw.get("answers") is not None else raw.get("answer")
    listed = value if isinstance(value, list) else [] if value is None or value == "" else [value]
    answers = []
    for each in listed:
        if isinstance(each, (dict, list)):
            each = json.dumps(each, ensure_ascii=False)
        if isinstance(each, bool):
            each = "true" if each else "false"
        if not isinstance(each, (str, int, float)):
            raise EmergeError(f"{place}: `answers` must be a list of strings")
        answers.append(str(each))
    return answers


def _form(answers: list[str], row: Mapping[str, Any]) -> str:
    if row.get("choices"):
        return "letter"
    if row.get("request", {}).get("tools"):
        return "tool_calls"
    if all(_NUMBER.fullmatch(answer.strip()) for answer in answers):
        return "number"
    return "json" if all(answer.lstrip().startswith(("{", "[")) for answer in answers) else "short text"


def _id(row: Mapping[str, Any]) -> str:
    if "request" in row:
        return request_id(row["request"])
    return f"q-{_hash(prompt_of(Question('', row['question'], tuple(row.get('choices') or ()))))}"


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:12]


def _csv_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if "question" not in (reader.fieldnames or ()):
                raise EmergeError(f"{path}:1: no column is named `question`; they are: {reader.fieldnames}")
            for row in reader:
                yield f"{path}:{reader.line_num}", _csv_row({k: v for k, v in row.items() if k and v})
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise EmergeError(f"{path}: cannot be read as CSV in UTF-8: {error}") from error


def _csv_row(cells: dict[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = dict(cells)
    options = [row.pop(letter) for letter in map(chr, range(ord("A"), ord("Z") + 1)) if letter in row]
    for name in ("answers", "choices"):
        if row.get(name, "").startswith("["):
            with suppress(ValueError):
                row[name] = json.loads(row[name])
    return {**row, "choices": options} if options else row
