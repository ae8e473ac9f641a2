"""Logs of other tools as recordings. `logs/` holds files that the tools wrote when they asked a local server."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from anthropic.types import Message
from anthropic.types.messages import MessageBatchIndividualResponse
from openai.types.chat import ChatCompletion

from emerge_core.cli import main
from emerge_core.errors import EmergeError
from emerge_core.evals.record.log_formats import LogFile, read_logs
from emerge_core.evals.recordings.recording import Recordings

LOGS = Path(__file__).parent / "logs"


def write(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def recorded(tmp_path: Path, *files: str | Path) -> dict[str, dict[str, str]]:
    """The replies that the command records, by question and model."""
    out = tmp_path / "out"
    assert main(["record", "--from", *map(str, files), "--out", str(out), "--task", "t"]) == 0
    recordings = Recordings(out)
    questions = recordings.questions("t")
    replies = recordings.replies("t", questions)
    return {
        questions[id_].text: {model: replies[model][id_].text for model in replies if id_ in replies[model]}
        for id_ in questions
    }


def test_litellm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = recorded(tmp_path, LOGS / "litellm.jsonl")
    assert found["What is 20 plus 30?"]["small-a"].endswith("The answer is 50.")
    assert {text: set(replies) for text, replies in found.items()} == {
        f"What is {20 + n} plus {30 + 2 * n}?": {"small-a", "small-b"} for n in range(3)
    }
    rows = rows_of(tmp_path)
    assert all(row["usage"] == {"input_tokens": 20, "output_tokens": 15} and row["latency_ms"] > 0 for row in rows)
    printed = capsys.readouterr()
    assert "replies recorded: small-a 3, small-b 3" in printed.out
    assert "left out: 1 failed calls" in printed.err
    recorded(tmp_path, LOGS / "litellm.jsonl")
    assert "replies recorded: none; 6 known before" in capsys.readouterr().out


def rows_of(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "out" / "t" / "responses.jsonl").read_text().splitlines()]


def test_lm_evaluation_harness(tmp_path: Path) -> None:
    """Of lm_eval 0.4.13. A task with two filters has two lines for each question."""
    files = sorted((LOGS / "lm_eval").glob("*/samples_*.jsonl"))
    assert recorded(tmp_path, *files) == {
        "Question: What is 20 + 30?\nAnswer:": {"alder": "The answer is 61.", "birch": "57"},
        "Question: What is 21 + 32?\nAnswer:": {"alder": "The answer is 53.", "birch": "53"},
        "Question: What is 22 * 4?\nAnswer:": {"alder": "The answer is 88.", "birch": "88"},
    }
    assert [row["correct"] for row in rows_of(tmp_path)] == [0, 1, 1, 0, 1, 1]  # birch by the second filter alone
    questions = [json.loads(line) for line in (tmp_path / "out" / "t" / "questions.jsonl").read_text().splitlines()]
    assert [each["answers"] for each in questions] == [["50"], ["53"], ["88"]]


def test_inspect_ai(tmp_path: Path) -> None:
    """Of inspect_ai 0.3.285, whose archives are compressed with zstd."""
    if sys.version_info < (3, 14):
        pytest.importorskip("backports.zstd", reason="the extra `eval` is not installed")
    files = sorted((LOGS / "inspect").glob("sums_*.eval"))
    found = recorded(tmp_path, *files)
    assert found == {
        "What is 20 + 30?": {"alder": "The answer is 50.", "birch": "50"},
        "What is 21 + 32?": {"alder": "The answer is 53.", "birch": "62"},
    }
    rows = rows_of(tmp_path)
    assert [row["correct"] for row in rows] == [1, 1, 1, 0]
    assert [row["usage"]["output_tokens"] for row in rows] == [5, 5, 1, 1]
    assert all(row["finish_reason"] == "stop" and row["latency_ms"] > 0 for row in rows)


def test_a_json_log_of_inspect_ai(tmp_path: Path) -> None:
    found = recorded(tmp_path, LOGS / "inspect" / "letters_alder.json")
    ((question, replies),) = found.items()
    assert question.endswith("Which of these is a prime number?\n\nA) 8\nB) 9\nC) 11\nD) 12")
    assert replies == {"alder": "The answer is B."}
    assert [row["correct"] for row in rows_of(tmp_path)] == [0]


@pytest.mark.parametrize(
    ("named", "model"),
    [
        ("openai/gpt-4o", "gpt-4o"),
        ("openrouter/meta-llama/llama-3.1-8b", "meta-llama/llama-3.1-8b"),
        ("openai-api/panel/alder", "alder"),
        ("alder", "alder"),
    ],
)
def test_inspect_ai_names_the_provider_before_the_model(tmp_path: Path, named: str, model: str) -> None:
    log = json.loads((LOGS / "inspect" / "letters_alder.json").read_text())
    log["eval"]["model"] = named
    path = tmp_path / "log.json"
    path.write_text(json.dumps(log))
    assert [each.model for each in read_logs([LogFile(path)]).replies] == [model]


def test_a_damaged_archive_is_an_error(tmp_path: Path) -> None:
    raw = bytearray((LOGS / "inspect" / "sums_alder.eval").read_bytes())
    at = raw.index(b"samples/1_epoch_1.json") + 60
    raw[at : at + 20] = bytes(20)
    path = tmp_path / "damaged.eval"
    path.write_bytes(raw)
    with pytest.raises(EmergeError, match=r"damaged\.eval"):
        read_logs([LogFile(path)])


def test_entries_of_an_unknown_shape_are_counted(tmp_path: Path) -> None:
    good = (LOGS / "lm_eval" / "alder" / "samples_own_sums.jsonl").read_text().splitlines()[0]
    odd = {**json.loads(good), "arguments": [5]}
    logs = read_logs([LogFile(write(tmp_path / "samples.jsonl", [good, odd]))])
    assert (len(logs.replies), logs.skipped) == (1, {"entries of a shape that is not known": 1})


def openai_batch(model: str, answer: str, custom_id: str) -> dict[str, Any]:
    body = ChatCompletion.model_validate(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": model,
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": answer},
                    "logprobs": None,
                }
            ],
            "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
        }
    ).model_dump(mode="json")
    response = {"status_code": 200, "request_id": "req_1", "body": body}
    return {"id": "batch_req_1", "custom_id": custom_id, "response": response, "error": None}


def test_batches_of_two_makers_are_joined_on_the_prompt(tmp_path: Path) -> None:
    asked = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Two plus two?"}]}
    inputs = write(tmp_path / "in.jsonl", [{"custom_id": "a", "method": "POST", "url": "/v1/x", "body": asked}])
    failed = {"id": "r", "custom_id": "z", "response": {"status_code": 400, "body": {}}, "error": None}
    outputs = write(tmp_path / "out.jsonl", [openai_batch("gpt-4o-mini-2024", "4", "a"), failed])
    content = [{"type": "text", "text": "Two plus two?"}]
    params = {"model": "claude", "max_tokens": 9, "messages": [{"role": "user", "content": content}]}
    requests = write(tmp_path / "requests.jsonl", [{"custom_id": "b", "params": params}])
    message = Message.model_validate(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-x",
            "content": [{"type": "text", "text": "Four."}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 9, "output_tokens": 2},
        }
    )
    lines = [
        MessageBatchIndividualResponse.model_validate({"custom_id": name, "result": result}).model_dump_json()
        for name, result in (("b", {"type": "succeeded", "message": message}), ("c", {"type": "expired"}))
    ]
    results = write(tmp_path / "results.jsonl", lines)
    found = recorded(tmp_path, inputs, outputs, requests, f"haiku={results}")
    assert found == {"Two plus two?": {"gpt-4o-mini-2024": "4", "haiku": "Four."}}
    logs = read_logs([LogFile(outputs)])
    assert logs.skipped == {"results without their request: give the batch's input file, too": 1, "failed requests": 1}


def test_promptfoo(tmp_path: Path) -> None:
    """Of promptfoo 0.121.20. The last question has no assertion, so its replies have no verdict."""
    assert recorded(tmp_path, LOGS / "promptfoo.jsonl") == {
        "What is 20 + 30?": {"alder": "The answer is 50.", "the birch": "50"},
        "What is 12 * 12?": {"alder": "The answer is 144.", "the birch": "144"},
        "What is 22 * 4?": {"alder": "The answer is 88.", "the birch": "87"},
    }
    rows = rows_of(tmp_path)
    assert [row.get("correct") for row in rows] == [1, 1, 1, 1, None, None]
    assert all(row["usage"]["input_tokens"] == 12 and row["latency_ms"] > 0 for row in rows)


def test_results_of_promptfoo_in_one_document(tmp_path: Path) -> None:
    def result(provider: str, output: str, **more: Any) -> dict[str, Any]:
        return {
            "provider": {"id": provider, "label": ""},
            "prompt": {"raw": '[{"role": "user", "content": "Capital of Peru?"}]', "label": "p"},
            "vars": {"country": "Peru"},
            "testCase": {"assert": [{"type": "contains", "value": "Lima"}]},
            "response": {"output": output, "tokenUsage": {"prompt": 5, "completion": 2, "total": 7}, "cost": 0.001},
            "success": output == "Lima",
            "latencyMs": 120,
            **more,
        }

    results = [result("openai:gpt-4o-mini", "Lima"), result("anthropic:messages:claude", "Cusco")]
    results.append(result("openai:gpt-4o-mini", "", response={"error": "timeout"}))
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"evalId": "e", "results": {"version": 3, "results": results}}))
    assert recorded(tmp_path, path) == {"Capital of Peru?": {"gpt-4o-mini": "Lima", "claude": "Cusco"}}
    verdicts = {each.text: each.score for each in Recordings(tmp_path / "out").verdicts("t")}
    assert verdicts == {"Lima": 1.0, "Cusco": 0.0}


def test_what_is_no_log_is_an_error(tmp_path: Path) -> None:
    for text, message in (
        ('{"a": 1}', "no log of a known tool"),
        ("", "holds no JSON objects"),
        ("{broken", "not JSON"),
    ):
        path = tmp_path / "odd.jsonl"
        path.write_text(text)
        with pytest.raises(EmergeError, match=message):
            read_logs([LogFile(path)])
    with pytest.raises(EmergeError, match="cannot be read"):
        read_logs([LogFile(tmp_path / "absent.jsonl")])
    outputs = write(tmp_path / "out.jsonl", [openai_batch("m", "4", "a")])
    assert main(["record", "--from", str(outputs), "--out", str(tmp_path / "o")]) == 2
