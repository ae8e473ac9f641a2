"""What all commands have in common: help, exit statuses, suggestions, figures on standard output, colours, width."""

from __future__ import annotations

import argparse
import ast
import io
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emerge_core.cli import COMMANDS, main, make_parser
from emerge_core.cli._options import names, not_negative, panel_size, per_provider, positive, probability, share
from emerge_core.cli._output import Output, styled

FOLDER = Path(__file__).parents[2] / "emerge_core" / "cli"


def all_parsers() -> Iterator[argparse.ArgumentParser]:
    """The parser of every command, and of every action of one."""
    waiting = [make_parser()]
    while waiting:
        parser = waiting.pop()
        yield parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                waiting += action.choices.values()


PARSERS = {parser.prog: parser for parser in all_parsers()}


def test_emerge_alone_prints_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    printed = capsys.readouterr().out
    assert printed.startswith("usage: emerge")
    for name in COMMANDS:
        assert re.search(rf"^    {name}\b", printed, re.M)


def test_a_verb_is_a_module_and_none_imports_another() -> None:
    modules = {path.stem: path for path in FOLDER.glob("*.py") if not path.stem.startswith("_")}
    assert set(modules) == {*COMMANDS, "command"}
    for name, path in modules.items():
        imported = {
            node.module.removeprefix("emerge_core.cli.")
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("emerge_core.cli.")
        }
        assert {each for each in imported if not each.startswith("_")} == set(), name


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["chek"], "there is no command 'chek', did you mean 'check'?"),
        (["Serve"], "there is no command 'Serve', did you mean 'serve'?"),
        (["frobnicate"], "there is no command 'frobnicate' (`emerge --help` lists them)"),
    ],
)
def test_a_mistyped_command(typed: list[str], meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(typed) == 2
    assert meant in capsys.readouterr().err


def test_a_mistyped_action(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["config", "psuh"])
    assert ended.value.code == 2
    assert "there is no 'psuh', did you mean 'push'? (there are: push, pull, show, remove)" in capsys.readouterr().err


@pytest.mark.parametrize("name", [name for name in PARSERS if name != "emerge"])
def test_every_help_names_the_exit_statuses(name: str) -> None:
    text = " ".join(PARSERS[name].format_help().split())
    assert "Exit status: 0 " in text
    assert "; 2 " in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tune", "--max-members", "abc"], "argument --max-members: must be a whole number, not 'abc'"),
        (["tune", "--max-members", "200"], "argument --max-members: must be 32 or less"),
        (["tune", "--max-members", "0"], "argument --max-members: must be 1 or more"),
        (["tune", "--min-accuracy", "high"], "argument --min-accuracy: must be a number, not 'high'"),
        (["tune", "--min-accuracy", "80"], "argument --min-accuracy: must be between 0 and 1"),
        (["tune", "--models", ","], "argument --models: must name at least one, separated by commas"),
        (["replay", "--speed", "nan"], "argument --speed: must be a number, not 'nan'"),
        (["record", "--limit", "1_0"], "argument --limit: must be a whole number, not '1_0'"),
    ],
)
def test_an_argument_that_breaks_its_rule(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("reader", "text", "value"),
    [
        (names, "a, b,,a ", ("a", "b")),
        (share, "1", 1.0),
        (panel_size, "32", 32),
        (positive, "1e-3", 0.001),
        (not_negative, "0", 0.0),
        (probability, "0.05", 0.05),
        (per_provider(positive), "2.5, openai=10", {None: 2.5, "openai": 10.0}),
    ],
)
def test_readers(reader: Any, text: str, value: Any) -> None:
    assert reader(text) == value


@pytest.mark.parametrize("arguments", [["plan", "--diff", "2"], ["plan", "--questions", "10"], ["plan"]])
def test_figures_on_standard_output(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "--json", "-"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["power"] == 0.8
    assert "questions" in printed.err


def test_every_command_with_figures_has_the_option() -> None:
    without = {name for name, parser in PARSERS.items() if not re.search(r"^  --json\b", parser.format_help(), re.M)}
    assert {each.removeprefix("emerge ") for each in without} == {
        "emerge", "serve", "chat", "replay", "record", "config", "secrets", "keys",
        "config push", "config pull", "config remove", "secrets set", "secrets remove", "keys create", "keys revoke",
    }  # fmt: skip


def test_what_json_cannot_say_is_null(tmp_path: Path) -> None:
    Output(tmp_path / "out.json").figures({"a": float("nan"), "b": (float("inf"), 1)})
    assert json.loads((tmp_path / "out.json").read_text()) == {"a": None, "b": [None, 1]}


def test_a_missing_package_names_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`emerge compare` in an installation of the runtime alone."""
    (tmp_path / "emerge.yaml").write_text(WIDE)
    for name in [each for each in sys.modules if each.startswith("emerge_core.evals.compare")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "httpx", None)
    arguments = ["compare", "--config", str(tmp_path / "emerge.yaml"), "--recordings", str(tmp_path), "--task", "t"]
    assert main(arguments) == 2
    assert capsys.readouterr().err == "error: `emerge compare` needs httpx: pip install 'emerge-llm[eval]'\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert styled("x", "red", Terminal()) == "\x1b[31mx\x1b[0m"
    assert styled("x", "red", io.StringIO()) == "x"
    monkeypatch.setenv("TERM", "dumb")
    assert styled("x", "red", Terminal()) == "x"
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert styled("x", "red", Terminal()) == "x"


WIDE = """
providers: {up: {kind: simulated}}
models:
  a-model-with-a-rather-long-name: {provider: up, model: a-name-at-the-provider-that-is-longer-still-than-that}
ensembles: {e: {members: [a-model-with-a-rather-long-name]}}
"""


def test_tables_fit_the_terminal(tmp_path: Path) -> None:
    """On a terminal of 80 columns no line is longer, and colours are there; in a pipe rows stay whole."""
    (tmp_path / "emerge.yaml").write_text(WIDE)
    command = [sys.executable, "-m", "emerge_core", "check", "--config", "emerge.yaml"]
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    environ.pop("NO_COLOR", None)
    shown, terminal = pty.openpty()
    subprocess.run(command, cwd=tmp_path, env=environ, stdout=terminal, check=True)
    os.close(terminal)
    seen = b""
    while True:
        try:
            seen += os.read(shown, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
    os.close(shown)
    text = seen.decode()
    assert "\x1b[1mensemble e\x1b[0m" in text
    table = [line for line in text.splitlines() if line.startswith("  ") and "agrees" not in line]
    assert max(map(len, table)) <= 80
    del environ["COLUMNS"]
    piped = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True).stdout
    assert "\x1b" not in piped
    (row,) = [line for line in piped.splitlines() if "a-model-with" in line]
    assert "a-name-at-the-provider-that-is-longer-still-than-that" in row
