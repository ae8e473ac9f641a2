"""`emerge diversity`, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emerge_core.cli import main


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """Three models; blue is always wrong in its own way, red and green once each."""
    said = {"red": "AAB", "green": "ABA", "blue": "BCC"}
    task = tmp_path / "picks"
    task.mkdir()
    questions = [
        {"id": f"q{n}", "question": f"Which letter, number {n}?", "choices": ["x", "y", "z"], "answers": ["A"]}
        for n in range(3)
    ]
    rows = [
        {"id": f"q{n}", "model": model, "response_text": f"The answer is ({letter})."}
        for model, letters in said.items()
        for n, letter in enumerate(letters)
    ]
    for name, lines in (("questions", questions), ("responses", rows)):
        (task / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    families = [{"model": "red", "family": "warm"}, {"model": "green", "family": "warm"}, {"model": "blue"}]
    (tmp_path / "models.json").write_text(json.dumps({"models": families}))
    return tmp_path


def test_the_table_and_the_file(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = recorded / "out.json"
    assert main(["diversity", "--recordings", str(recorded), "--task", "picks", "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "picks: 3 questions" in printed
    assert "green *" in printed  # of red's family
    found = json.loads(out.read_text())
    assert [round(member["accuracy"]["value"], 3) for member in found["members"]] == [0.667, 0.667, 0]
    assert found["oracle"]["value"] == 1
    assert found["pairs"][1]["phi"]["value"] is None  # blue is never right: its errors vary with nothing


def test_named_models_are_the_panel(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["diversity", "--recordings", str(recorded), "--task", "picks", "--models"]
    assert main([*arguments, "green,red"]) == 0
    assert "blue" not in capsys.readouterr().out
    assert main([*arguments, "green,violet"]) == 2
    assert "no answers of violet" in capsys.readouterr().err


def test_findings_need_panels_of_four(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diversity", "--recordings", str(recorded), "--task", "picks", "--findings"]) != 0
    assert "3 model(s) are too few" in capsys.readouterr().err


def test_what_would_be_ignored_or_means_nothing_is_refused(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["diversity", "--recordings", str(recorded), "--task", "picks"]
    for more, message in (
        (["--limit", "2"], "--limit goes with --no-gold: picks has gold answers"),
        (["--models", "red"], "picks: diversity is between models, and only red has answers to compare"),
    ):
        assert main([*arguments, *more]) == 2
        assert message in capsys.readouterr().err
    rows = [{"id": "q0", "model": "red", "error": {"kind": "connection", "message": "down"}}]
    (recorded / "picks" / "responses.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(arguments) == 2
    assert "no question of picks was answered by any model\n" in capsys.readouterr().err
