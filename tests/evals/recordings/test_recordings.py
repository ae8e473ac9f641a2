from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from emerge_core.errors import EmergeError
from emerge_core.evals.recordings.recording import Gold, Question, RecordedModel, Recordings, Reply, prompt_of
from emerge_core.types import TokenLogprob, Usage


def test_tasks_are_the_folders_with_questions_and_replies(recordings: Path) -> None:
    assert Recordings(recordings).tasks == ("facts", "picks", "picks_letters", "sums")
    assert Recordings(recordings).choose("sums") == ("sums",)
    with pytest.raises(EmergeError, match=r"no task 'sum' in .*; its tasks are: facts, picks, picks_letters, sums"):
        Recordings(recordings).choose("sum")


def test_a_prompt_lists_the_choices() -> None:
    assert prompt_of(Question("1", "What is one plus one?")) == "What is one plus one?"
    assert prompt_of(Question("2", "Which?", ("this", "that"))) == "Which?\n\nA. this\nB. that"


def test_reads_questions_golds_and_replies(recordings: Path) -> None:
    sums = Recordings(recordings)
    questions = sums.questions("sums")
    assert questions["s1"] == Question("s1", "What is 17 plus 25?")
    assert sums.golds("sums")["s1"] == Gold(("42",), "number")
    replies = sums.replies("sums", questions)
    assert replies["alpha"]["s3"].text.endswith("The answer is 44.")
    assert replies["alpha"]["s3"].tokens == 100
    assert "s2" not in replies["patchy"]
    assert set(sums.replies("sums", questions, {"beta", "nobody"})) == {"beta"}


def test_letters_are_a_task_of_their_own(recordings: Path) -> None:
    source = Recordings(recordings)
    questions = source.questions("picks_letters")
    assert questions["p1"].choices[1] == "It is blue at noon."
    replies = source.replies("picks_letters", questions)
    assert replies["alpha"]["p1"] == Reply("The answer is (B).", 120, 0.8)
    assert replies["beta"]["p1"] == Reply("The answer is (A).", 120, 0.9)
    assert replies["alpha"]["p2"] == Reply("", 120, None)
    assert list(source.verdicts("picks_letters")) == []


def test_tokens_are_estimated_where_none_were_counted(recordings: Path) -> None:
    source = Recordings(recordings)
    reply = source.replies("facts", source.questions("facts"))["alpha"]["f1"]
    assert reply.tokens == 5


def test_a_reply_keeps_what_was_recorded_with_it(own_recordings: Path) -> None:
    calls = [{"id": "c1", "name": "find", "arguments": "{}"}]
    rows: list[dict[str, Any]] = [
        {"finish_reason": "stop", "usage": {"input_tokens": 7}, "latency_ms": 12.5, "logprobs": [["42", -0.1]]},
        {"sample": 1, "response_text": "43"},
        {"model": "caller", "response_text": "", "tool_calls": calls},
        {"model": "broken", "error": {"kind": "server", "message": "down"}, "response_text": None},
    ]
    write_jsonl(
        own_recordings / "sums" / "responses.jsonl",
        [{"id": "s1", "model": "solo", "response_text": "42", "completion_tokens": 3, **row} for row in rows],
    )
    (own_recordings / "sums" / "responses.jsonl.gz").unlink()
    source = Recordings(own_recordings)
    first = source.replies("sums", ("s1",))
    assert set(first) == {"solo", "caller"}
    done = first["solo"]["s1"].completion()
    assert (done.text, done.finish_reason, done.latency_ms) == ("42", "stop", 12.5)
    assert done.usage == Usage(input_tokens=7, output_tokens=3)
    assert done.logprobs == (TokenLogprob(token="42", logprob=-0.1),)
    called = first["caller"]["s1"].completion()
    assert (called.text, called.finish_reason, called.tool_calls[0].name) == (None, "tool_calls", "find")
    assert source.replies("sums", ("s1",), sample=1) == {"solo": {"s1": Reply("43", 3)}}
    assert source.samples("sums") == 2


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_models_have_prices_and_tiers(recordings: Path) -> None:
    models = Recordings(recordings).models()
    assert models["titan"] == RecordedModel("small", (10.0, 20.0))
    assert models["thinker"].hides_tokens
    assert models["patchy"].price is None


def test_no_directory_and_no_recordings_are_errors(tmp_path: Path) -> None:
    with pytest.raises(EmergeError, match="is not a directory of recordings"):
        Recordings(tmp_path / "absent")
    with pytest.raises(EmergeError, match="holds no recordings"):
        Recordings(tmp_path)


QUESTION = {"id": "q", "question": "Really?", "answers": ["yes"]}
RESPONSE = {"id": "q", "model": "m", "response_text": "yes"}


@pytest.mark.parametrize(
    ("questions", "responses", "message"),
    [
        ([QUESTION, '{"id": '], [RESPONSE], r"questions.jsonl:2: not JSON: .* at column"),
        ([QUESTION, "[]"], [RESPONSE], r"questions.jsonl:2: a row must be a JSON object"),
        ([{"question": "Really?"}], [RESPONSE], r"questions.jsonl:1: `id` is missing"),
        ([{**QUESTION, "id": 7}], [RESPONSE], r"questions.jsonl:1: `id` must be a string"),
        ([QUESTION, QUESTION], [RESPONSE], r"questions.jsonl:2: the id 'q' occurs twice"),
        ([{**QUESTION, "choices": "A or B"}], [RESPONSE], r"questions.jsonl:1: `choices` must be a list of strings"),
        ([{**QUESTION, "answers": "yes"}], [RESPONSE], r"questions.jsonl:1: `answers` must be a list of strings"),
        ([QUESTION], [{**RESPONSE, "model": None}], r"responses.jsonl:1: `model` must be a string"),
        ([QUESTION], [{"id": "q", "model": "m"}], r"responses.jsonl:1: `response_text` is missing"),
        ([QUESTION], [RESPONSE, {**RESPONSE, "id": "r"}], r"responses.jsonl:2: no question has the id 'r'"),
        ([QUESTION], [RESPONSE, "", RESPONSE], r"responses.jsonl:3: a second reply of m to q"),
        (
            [QUESTION],
            [{**RESPONSE, "completion_tokens": "9"}],
            r"responses.jsonl:1: `completion_tokens` must be a number",
        ),
        (
            [{**QUESTION, "tolerance": "much"}],
            [RESPONSE],
            r"questions.jsonl:1: `tolerance` must be a number, or a share",
        ),
        ([QUESTION], [{**RESPONSE, "sample": -1}], r"responses.jsonl:1: `sample` must be a number from 0"),
        ([QUESTION], [{**RESPONSE, "logprobs": ["a"]}], r"responses.jsonl:1: .*`logprobs` or `usage` is malformed"),
        ([{**QUESTION, "request": []}], [RESPONSE], r"questions.jsonl:1: `request` must be an object with a list"),
        ([QUESTION], [{**RESPONSE, "confidence_logit": 3}], r"responses.jsonl:1: `confidence_logit` must be between"),
    ],
)
def test_a_malformed_row_is_named(tmp_path: Path, questions: list[Any], responses: list[Any], message: str) -> None:
    folder = tmp_path / "task"
    folder.mkdir()
    for name, rows in (("questions", questions), ("responses", responses)):
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    source = Recordings(tmp_path)
    with pytest.raises(EmergeError, match=message):
        source.golds("task")
        source.replies("task", source.questions("task"))


def test_a_truncated_archive_and_a_bad_model_list_are_named(own_recordings: Path) -> None:
    path = own_recordings / "sums" / "responses.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-20])
    source = Recordings(own_recordings)
    with pytest.raises(EmergeError, match=re.escape(str(path))):
        source.replies("sums", source.questions("sums"))
    path.write_bytes(gzip.compress(b"\xff\xfe"))
    with pytest.raises(EmergeError, match=re.escape(f"{path}:1")):
        source.replies("sums", source.questions("sums"))
    (own_recordings / "models.json").write_text('{"models": [{"tier": "small"}]}')
    with pytest.raises(EmergeError, match=r"models\.json: not a list of models"):
        source.models()
    (own_recordings / "models.json").unlink()
    assert source.models() == {}
