from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from emerge_core.cli import main

CONFIG = """
providers:
  openai: {kind: openai, api_key: env:ABSENT}
  local: {kind: ollama}
models:
  a: {provider: openai, model: alpha, price: {input: 1, output: 1}}
  b: {provider: local, model: beta, price: {input: 1, output: 1}}
ensembles:
  vote: {members: [a, b], aggregator: vote}
"""
SUMS = {f"{left} and {right}": left + right for left in (1, 2, 3) for right in (10, 20)}


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "intranet")
    questions, responses = [], []
    for number, (what, result) in enumerate(SUMS.items()):
        row = {"id": str(number), "question": f"What is the sum of {what}?", "answers": [str(result)]}
        questions.append(json.dumps({**row, "answer_format": "number"}))
        for model, said in (("alpha", result), ("beta", result if number else 7)):
            text = f"The answer is {said}."
            responses.append(json.dumps({"id": str(number), "model": model, "response_text": text}))
    (tmp_path / "sums").mkdir()
    (tmp_path / "sums" / "questions.jsonl").write_text("\n".join(questions))
    (tmp_path / "sums" / "responses.jsonl").write_text("\n".join(responses))
    config = tmp_path / "emerge.yaml"
    config.write_text(CONFIG)
    return ["compare", "--config", str(config), "--recordings", str(tmp_path), "--task", "sums"]


def test_prints_a_table_and_writes_json(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    rows = tmp_path / "rows.jsonl"
    assert main([*arguments, "--json", str(out), "--concurrency", "2", "--rows", str(rows)]) == 0
    printed = capsys.readouterr()
    assert "sums: 6 questions, 0 left out" in printed.out
    assert "best single member: a 100.0" in printed.out
    assert "against a (best member)" in " ".join(printed.out.split())
    assert printed.err == ""  # no progress bar into a file
    found = json.loads(out.read_text())
    assert found["models"]["b"]["accuracy"] == pytest.approx(5 / 6, abs=1e-6)
    assert found["ensembles"]["vote"]["accuracy"] == 1
    assert found["ensembles"]["vote"]["vs_best_single"]["diff"] == 0
    lines = [json.loads(line) for line in rows.read_text().splitlines()]
    assert len(lines) == found["questions"] * (len(found["models"]) + len(found["ensembles"]))
    vote = next(line for line in lines if (line["config"], line["id"]) == ("vote", "0"))
    assert (vote["kind"], vote["correct"], vote["escalated"], vote["asked"]) == ("ensemble", 1, False, [])
    assert [(call["role"], call["model"], call["status"]) for call in vote["calls"]] == [
        ("member", "a", "ok"),
        ("member", "b", "ok"),
    ]
    assert (vote["selected"], vote["error"], vote["route"], vote["abstained"]) == (["a"], None, None, False)
    assert {line["config"]: line["correct"] for line in lines if line["id"] == "0"} == {"a": 1, "b": 0, "vote": 1}
    assert vote["answer_key"]
    assert len(vote["text_sha256"]) == 64


@pytest.mark.parametrize("early", ["--early-decision", "--no-early-decision"])
def test_limit_and_early_decision(arguments: list[str], early: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "--limit", "2", early]) == 0
    said = "early decision off" if early.startswith("--no") else "early decision on"
    assert f"sums: 2 questions, 0 left out (not answered by every model), {said}" in capsys.readouterr().out


def test_errors_are_said(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments[:-1], "sum"]) == 2
    assert "error: no task 'sum'" in capsys.readouterr().err
    assert main([*arguments, "--limit", "1", "--json", str(tmp_path / "absent" / "out.json")]) == 2
    assert "absent is not a directory" in capsys.readouterr().err
    assert main([*arguments, "--limit", "1", "--json", str(tmp_path)]) == 2
    assert "Is a directory" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*arguments, "--limit", "0"])
    assert "argument --limit: must be 1 or more" in capsys.readouterr().err


def test_without_tqdm_the_extra_is_named(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert main(arguments) == 2
    assert "needs tqdm: pip install 'emerge-llm[eval]'" in capsys.readouterr().err


def test_several_tasks(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("questions", "responses"):
        rows = (tmp_path / "sums" / f"{name}.jsonl").read_text().replace("the sum of", "the total of")
        (tmp_path / "totals").mkdir(exist_ok=True)
        (tmp_path / "totals" / f"{name}.jsonl").write_text(rows)
    (tmp_path / "emerge.yaml").write_text(f"{CONFIG}  any: {{routes: {{short: vote}}}}\n")
    out, rows_file = tmp_path / "out.json", tmp_path / "rows.jsonl"
    several = [*arguments[:-2], "--tasks", "sums,totals", "--mix", "sums=1,totals=3", "--limit", "3"]
    assert main([*several, "--json", str(out), "--rows", str(rows_file)]) == 0
    printed = capsys.readouterr()
    assert "any: 6 questions of 2 tasks" in printed.out
    found = json.loads(out.read_text())
    assert found["mix"]["weights"] == {"sums": 0.25, "totals": 0.75}
    assert found["mix"]["misrouted"] == 0
    assert found["tasks"]["totals"]["ensembles"]["any"]["calls_per_question"] == 2
    assert len(rows_file.read_text().splitlines()) == 2 * 3 * 4
    assert main([*arguments, "--mix", "sums=1"]) == 2
    assert "--mix weighs several tasks" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*arguments, "--tasks", "sums,totals"])
