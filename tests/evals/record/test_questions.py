"""What users have, as question rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from emerge_core.errors import EmergeError
from emerge_core.evals.record.questions import question_row, read_questions, task_name

ASKED = {"model": "gpt-4o", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]}


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_plain_questions(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "my own.jsonl",
        {"question": "What is 2 + 2?", "answer": 4},
        {"question": "Which?", "choices": ["this", "that"], "answers": ["B"], "category": "x"},
        {"question": "Who?", "answers": ["Ada", "Ada Lovelace"], "id": "who"},
        {"question": "Which object?", "answer": {"a": 1}},
        {"question": "Open?"},
        {"question": "What is 2 + 2?", "answer": 4},
    )
    found = read_questions(path)
    assert (found.task, found.repeated) == ("my-own", 1)
    ids = [row.pop("id") for row in found.rows]
    assert ids[2] == "who" and len(set(ids)) == 5
    assert found.rows == [
        {"question": "What is 2 + 2?", "answers": ["4"], "answer_format": "number"},
        {
            "question": "Which?",
            "choices": ["this", "that"],
            "answers": ["B"],
            "category": "x",
            "answer_format": "letter",
        },
        {"question": "Who?", "answers": ["Ada", "Ada Lovelace"], "answer_format": "short text"},
        {"question": "Which object?", "answers": ['{"a": 1}'], "answer_format": "json"},
        {"question": "Open?"},
    ]


def test_a_log_of_requests(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "log.jsonl",
        {**ASKED, "stream": True, "user": "somebody", "temperature": 0.2},
        {"custom_id": "job-7", "method": "POST", "url": "/v1/chat/completions", "body": ASKED, "answers": ["Hello"]},
        {"request": {**ASKED, "messages": ASKED["messages"][1:]}},
        {**ASKED, "stream": True, "user": "another", "temperature": 0.2},
    )
    found = read_questions(path)
    assert found.repeated == 1
    first, job, bare = found.rows
    assert first["request"] == {"messages": ASKED["messages"], "temperature": 0.2}
    assert first["question"] == "Hi"
    assert first["id"].startswith("r-") and first["id"] != bare["id"]
    assert job == {
        "id": "job-7",
        "question": "Hi",
        "request": {"messages": ASKED["messages"]},
        "answers": ["Hello"],
        "answer_format": "short text",
    }


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text(
        "question,answer,A,B,choices\n"
        '"What, then?",42,,,\n'
        "Which?,B,dog,blue,\n"
        '"Which list?","A",,,"[""one"", ""two""]"\n',
        encoding="utf-8-sig",
    )
    plain, letters, listed = read_questions(path).rows
    assert plain["question"] == "What, then?" and plain["answers"] == ["42"] and "choices" not in plain
    assert letters["choices"] == ["dog", "blue"] and letters["answer_format"] == "letter"
    assert listed["choices"] == ["one", "two"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "Hi"}, "needs `question` .a string., or `messages`"),
        ({"question": " "}, "needs `question`"),
        ({"question": "Hi", "choices": "A"}, "`choices` must be a list of strings"),
        ({"question": "Hi", "answers": [None]}, "`answers` must be a list of strings"),
        ({"messages": [{"role": "wizard", "content": "Hi"}]}, r"messages\[0\].role"),
        ({"request": "Hi"}, "a request must be an object with `messages`"),
    ],
)
def test_a_row_that_is_no_question_is_named(tmp_path: Path, row: Any, message: str) -> None:
    path = lines(tmp_path / "q.jsonl", {"question": "Fine?"}, row)
    with pytest.raises(EmergeError, match=rf"q.jsonl:2: .*{message}"):
        read_questions(path)


def test_files_without_questions(tmp_path: Path) -> None:
    with pytest.raises(EmergeError, match="is not a file of questions"):
        read_questions(tmp_path / "absent.jsonl")
    with pytest.raises(EmergeError, match="holds no questions"):
        read_questions(lines(tmp_path / "q.jsonl"))
    (tmp_path / "q.csv").write_text("prompt\nHi\n")
    with pytest.raises(EmergeError, match="no column is named `question`"):
        read_questions(tmp_path / "q.csv")
    with pytest.raises(EmergeError, match="'a' occurs twice, with different contents"):
        read_questions(lines(tmp_path / "q.jsonl", {"id": "a", "question": "One?"}, {"id": "a", "question": "Two?"}))


def test_task_names_are_folders() -> None:
    assert task_name("../my task/1") == "my-task-1"
    assert task_name("..") == "questions"


def test_answers_of_a_request_with_tools_are_calls() -> None:
    tool = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}
    request = {"messages": [{"role": "user", "content": "Find it."}], "tools": [tool]}
    row = question_row("here", {"request": request, "answers": [[{"name": "find", "arguments": {}}], []]})
    assert row["answer_format"] == "tool_calls"
    assert row["answers"] == ['[{"name": "find", "arguments": {}}]', "[]"]
