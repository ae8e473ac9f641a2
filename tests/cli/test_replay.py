"""`emerge replay`, started and stopped as its user does it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from emerge_core.cli import main


def make_task(root: Path, name: str) -> None:
    folder = root / name
    folder.mkdir()
    question = {"id": name, "task": name, "question": f"What is {name} called?", "answers": ["x"]}
    reply = {"id": name, "model": "m", "response_text": f"It is called {name}."}
    (folder / "questions.jsonl").write_text(json.dumps(question))
    (folder / "responses.jsonl").write_text(json.dumps(reply))


@pytest.mark.parametrize("arguments", [[], ["--task", "two"]], ids=["all tasks", "one task"])
def test_serves_until_ctrl_c(tmp_path: Path, arguments: list[str]) -> None:
    make_task(tmp_path, "one")
    make_task(tmp_path, "two")
    command = [sys.executable, "-m", "emerge_core", "replay", "--recordings", str(tmp_path), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--speed", "0", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        said = ""
        while not re.search("two +ollama", said):
            line = process.stdout.readline()
            assert line, f"it ended: {process.communicate()[1]}"
            said += line
        assert ("one  " in said) is not bool(arguments)
        (url,) = re.findall(r"two +openai +(\S+)\n", said)
        assert url.endswith("/v1") and ("/t/two/" in url) is not bool(arguments)
        body = {"model": "m", "messages": [{"role": "user", "content": "What is two called?"}]}
        request = urllib.request.Request(f"{url}/chat/completions", json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=30) as reply:
            assert json.load(reply)["choices"][0]["message"]["content"] == "It is called two."
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert (process.returncode, errors.strip()) == (0, "stopped")
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recordings", "absent"], "error: absent is not a directory of recordings"),
        (["--recordings", ".", "--task", "three"], "no task 'three'"),
    ],
)
def test_says_what_is_wrong(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    make_task(tmp_path, "one")
    monkeypatch.chdir(tmp_path)
    assert main(["replay", "--port", "0", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("speed", ["-1", "fast"])
def test_speed_is_a_number_from_zero(speed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["replay", "--recordings", ".", "--port", "0", "--speed", speed])
    assert "argument --speed" in capsys.readouterr().err
