"""`emerge chat`: a question given, piped in or typed, the votes under its answer."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from emerge_core.cli import main

CONFIG = """
providers: {sim: {kind: simulated}, away: {kind: openai, base_url: "http://127.0.0.1:9/v1", max_retries: 0}}
models:
  a: {provider: sim, model: sim-a, accuracy: 0.85}
  b: {provider: sim, model: sim-b, accuracy: 0.8}
  c: {provider: sim, model: sim-c, accuracy: 0.75}
  oak: {provider: sim, model: sim-oak, accuracy: 1, price: {input: 3, output: 15}}
  gone: {provider: away, model: gone}
ensembles:
  emerge: {members: [a, b, c], aggregator: vote}
  disputed: {members: [a, b, c], aggregator: vote, escalate: {to: oak, final: adjudicate}}
  lame: {members: [a, gone, c], aggregator: vote, early_decision: false}
  down: {members: [gone]}
baseline: oak
"""
QUESTION = "What is 3 + 4 * (7 - 2)?"


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "emerge.yaml"
    file.write_text(CONFIG)
    return str(file)


def test_a_piped_question_is_answered_on_standard_output_alone(
    config: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(QUESTION + "\n"))
    assert main(["chat", "--config", config]) == 0
    printed = capsys.readouterr()
    assert printed.out == "The answer is 23.\n"
    first, second, figures = printed.err.splitlines()
    assert first.split() == ["23", "█" * 16 + "·" * 8, "2", "of", "3", "a,", "c"]
    assert second.split() == ["3", "█" * 8 + "·" * 16, "1", "of", "3", "b"]
    assert re.fullmatch(r"  67 % agree · 3 calls · 0\.000000 USD, 0\.0001\d\d at oak · \d+ ms", figures)


@pytest.mark.parametrize(
    ("ensemble", "said"),
    [("disputed", "  adjudication  oak gave the answer"), ("lame", "  no vote  gone: error: connection")],
)
def test_what_settled_it_and_what_failed_is_said(
    config: str, ensemble: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["chat", "--config", config, "--ensemble", ensemble, QUESTION]) == 0
    assert said in capsys.readouterr().err.splitlines()


def test_a_member_that_an_early_decision_cancelled_is_named(
    upstream: Any, says: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    upstream.script = {"a": says("42"), "b": says("42"), "c": says("41", delay=60)}
    models = {name: {"provider": "up", "model": name, "price": {"input": 1, "output": 2}} for name in "abc"}
    config = {
        "providers": {"up": {"kind": "openai", "base_url": upstream.url}},
        "models": models,
        "ensembles": {"emerge": {"members": ["a", "b", "c"], "aggregator": "vote"}},
    }
    file = tmp_path / "emerge.json"
    file.write_text(json.dumps(config))
    assert main(["chat", "--config", str(file), "What is 6 times 7?"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "42\n"
    assert "  cancelled  c: the others had decided" in printed.err.splitlines()


def test_no_answer_is_a_failure(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", "--config", config, "--ensemble", "down", QUESTION]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("no answer: ")


@pytest.mark.parametrize(
    ("arguments", "said"), [(["--ensemble", "nobody", "hello"], "'nobody'"), ([" "], "the question is empty")]
)
def test_misuse_is_said(config: str, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", "--config", config, *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_conversation_in_a_terminal(config: str) -> None:
    control, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "emerge_core", "chat", "--config", config, "--ensemble", "a"],
        stdin=terminal, stdout=terminal, stderr=terminal, env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    os.close(terminal)
    shown = ""

    def read_until(text: str) -> str:
        nonlocal shown
        while text not in shown:
            shown += os.read(control, 1024).decode()
        before, _, shown = shown.partition(text)
        return before

    read_until("> ")
    os.write(control, f"{QUESTION}\n".encode())
    assert "The answer is 23." in read_until("1 call ·")
    read_until("> ")
    os.write(control, b"/new\n")
    read_until("> ")
    os.write(control, b"\x04")
    assert process.wait(30) == 0
    os.close(control)
