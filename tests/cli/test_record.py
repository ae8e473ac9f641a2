from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
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
    assert not printed.err, "no progress bar without a terminal"
    assert main([*arguments, "--rate", "1000", "--concurrency", "up=2"]) == 0
    said = capsys.readouterr().out
    assert "8 answers, 3 there, 5 to ask" in said
    assert f"next: emerge diversity --recordings {tmp_path / 'recordings'} --task sums" in said
    assert "other questions" not in said
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
    assert "Of the next call, it may cost 0.0000" in said
    assert "--max-tokens" not in said
    assert "next: " not in said
    assert main([*arguments, "--max-cost", "0.002"]) == 0
    assert "(at 1024 output tokens: --max-tokens bounds them)" in capsys.readouterr().out
    upstream.script["beta"] = says(status=401, error="bad key")
    assert main(arguments) == 1
    assert "b: given up: auth 401: bad key" in capsys.readouterr().err
    upstream.script["beta"] = says(status=400, error="no sums")
    assert main(arguments) == 0
    assert re.search(r"b: \d × invalid_request 400: no sums", capsys.readouterr().err)


def test_another_file_s_questions_and_missing_answers_are_said(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--models", "a"]) == 0
    assert "`answers`" not in capsys.readouterr().out
    (tmp_path / "sums.csv").write_text("question,gold\nWhat is 5 + 5?,10\n")
    more = [str(tmp_path / "sums.csv") if each.endswith("sums.jsonl") else each for each in arguments]
    assert main([*more, "--models", "a"]) == 0
    said = capsys.readouterr().out
    assert "4 other questions are in this task too: another --task would keep them apart" in said
    assert "no row has `answers`: agreement can be measured, accuracy cannot. Rows have `question`, `gold`" in said


def test_an_interrupted_run_says_what_is_missing_and_goes_on(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [str(Path(sys.executable).parent / "emerge"), *arguments, "--rate", "2", "--concurrency", "1"]
    rows = tmp_path / "recordings" / "sums" / "responses.jsonl"
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (rows.is_file() and rows.read_text().count("\n") >= 2):
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    said, faults = running.communicate(timeout=60)
    assert running.returncode == 130
    there = rows.read_text().count("\n")
    assert 2 <= there < 8
    assert f"interrupted: {8 - there} of 8 answers are missing; the same command resumes" in said
    assert "Traceback" not in faults
    assert main(arguments) == 0
    assert f"8 answers, {there} there, {8 - there} to ask" in capsys.readouterr().out


def test_errors_are_said(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more, message in (
        (["--models", "z"], "no model 'z' in the config; its models are: a, b"),
        (["--rate", "down=3"], "--rate: no provider 'down' in the config; they are: up"),
    ):
        assert main([*arguments, *more]) == 2
        assert f"error: {message}" in capsys.readouterr().err
    (tmp_path / "sums.jsonl").write_text("{}")
    assert main(arguments) == 2
    assert "sums.jsonl:1: needs `question`" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["record", "--out", str(tmp_path)])
    assert "one of the arguments --questions --from-traces --from --disputes is required" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--concurrency", "up=0"], "argument --concurrency: must be 1 or more"),
        (["--concurrency", "many"], "argument --concurrency: must be a whole number, not 'many'"),
        (["--rate", "2,up=fast"], "argument --rate: must be a number, not 'fast'"),
    ],
)
def test_paces_are_numbers(
    arguments: list[str], capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, *more])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_without_tqdm_the_extra_is_named(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert main(arguments) == 2
    assert "needs tqdm: pip install 'emerge-llm[eval]'" in capsys.readouterr().err


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
    assert "1 calls were cancelled because the vote was decided" in printed.err
    (row,) = map(json.loads, (tmp_path / "rec" / "traces" / "responses.jsonl").read_text().splitlines())
    assert (row["model"], row["response_text"]) == ("alpha", "Hello")

    assert main(read) == 0
    again = capsys.readouterr().out
    assert "0 answers and 0 errors recorded, 1 known before" in again
    assert "frontier" not in again, "no model is new, so nothing is to be said of tiers"
    log.write_text("emerge serves http://127.0.0.1:8000/v1\n")
    assert main(read) == 2
    assert "no request was logged" in (told := capsys.readouterr().err)
    assert "`emerge serve --log`" in told


SIMULATED = """
providers:
  sim: {kind: simulated, seed: 3}
models:
  red:   {provider: sim, model: sim-red, accuracy: 0.75, price: {input: 0.1, output: 0.4}}
  green: {provider: sim, model: sim-green, accuracy: 0.75, price: {input: 0.1, output: 0.4}}
  blue:  {provider: sim, model: sim-blue, accuracy: 0.75, price: {input: 0.1, output: 0.4}}
  sage:  {provider: sim, model: sim-sage, accuracy: 1.0, price: {input: 3, output: 12}}
ensembles:
  panel: {members: [red, green, blue], aggregator: vote%s}
"""


def recorded_sums(folder: Path, more: str = "") -> list[str]:
    (folder / "sim.yaml").write_text(SIMULATED % more)
    rows = [{"question": f"What is {n} * {n + 3}?", "answer": n * (n + 3)} for n in range(2, 102)]
    (folder / "sums.jsonl").write_text("\n".join(map(json.dumps, rows)))
    files = ["--config", str(folder / "sim.yaml"), "--questions", str(folder / "sums.jsonl")]
    return ["record", *files, "--out", str(folder / "rec")]


def tiers(folder: Path) -> dict[str, str | None]:
    rows = json.loads((folder / "rec" / "models.json").read_text())["models"]
    return {row["model"]: row.get("tier") for row in rows}


@pytest.mark.parametrize(
    ("ensemble", "option"),
    [
        (", escalate: {to: sage}", []),
        ("", ["--frontier", "sage"]),
        ("}\n  careful: {members: [red, green], aggregator: {name: judge, judge: sage}", []),
        ("}\n  careful: {members: [red, green], aggregator: {name: merge, merger: sage}", []),
    ],
)
def test_what_is_recorded_is_tuned_with_escalation(
    ensemble: str, option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody edits a file in between, and the written config serves."""
    assert main([*recorded_sums(tmp_path, ensemble), *option]) == 0
    assert "members: sim-red, sim-green, sim-blue; frontier: sim-sage" in capsys.readouterr().out
    out, written = tmp_path / "out.json", tmp_path / "tuned.yaml"
    tuning = ["tune", "--recordings", str(tmp_path / "rec"), "--task", "sums", "--max-cost", "0.9x", "--seeds", "2"]
    assert main([*tuning, "--json", str(out), "--config-out", str(written)]) == 0
    found = json.loads(out.read_text())
    chosen = found["frontier"][found["chosen"]]
    assert chosen["escalate"]["to"] == "sim-sage"
    assert set(chosen["members"]) <= {"sim-red", "sim-green", "sim-blue"}
    assert set(found["controls"]["frontier"]) == {"sim-sage"}
    assert main(["check", "--config", str(written)]) == 0


def test_tiers_are_kept_until_another_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = [*recorded_sums(tmp_path), "--limit", "2"]
    assert main(recording) == 0
    assert "frontier: none, so tune will not escalate (--frontier names some)" in capsys.readouterr().out
    assert tiers(tmp_path) == {"sim-red": "small", "sim-green": "small", "sim-blue": "small", "sim-sage": None}
    recorded_sums(tmp_path, ", escalate: {to: sage}")
    assert main(recording) == 0  # the config says now what it left open
    assert tiers(tmp_path)["sim-sage"] == "frontier"
    recorded_sums(tmp_path)
    assert main(recording) == 0
    assert tiers(tmp_path)["sim-sage"] == "frontier"
    models = tmp_path / "rec" / "models.json"
    models.write_text(models.read_text().replace('"small"', '"mid"', 1))
    assert main([*recording, "--frontier", "blue"]) == 0
    assert tiers(tmp_path) == {"sim-red": "mid", "sim-green": "small", "sim-blue": "frontier", "sim-sage": "small"}
    assert main([*recording, "--models", "red", "--frontier", "sage"]) == 2
    assert "--frontier: 'sage' is not one of the models to record: red" in capsys.readouterr().err
