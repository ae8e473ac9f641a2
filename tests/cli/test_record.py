from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from emerge_core.cli import main

CONFIG = """
providers:
  up: {kind: openai, base_url: "%s"}
models:
  a: {provider: up, model: alpha, price: {input: 1, output: 2}}
  b: {provider: up, model: beta, price: {input: 1, output: 2}}
ensembles:
  vote: {members: [a, b], aggregator: vote}
"""


@pytest.fixture
def arguments(tmp_path: Path, upstream: Any, says: Any) -> list[str]:
    upstream.script = {"alpha": says("The answer is 4."), "beta": says("The answer is 5.")}
    (tmp_path / "emerge.yaml").write_text(CONFIG % upstream.url)
    rows = [{"question": f"What is {number} + {4 - number}?", "answer": 4} for number in range(4)]
    (tmp_path / "sums.jsonl").write_text("\n".join(map(json.dumps, rows)))
    out = tmp_path / "recordings"
    files = ["--config", str(tmp_path / "emerge.yaml"), "--questions", str(tmp_path / "sums.jsonl")]
    return ["record", *files, "--out", str(out)]


def test_records_and_goes_on(
    arguments: list[str], tmp_path: Path, upstream: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--limit", "3", "--models", "a"]) == 0
    printed = capsys.readouterr()
    assert "3 questions × 1 models × 1: 3 answers, 0 there, 3 to ask" in printed.out
    assert "3 recorded, 0 of them errors; 0.0004 USD" in printed.out
    assert "$0.0004 of about $0.0004" in printed.err
    assert main([*arguments, "--rate", "1000", "--concurrency", "up=2"]) == 0
    assert "8 answers, 3 there, 5 to ask" in capsys.readouterr().out
    assert len(upstream.bodies) == 8
    config, out = arguments[2], str(tmp_path / "recordings")
    assert main(["compare", "--config", config, "--recordings", out, "--task", "sums", "--json", f"{out}/o.json"]) == 0
    found = json.loads(Path(f"{out}/o.json").read_text())
    assert [found["models"][name]["accuracy"] for name in "ab"] == [1.0, 0.0]


def test_the_ceiling_and_what_is_given_up_are_said(
    arguments: list[str], upstream: Any, says: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--max-cost", "0.0004", "--max-tokens", "20"]) == 0
    said = capsys.readouterr().out
    assert "stopped at the cost ceiling of 0.0004 USD" in said
    upstream.script["beta"] = says(status=401, error="bad key")
    assert main(arguments) == 1
    assert "b: given up: " in capsys.readouterr().err


def test_errors_are_said(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more, message in (
        (["--models", "z"], "no model 'z' in the config; its models are: a, b"),
        (["--rate", "down=3"], "--rate: no provider 'down' in the config; they are: up"),
        (["--concurrency", "up=0"], "--concurrency up=0: must be 1 or more"),
    ):
        assert main([*arguments, *more]) == 2
        assert f"error: {message}" in capsys.readouterr().err
    (tmp_path / "sums.jsonl").write_text("{}")
    assert main(arguments) == 2
    assert "sums.jsonl:1: needs `question`" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["record", "--out", str(tmp_path)])
    assert "one of the arguments --questions --from-traces is required" in capsys.readouterr().err


def test_without_tqdm_the_extra_is_named(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert main(arguments) == 2
    assert "needs tqdm: install emerge with its `eval` extra" in capsys.readouterr().err


def test_from_traces(tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    asked = {"messages": [{"role": "user", "content": "Hi"}]}
    said = {"role": "member", "provider": "up", "status": "ok", "text": "Hello", "latency_ms": 3.0}
    lines = [
        {"event": "call", "request_id": "1", "call": "1", "model": "a", **said},
        {"event": "call", "request_id": "1", "call": "2", "model": "b", **said, "status": "cancelled"},
        {"event": "request", "request_id": "1", "request": asked},
    ]
    log = tmp_path / "emerge.log"
    log.write_text("\n".join(map(json.dumps, lines)))
    read = ["record", *arguments[1:3], "--from-traces", str(log), "--out", str(tmp_path / "rec")]
    assert main(read) == 0
    printed = capsys.readouterr()
    assert "traces: 1 requests, 1 answers and 0 errors recorded, 0 known before" in printed.out
    assert "1 calls had been given up because the vote was decided" in printed.err
    (row,) = map(json.loads, (tmp_path / "rec" / "traces" / "responses.jsonl").read_text().splitlines())
    assert (row["model"], row["response_text"]) == ("alpha", "Hello")
