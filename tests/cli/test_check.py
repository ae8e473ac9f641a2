"""`emerge check`, run as its user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emerge_core.cli import main
from tests.support.aws.bedrock_refusals import CASES
from tests.support.aws.bedrock_upstream import bedrock_of_models

Emerge = Callable[..., subprocess.CompletedProcess[str]]

CONFIG = """
providers:
  openai: {kind: openai, api_key: env:MY_KEY}
  local: {kind: ollama, base_url: "http://me:hidden@10.0.0.1:11434"}
models:
  mini: {provider: openai, model: gpt-4o-mini, family: gpt}
  nano: {provider: openai, model: gpt-4.1-nano, family: gpt}
  qwen: {provider: local, model: "qwen2.5:7b"}
  big: {provider: openai, model: gpt-4.1, family: gpt}
embedders:
  small: {provider: openai, model: text-embedding-3-small}
ensembles:
  emerge:
    members: [mini, {model: nano, weight: 1.5}, qwen]
    aggregator: {name: consensus, embedder: small}
    escalate: {to: big, below_agreement: 0.6, final: vote}
  careful: {members: [mini, qwen], aggregator: {name: judge, judge: mini}, min_answers: 2, early_decision: false}
  cheap: {members: [qwen, mini], strategy: {name: cascade, stop: agree}}
default: emerge
"""


@pytest.fixture
def emerge(tmp_path: Path) -> Emerge:
    environ = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY") and name != "COLUMNS"}

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "emerge_core", *arguments],
            env={**environ, **variables}, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    return run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "emerge.yaml"
    path.write_text(CONFIG)
    return path


def words(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_it_prints_what_it_understood(emerge: Emerge, file: Path) -> None:
    done = emerge("check", "--config", str(file), MY_KEY="sk-hidden")
    assert done.returncode == 0
    assert done.stderr == ""
    said = words(done.stdout)
    for line in (
        f"{file}: ok",
        "ensemble emerge (default)",
        "strategy ensemble, early decision; below agreement 0.6 asks big: its answer joins the vote",
        "aggregator consensus, embedder small",
        "limits deadline 25 s, at least 1 answer, at most 24 calls",
        "member provider model family weight in $/M out $/M",
        "mini openai gpt-4o-mini gpt 1 0.15 0.6",
        "nano openai gpt-4.1-nano gpt 1.5 0.1 0.4",
        "qwen local (ollama, 10.0.0.1:11434) qwen2.5:7b - 1 unknown unknown",
        "escalation big openai gpt-4.1 gpt 2 8",
        "embedder small openai text-embedding-3-small - 0.02 0",
        "ensemble careful",
        "strategy ensemble, no early decision",
        "aggregator judge, judge mini",
        "limits deadline 25 s, at least 2 answers, at most 24 calls",
        "judge mini openai gpt-4o-mini gpt 0.15 0.6",
        "strategy cascade by cost, stops at the first two answers that agree",
        "emerge: mini and nano are of the same family (gpt) and tend to err together",
        "careful: the judge mini is in the panel, and may favour its own answer",
        "qwen: its price is unknown, so the cost of its answers is too: "
        "for a local model, write price: {input: 0, output: 0}",
    ):
        assert line in said
    assert "hidden" not in done.stdout


def test_models_of_no_ensemble_are_shown_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "emerge.yaml"
    file.write_text("providers: {p: {kind: simulated}}\nmodels: {alone: {provider: p, model: x, accuracy: 0.5}}\n")
    assert main(["check", "--config", str(file)]) == 0
    said = words(capsys.readouterr().out)
    assert "alone p (simulated) x - 0 0" in said
    assert "there is no ensemble: models can only be called one by one" in said


def test_a_missing_key_is_a_warning(emerge: Emerge, file: Path) -> None:
    done = emerge("check", EMERGE_CONFIG=str(file))
    assert done.returncode == 0
    assert "provider openai: environment variable MY_KEY is not set: its models will fail" in done.stdout


def test_a_wrong_config_is_an_error_of_one_glance(emerge: Emerge, file: Path) -> None:
    file.write_text(CONFIG.replace("weight", "wieght"))
    done = emerge("check", "--config", str(file))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(
        f"error: {file}: 1 problem\n  ensembles.emerge.members[1].wieght (line 14): unknown key"
    )


def test_a_config_that_is_not_there(emerge: Emerge) -> None:
    done = emerge("check", "--config", "nowhere.yaml")
    assert done.returncode == 2
    assert done.stderr == "error: nowhere.yaml: cannot be read: No such file or directory\n"


def test_the_command_itself(emerge: Emerge) -> None:
    version = emerge("--version")
    assert version.returncode == 0
    assert version.stdout.startswith("emerge 0.")
    assert emerge().returncode == 2
    wrong = emerge("chek")
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr
    usage = emerge("--help")
    assert usage.returncode == 0
    for verb in ("serve", "check", "replay", "compare"):
        assert f"\n    {verb} " in usage.stdout


def test_live_tries_each_model(upstream: Any, says: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    upstream.script = {"a": says("OK"), "b": says(status=401, error="wrong key")}
    text = f"""
providers:
  up: {{kind: openai, base_url: "{upstream.url}"}}
  keyless: {{kind: openai, base_url: "{upstream.url}", api_key: env:SURELY_NOT_SET}}
models:
  a: {{provider: up, model: a}}
  b: {{provider: up, model: b}}
  c: {{provider: keyless, model: c}}
"""
    file = tmp_path / "emerge.yaml"
    file.write_text(text)
    assert main(["check", "--config", str(file), "--live"]) == 1
    said = words(capsys.readouterr().out)
    assert any(line.startswith("a ok, ") and line.endswith(" ms") for line in said)
    assert any(line.startswith("b failed: ") and "wrong key" in line for line in said)
    assert "c failed: environment variable SURELY_NOT_SET is not set" in said
    (asked,) = upstream.asked("a")
    assert asked["messages"] == [{"role": "user", "content": "Reply with OK"}]
    assert upstream.asked("c") == []


def test_live_is_fine_when_all_models_are(upstream: Any, says: Any, tmp_path: Path) -> None:
    upstream.script = {"a": says("OK")}
    file = tmp_path / "emerge.yaml"
    file.write_text(
        f'providers: {{up: {{kind: openai, base_url: "{upstream.url}"}}}}\nmodels: {{a: {{provider: up, model: a}}}}\n'
    )
    assert main(["check", "--config", str(file), "--live"]) == 0


def test_routes_are_shown_by_form(emerge: Emerge, tmp_path: Path) -> None:
    file = tmp_path / "routes.yaml"
    file.write_text(
        "providers: {s: {kind: simulated}}\nmodels: {a: {provider: s, model: a}, b: {provider: s, model: b}}\n"
        "ensembles:\n  pair: {members: [a, b], escalate: {to: a}}\n  chat: {members: [a, b], strategy: fallback}\n"
        "  any: {routes: {short: pair, open_ended: chat}}\ndefault: any\n"
    )
    shown = words(emerge("check", "--config", str(file)).stdout)
    assert "ensemble any (default)" in shown
    assert "short requests pair" in shown
    assert "open_ended requests chat" in shown
    assert "tools, json, choices: pair, the first route" in shown


@pytest.mark.parametrize(
    ("body", "form", "served"),
    [
        ({"messages": [{"role": "user", "content": "Pick one.\nA. x\nB. y\nC. z"}]}, "choices", "panel"),
        ({"messages": [{"role": "user", "content": "Write a poem about the sea."}]}, "open_ended", "mini"),
        ({"model": "mini", "messages": [{"role": "user", "content": "What is 2 + 2?"}]}, "short", "mini"),
        ({"model": "gpt-4o-x", "messages": [{"role": "user", "content": "What is 2 + 2?"}]}, "short", "panel"),
    ],
)
def test_the_form_of_a_request_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], body: dict[str, Any], form: str, served: str
) -> None:
    config, request = tmp_path / "emerge.yaml", tmp_path / "request.json"
    config.write_text(
        "providers: {p: {kind: simulated}}\nmodels: {mini: {provider: p, model: a}, b: {provider: p, model: b}}\n"
        "ensembles: {panel: {members: [mini, b]}, any: {routes: {choices: panel, open_ended: mini, short: panel}}}\n"
        "aliases: {'gpt-4o*': any}\ndefault: any\n"
    )
    request.write_text(json.dumps(body))
    assert main(["check", "--config", str(config), "--request", str(request), "--json", "-"]) == 0
    printed = capsys.readouterr()
    assert {**json.loads(printed.out), "reason": ""} == {
        "form": form, "reason": "", "model": body.get("model", "any"), "served_by": served,
    }  # fmt: skip
    assert printed.err.startswith(f"form       {form}: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "request.json: is not JSON"),
        ("[]", "must be the body of a chat completion request"),
        ("{}", "messages"),
        ('{"model": "x", "messages": [{"role": "user", "content": "Hi"}]}', "no ensemble, model or alias `x`"),
    ],
)
def test_a_request_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str) -> None:
    config, request = tmp_path / "emerge.yaml", tmp_path / "request.json"
    config.write_text("providers: {p: {kind: simulated}}\nmodels: {mini: {provider: p, model: a}}\n")
    request.write_text(text)
    assert main(["check", "--config", str(config), "--request", str(request)]) == 2
    assert message in capsys.readouterr().err


def test_strict_fails_on_warnings(file: Path, emerge: Emerge, tmp_path: Path) -> None:
    assert emerge("check", "--config", str(file), "--strict").returncode == 1
    file.write_text(
        "providers: {p: {kind: simulated}}\nmodels: {a: {provider: p, model: a}}\nensembles: {e: {members: [a]}}"
    )
    assert emerge("check", "--config", str(file), "--strict").returncode == 0


def test_an_upstream_cannot_steer_the_terminal(
    upstream: Any, says: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    upstream.script = {"a": says(status=401, error="bad\x1b]0;title\x07\x1b[2Jkey")}
    file = tmp_path / "emerge.yaml"
    file.write_text(
        f'providers: {{up: {{kind: openai, base_url: "{upstream.url}"}}}}\nmodels: {{a: {{provider: up, model: a}}}}\n'
    )
    assert main(["check", "--config", str(file), "--live"]) == 1
    printed = capsys.readouterr().out
    assert "bad" in printed and "key" in printed
    assert "\x1b" not in printed and "\x07" not in printed


def test_live_says_what_mends_a_refusal_of_bedrock(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    monkeypatch.setenv("COLUMNS", "2000")
    file = tmp_path / "emerge.yaml"
    refusals = {case.model: case.refusal for case in CASES}
    with bedrock_of_models(refusals) as aws:
        models = "\n".join(f"  {name}: {{provider: aws, model: {name}}}" for name in ["fine", *refusals])
        file.write_text(
            f'providers: {{aws: {{kind: bedrock, region: us-east-1, base_url: "{aws.url}"}}}}\nmodels:\n{models}\n'
        )
        assert main(["check", "--config", str(file), "--live"]) == 1
    printed = capsys.readouterr().out
    live = dict(line.split(maxsplit=1) for line in printed[printed.index("\nlive\n") :].splitlines()[2:])
    assert live["fine"].startswith("ok, ")
    for case in CASES:
        assert live[case.model].startswith("failed: ") and f"[{case.remedy}: " in live[case.model], case.model
        assert case.mends in live[case.model], case.model
