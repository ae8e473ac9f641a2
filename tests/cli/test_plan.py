from __future__ import annotations

import json
from pathlib import Path

import pytest

from emerge_core.cli import main


def test_plans(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--diff", "2", "--disagree", "0.15"]) == 0
    assert "2941 questions detect 2 points with 80 % power at the 5 % level" in capsys.readouterr().out
    assert main(["plan", "--questions", "150"]) == 0
    assert "150 questions, 15 % of them discordant, detect 8.8 points" in capsys.readouterr().out
    assert main(["plan"]) == 0
    assert "2 points 979 1960" in " ".join(capsys.readouterr().out.split())


def test_costs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = {
        "providers": {"up": {"kind": "openai", "base_url": "http://127.0.0.1:9/v1"}},
        "models": {
            "a": {"provider": "up", "model": "a", "price": {"input": 1, "output": 2}},
            "b": {"provider": "up", "model": "b"},
        },
    }
    (tmp_path / "emerge.yaml").write_text(json.dumps(config))
    arguments = ["plan", "--questions", "1000", "--config", str(tmp_path / "emerge.yaml")]
    assert main([*arguments, "--input-tokens", "100", "--output-tokens", "50"]) == 0
    said = capsys.readouterr().out
    assert "recording 1000 questions, 100 tokens in and 50 out each, in US dollars" in said
    assert [line.split() for line in said.splitlines()[-3:]] == [
        ["a", "0.20"],
        ["b", "unknown"],
        ["all", "0.20", "and", "more"],
    ]


def test_impossible_plans_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--diff", "20", "--disagree", "0.1"]) == 2
    assert "differ by 20 points are apart on at least 20 % of the questions" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["plan", "--diff", "2", "--power", "1.2"])
    assert "argument --power: must be more than 0 and less than 1" in capsys.readouterr().err
