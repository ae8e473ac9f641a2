"""Every command and every example in the README, and in the pages beside the code that it points to, is run, as a
newcomer would run it."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted(path for room in ("emerge_core", "infra") for path in (ROOT / room).rglob("*.md"))]
README = "\n".join(path.read_text() for path in PAGES)
FRONT, EVALS = PAGES[0].read_text(), (ROOT / "emerge_core" / "evals" / "README.md").read_text()
LIBRARY = (ROOT / "emerge_core" / "engine" / "README.md").read_text()
BIN = Path(sys.executable).parent
ENVIRON = {
    name: value for name, value in os.environ.items() if not name.endswith("_API_KEY") and name != "EMERGE_CONFIG"
}


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, flags=re.M | re.S)


def commands(page: str = README) -> list[str]:
    return [
        line.strip() for block in blocks("sh", page) for line in block.replace("\\\n", " ").splitlines() if line.strip()
    ]


@pytest.fixture(scope="module")
def running() -> Iterator[str]:
    """`make run` on a free port; its base URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    made = subprocess.Popen(
        ["make", "run", f"PORT={port}"],
        cwd=ROOT,
        env=ENVIRON,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        for _ in range(600):
            try:
                httpx.get(f"http://127.0.0.1:{port}/healthz")
                break
            except httpx.TransportError:
                assert made.poll() is None, "make run ended"
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(made.pid, signal.SIGINT)
        said, _ = made.communicate(timeout=20)
        assert f"http://127.0.0.1:{port}/v1" in said
        assert "curl" in said


def test_no_command_is_left_out() -> None:
    known = (
        "make run",
        "make test",
        "curl ",
        ".venv/bin/emerge check",
        ".venv/bin/emerge serve",
        ".venv/bin/emerge compare",
        ".venv/bin/emerge record",
        ".venv/bin/emerge diversity",
        ".venv/bin/emerge plan",
        ".venv/bin/emerge tune",
    )
    assert [line for line in commands() if not line.startswith(known)] == []


def test_the_curl_line(running: str) -> None:
    (line,) = [line for line in commands() if line.startswith("curl ")]
    done = subprocess.run(
        line.replace("http://127.0.0.1:8000", running), shell=True, capture_output=True, text=True, check=True
    )
    reply = json.loads(done.stdout)
    assert "391" in reply["choices"][0]["message"]["content"]
    assert len(reply["emerge"]["calls"]) == 3


def test_the_reply_that_is_shown(running: str) -> None:
    (shown,) = blocks("json")
    url, messages = f"{running}/v1/chat/completions", [{"role": "user", "content": "What is 17 * 23?"}]
    reply = httpx.post(url, json={"model": "emerge", "messages": messages}).json()
    assert _without_what_is_not_in(json.loads(shown), reply) == json.loads(shown)
    messages = [{"role": "user", "content": re.findall(r"^Ask `(.*?)`, and one member", FRONT, re.M)[0]}]
    reply = httpx.post(url, json={"model": "emerge", "messages": messages}).json()
    assert "23" in reply["choices"][0]["message"]["content"]
    assert round(reply["emerge"]["agreement"], 2) == 0.67


def _without_what_is_not_in(shown: Any, value: Any) -> Any:
    if isinstance(shown, dict):
        return {name: _without_what_is_not_in(shown[name], value[name]) for name in shown}
    if isinstance(shown, list):
        return [_without_what_is_not_in(*pair) for pair in zip(shown, value, strict=True)]
    return value


def test_the_first_table_is_the_measured_one() -> None:
    rows = re.findall(
        r"^\| (\w+(?: letters)?) \| ([\d.]+) \| ([\d.]+) \| \*\*([\d.]+)\*\* \| (\S+) ([\d.]+) \| ([\d.]+×) \|$",
        README,
        re.M,
    )
    assert len(rows) == 4  # the row of function calls is a fixed panel's, not a tuned one
    for task, _, _, ours, frontier, _, ratio in rows:
        (measured,) = re.findall(rf"^\| {task}, [\d.]+× {re.escape(frontier)} \| (.+, at .+)$", README, re.M)
        assert f"| {ours} (" in measured
        assert f", at {ratio}" in measured
    told = README[README.index("A panel that asks nobody else reaches") :]
    said = re.findall(r"\d\d\.\d", told)
    assert said[:12] == [row[column] for column in (2, 1, 5) for row in rows]


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text()):
            found = (page.parent / target).resolve() if target else page
            assert found.is_file(), f"{page.name}: {target}"
            if not anchor:
                continue
            heads = [re.sub(r"[^\w -]", "", head).lower() for head in re.findall(r"^#+ (.*)$", found.read_text(), re.M)]
            assert anchor in [head.replace(" ", "-") for head in heads], f"{page}: #{anchor}"


def test_the_python_example(running: str) -> None:
    (code,) = blocks("python", FRONT)
    done = subprocess.run(
        [sys.executable, "-c", code.replace("http://127.0.0.1:8000", running)],
        capture_output=True,
        text=True,
        check=True,
        env=ENVIRON,
    )
    assert "391" in done.stdout


def test_make_test_is_what_ci_runs() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    dry = subprocess.run(["make", "-n", "test"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "pytest" in dry.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the README's user stands: a config, a panel of recorded models and their recordings."""
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(BIN)
    (tmp_path / "emerge_core").symlink_to(ROOT / "emerge_core")
    (tmp_path / "emerge.yaml").write_text(blocks("yaml", FRONT)[0])
    names = ("red", "green", "blue")
    panel = {
        "providers": {"up": {"kind": "openai"}},
        "models": {name: {"provider": "up", "model": name, "price": {"input": 1, "output": 2}} for name in names},
        "ensembles": {"panel": {"members": list(names), "aggregator": "vote"}},
    }
    (tmp_path / "panel.yaml").write_text(json.dumps(panel))
    task = tmp_path / "recordings" / "gsm8k"
    task.mkdir(parents=True)
    (tmp_path / "recordings" / "models.json").write_text(json.dumps({"models": [{"model": n} for n in names]}))
    questions = [
        {
            "id": f"q{i}",
            "task": "gsm8k",
            "question": f"How many is {i} and {i}?",
            "answers": [str(2 * i)],
            "answer_format": "number",
        }
        for i in range(1, 5)
    ]
    rows = [
        {
            "id": q["id"],
            "model": name,
            "response_text": f"The answer is {2 * i + (name == 'blue')}.",
            "completion_tokens_est": 5,
        }
        for i, q in enumerate(questions, 1)
        for name in names
    ]
    for name, content in (("questions", questions), ("responses", rows)):
        with gzip.open(task / f"{name}.jsonl.gz", "wt") as file:
            file.writelines(json.dumps(row) + "\n" for row in content)
    return tmp_path


def test_the_config_checks(folder: Path) -> None:
    (line,) = [line for line in commands(FRONT) if "emerge check" in line]
    done = subprocess.run(line.split(), cwd=folder, env=ENVIRON, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "below agreement 1 asks sonnet" in done.stdout
    assert "gpt-4.1-mini" in done.stdout
    missing = re.findall(r"environment variable (\w+) is not set", done.stdout)
    assert missing == ["OPENAI_API_KEY", "ANTHROPIC_API_KEY"]
    assert done.stdout.count("warnings") == 1


def test_the_config_serves(folder: Path) -> None:
    (line,) = [line for line in commands(FRONT) if "emerge serve" in line]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    served = subprocess.Popen([*line.split(), "--port", str(port)], cwd=folder, env=ENVIRON, stdout=subprocess.DEVNULL)
    try:
        for _ in range(200):
            try:
                names = [m["id"] for m in httpx.get(f"http://127.0.0.1:{port}/v1/models").json()["data"]]
                break
            except httpx.TransportError:
                time.sleep(0.1)
        assert {"emerge", "panel", "chat", "mini", "haiku", "sonnet"} <= set(names)
    finally:
        served.send_signal(signal.SIGINT)
        served.wait(20)


def test_compare_prints_and_writes_its_table(folder: Path) -> None:
    (line,) = [line for line in commands(EVALS) if "emerge compare" in line]
    done = subprocess.run(line.split(), cwd=folder, env=ENVIRON, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "panel" in done.stdout
    out = json.loads((folder / "out.json").read_text())
    assert out["ensembles"]["panel"]["accuracy"] == 1.0
    assert out["models"]["blue"]["accuracy"] == 0.0
    assert out["questions"] == 4


def test_from_questions_to_a_tuned_ensemble(folder: Path) -> None:
    """The README's four commands, one after the other, on the files that the package ships."""
    shutil.rmtree(folder / "recordings")
    said = {}
    for line in commands(FRONT):
        if (name := line.split()[1]) in ("record", "diversity", "tune", "compare"):
            done = subprocess.run(line.split(), cwd=folder, env=ENVIRON, capture_output=True, text=True)
            assert done.returncode == 0, f"{line}\n{done.stderr}"
            said[name] = done.stdout
    assert list(said) == ["record", "diversity", "tune", "compare"]
    assert "20 questions × 4 models × 1: 80 answers, 0 there, 80 to ask" in said["record"]
    assert "oracle" in said["diversity"]
    assert "20 questions are too few" in said["tune"]
    assert re.search(r"^emerge +\d", said["compare"], re.M)


def test_the_library_example(folder: Path) -> None:
    (code,) = blocks("python", LIBRARY)
    (folder / "emerge.yaml").write_text((ROOT / "emerge_core/evals/examples/panel.yaml").read_text())
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, env=ENVIRON)
    assert "391" in done.stdout, done.stderr


def test_the_front_page_is_short() -> None:
    assert len(FRONT.splitlines()) <= 146
    assert max(len(line) for line in FRONT.splitlines() if not line.startswith("|")) <= 160


def test_one_s_own_questions_are_recorded_and_so_is_a_log(folder: Path) -> None:
    """The README assumes real models; here they are simulated."""
    asking, reading, importing, settling = [line for line in commands(EVALS) if "emerge record" in line]
    panel = json.loads((folder / "panel.yaml").read_text()) | {"providers": {"up": {"kind": "simulated"}}}
    (folder / "panel.yaml").write_text(json.dumps(panel))
    (folder / "questions.jsonl").write_text('{"question": "What is 17 * 23?", "answer": 391}\n')
    said = [
        {
            "event": "call",
            "request_id": "1",
            "call": "1",
            "model": "red",
            "role": "member",
            "status": "ok",
            "text": "Hi",
        },
        {"event": "request", "request_id": "1", "request": {"messages": [{"role": "user", "content": "Hello"}]}},
    ]
    (folder / "emerge.log").write_text("\n".join(map(json.dumps, said)))
    (folder / "logs").mkdir()
    for name, number in (("a", 391), ("b", 390)):
        sample = {"doc_id": 0, "arguments": [["What is 17 * 23?", {}]], "resps": [[f"The answer is {number}."]]}
        (folder / "logs" / f"samples_{name}.jsonl").write_text(json.dumps(sample))
    price = {"input": 0, "output": 0}
    models = {name: {"provider": "up", "model": name, "price": price} for name in ("small", "large", "sage")}
    escalate = {"to": "sage", "final": "adjudicate"}
    disputed = {"members": ["small", "large"], "aggregator": "vote", "escalate": escalate}
    config = {"providers": {"up": {"kind": "simulated"}}, "models": models, "ensembles": {"disputed": disputed}}
    (folder / "disputed.yaml").write_text(json.dumps(config))
    for line, task in ((asking, "questions"), (reading, "traces"), (importing, "mine"), (settling, "mine")):
        done = subprocess.run(line.split(), cwd=folder, env=ENVIRON, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert (folder / "recordings" / task / "responses.jsonl").is_file()
    assert "disputed: 1 questions, 1 disputed" in done.stdout


def test_reliability_is_estimated_and_a_comparison_planned(folder: Path) -> None:
    estimating, planning = [line for line in commands(EVALS) if "--no-gold" in line or "emerge plan" in line]
    done = subprocess.run(estimating.split(), cwd=folder, env=ENVIRON, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "red, green, blue. Its vote is expected to be right on" in done.stdout
    done = subprocess.run(planning.split(), cwd=folder, env=ENVIRON, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "2941 questions detect 2 points" in done.stdout
    row = next(line for line in README.splitlines() if line.startswith("| 2 points |"))
    assert "2,941" in row


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_the_bench_runs() -> None:
    """Once, with few requests: its limits are for a run on a quiet machine."""
    options = ["--without-litellm", "--rounds", "1", "--scale", "0.05", "--only", "overhead"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.speed", *options], env=ENVIRON, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr
    assert "| CPU per ensemble, of the aiohttp floor's |" in done.stdout


def test_the_commands_that_deploy_are_commands() -> None:
    from emerge_core.cli import make_parser

    lines = [
        line.split()
        for block in blocks("console")
        for line in block.splitlines()
        if re.match("emerge .*--stack ", line)
    ]
    assert len(lines) >= 7
    for _, *arguments in lines:
        assert make_parser(arguments[0]).parse_args(arguments).stack == "emerge"


def test_the_cost_table_is_its_formula() -> None:
    rows = re.findall(r"^\| ([\d,]+) MB \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", README, re.M)
    assert len(rows) == 4
    for memory, *costs in rows:
        for seconds, cost in zip((1, 2, 5), costs, strict=True):
            expected = 0.0035 + 0.0002 + int(memory.replace(",", "")) / 1024 * seconds * 0.0166667
            assert abs(float(cost) - expected) <= 0.0006
