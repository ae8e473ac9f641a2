"""`emerge tune`, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from emerge_core.cli import main
from emerge_core.config import load_config


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """Three members that are right on three questions of four, a frontier model that is always right."""
    random = np.random.default_rng(1)
    prices = {"red": 1, "green": 1, "blue": 1, "sage": 30}
    models = [
        {"model": name, "tier": "frontier" if name == "sage" else "small", "price": {"input": 0, "output": usd}}
        for name, usd in prices.items()
    ]
    (tmp_path / "models.json").write_text(json.dumps({"models": models}))
    task = tmp_path / "sums"
    task.mkdir()
    questions = [{"id": f"q{n}", "question": f"What is {n} plus {n}?", "answers": [str(2 * n)]} for n in range(80)]
    for question in questions:
        question["answer_format"] = "number"
    rows = [
        {"id": f"q{n}", "model": name, "response_text": f"The answer is {2 * n + wrong}.", "completion_tokens": 100}
        for n in range(80)
        for name in prices
        for wrong in [0 if name == "sage" or random.random() < 0.75 else int(random.integers(1, 9))]
    ]
    for name, lines in (("questions", questions), ("responses", rows)):
        (task / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def test_the_table_the_file_and_the_config(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, written, drawn = recorded / "out.json", recorded / "tuned.yaml", recorded / "tuned.png"
    arguments = ["tune", "--recordings", str(recorded), "--task", "sums", "--reference", "sage", "--max-cost", "0.9x"]
    files = ["--json", str(out), "--config-out", str(written), "--png", str(drawn)]
    assert main([*arguments, "--seeds", "2", *files]) == 0
    printed = capsys.readouterr().out
    assert "candidates tried" in " ".join(printed.split())
    assert "against sage" in printed
    assert "best single member" in printed
    assert "then one model at a time until two agree" in " ".join(printed.split())  # how a cascade is read
    assert (
        f"config: {written}\nNo API is known for local, which the config has as a local Ollama: set its base_url"
        in printed
    )
    assert drawn.read_bytes().startswith(b"\x89PNG")
    found = json.loads(out.read_text())
    assert found["frontier"][found["chosen"]]["escalate"]["to"] == "sage"
    ensemble = load_config(written).ensembles["emerge"]
    assert (ensemble.strategy.name, ensemble.members[-1].model) == ("cascade", "sage")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--max-cost", "cheap"], "--max-cost cheap: must be US dollars per 1,000 questions"),
        (["--reference", "nobody"], "no answers of nobody are recorded in sums"),
        (["--models", "red,pink"], "no answers of pink are recorded in sums; there are: blue, green, red, sage"),
        (["--json", "/nowhere/out.json"], "/nowhere is not a directory"),
        (["--task", "products"], "no task 'products'"),
    ],
)
def test_what_cannot_be_is_said(recorded: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str) -> None:
    assert main(["tune", "--recordings", str(recorded), "--task", "sums", *more]) == 2
    assert said in capsys.readouterr().err


def test_what_was_recorded_with_is_written(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Providers, names, limits and temperatures of the user's own config, not what recordings alone can tell."""
    own, written = recorded / "own.yaml", recorded / "tuned.yaml"
    own.write_text(
        """
providers:
  house: {kind: openai, base_url: https://models.example.com/v1, api_key: env:HOUSE_KEY, headers: {x-team: a}}
  big: {kind: anthropic, api_key: env:BIG_KEY}
models:
  r: {provider: house, model: red, timeout_s: 9, supports: {tools: false}}
  g: {provider: house, model: green}
  b: {provider: house, model: blue}
  s: {provider: big, model: sage}
ensembles:
  panel: {members: [{model: r, temperature: 0.4}, g, b], escalate: {to: s, below_agreement: 1.0}}
"""
    )
    arguments = ["tune", "--recordings", str(recorded), "--task", "sums", "--seeds", "1", "--config", str(own)]
    assert main([*arguments, "--config-out", str(written)]) == 0
    assert "No API is known" not in capsys.readouterr().out
    mine, tuned = load_config(own), load_config(written)
    ensemble = tuned.ensembles["emerge"]
    assert {member.model for member in ensemble.members} <= set("rgbs")
    assert tuned.models == {name: mine.models[name] for name in tuned.models}
    assert tuned.providers == {name: mine.providers[name] for name in tuned.providers}
    temperatures = {member.model: member.temperature for member in ensemble.members}
    assert temperatures == {name: 0.4 if name == "r" else None for name in temperatures}
    assert "r" in temperatures


def test_a_model_that_the_config_lacks_is_written_as_before(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own, written = recorded / "own.yaml", recorded / "tuned.yaml"
    own.write_text(
        "providers: {house: {kind: simulated}}\nmodels: {green: {provider: house, model: red}}\n"
        "ensembles: {panel: {members: [green]}}\n"
    )
    arguments = ["tune", "--recordings", str(recorded), "--task", "sums", "--seeds", "1", "--config", str(own)]
    assert main([*arguments, "--config-out", str(written)]) == 0
    assert "which the config has as a local Ollama" in capsys.readouterr().out
    config = load_config(written)
    assert config.models["green"].model == "red"
    assert {model.model for model in config.models.values()} >= {"red", "green"}
