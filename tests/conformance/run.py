"""Drives official clients, unchanged but for their base URL, against a real `emerge serve`.

`make conformance` drives the libraries and then holds the OpenAPI document against the server; `make agents` drives
the coding agents, which are large to install. Every client's program runs twice: with a panel of three providers'
kinds, and with one model. Prints a table; fails if anything in it did.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.conformance.coding import KNOWN_TO_AGENTS, PROGRAMS
from tests.conformance.upstream import app
from tests.support.server import Server

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
TOOLS = ROOT / ".tools" / "conformance"
NODE = TOOLS / "bin" / "node"
SCRIPTS = TOOLS / "js"  # beside the packages of Node, which are looked for from a script's own place
MODELS = {"emerge": "a panel of three", "alone": "one model"}
TIMEOUT_S = 180  # of one client's program
# A deadline of next to nothing is a 504 by contract; that some valid-looking bodies are refused is no fault either,
# since a schema cannot say that one field needs another.
SCHEMATHESIS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,negative_data_rejection,unsupported_method"
)


class Client(NamedTuple):
    name: str
    python: Path | None
    program: str


CLIENTS = (
    Client("openai (Python)", TOOLS / "bin" / "python", "openai_python"),
    Client("openai (Python)", TOOLS / "instructor" / "bin" / "python", "openai_python"),
    Client("openai (Node)", None, "openai_node"),
    Client("OpenAI Agents SDK", TOOLS / "bin" / "python", "agents_client"),
    Client("LangChain", TOOLS / "bin" / "python", "langchain_client"),
    Client("Pydantic AI", TOOLS / "bin" / "python", "pydantic_ai_client"),
    Client("instructor", TOOLS / "instructor" / "bin" / "python", "instructor_client"),
    Client("AI SDK", None, "ai_sdk"),
    Client("anthropic (Python)", TOOLS / "bin" / "python", "anthropic_python"),
    Client("anthropic (Node)", None, "anthropic_node"),
    Client("LangGraph", TOOLS / "bin" / "python", "langgraph_client"),
    Client("smolagents", TOOLS / "bin" / "python", "smolagents_client"),
    Client("agent-framework", TOOLS / "bin" / "python", "agent_framework_client"),
)
AGENTS = tuple(
    Client(name, Path(sys.executable), program)
    for name, program in (("Claude Code", "claude_code"), ("Codex", "codex"), ("opencode", "opencode"))
)


class Result(NamedTuple):
    client: str
    version: str
    feature: str
    model: str
    fault: str | None


def main(wanted: Sequence[str]) -> int:
    """`wanted` are names of programs, or "agents" for all coding agents; by default all but those."""
    known = {client.program: client for client in (*CLIENTS, *AGENTS)}
    if wanted == ["agents"]:
        wanted = [client.program for client in AGENTS]
    clients = [known[name] for name in wanted if name in known] if wanted else list(CLIENTS)
    needed = [PROGRAMS / ".bin"] if any(client in AGENTS for client in clients) else []
    if any(client in CLIENTS for client in clients):
        needed += [TOOLS / "bin" / "python", TOOLS / "instructor" / "bin" / "python", NODE, SCRIPTS / "node_modules"]
        for script in (HERE / "js").glob("*.mjs"):
            shutil.copy(script, SCRIPTS) if SCRIPTS.exists() else None
    for path in needed:
        if not path.exists():
            print(f"SKIPPED: {path.relative_to(ROOT)} is missing: the clients could not be installed.")
            return 0
    results: list[Result] = []
    with Server(app()) as upstream, serving(upstream) as url:
        runs = [(client, model) for client in clients for model in MODELS]
        with ThreadPoolExecutor(2) as pool:
            for found in pool.map(lambda run: drive(run[0], url, run[1]), runs):
                results += found
        if not wanted or "schemathesis" in wanted:
            results.append(hold(url))
    print(table(results))
    faults = [result for result in results if result.fault]
    for result in faults:
        print(f"\n{result.client} {result.version}: {result.feature}, {MODELS.get(result.model, '')}\n  {result.fault}")
    print(f"\n{len(results) - len(faults)} passed, {len(faults)} failed")
    return 1 if faults else 0


@contextmanager
def serving(upstream: str) -> Iterator[str]:
    """The root URL of `emerge serve` in a process of its own."""
    price = {"input": 1, "output": 2}
    config = {
        "providers": {
            "one": {"kind": "openai", "base_url": f"{upstream}/v1"},
            "two": {"kind": "anthropic", "base_url": upstream},
            "three": {"kind": "ollama", "base_url": upstream},
        },
        "models": {
            name: {"provider": provider, "model": name, "price": price}
            for name, provider in (("a", "one"), ("b", "two"), ("c", "three"))
        },
        "embedders": {"small": {"provider": "one", "model": "small", "price": price}},
        "ensembles": {
            "emerge": {"members": ["a", "b", "c"]},
            "alone": {"members": ["a"]},
        },
        "aliases": {known: name for name, names in KNOWN_TO_AGENTS.items() for known in names},
        "default": "emerge",
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "emerge.yaml"
        path.write_text(json.dumps(config))
        command = [sys.executable, "-m", "emerge_core", "serve", "--config", str(path), "--port", "0"]
        served = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert served.stdout
        try:
            for line in served.stdout:
                if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                    yield found[0]
                    break
            else:
                raise RuntimeError("emerge serve said no URL")
        finally:
            served.send_signal(signal.SIGINT)
            served.communicate(timeout=30)


def drive(client: Client, url: str, model: str) -> list[Result]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "ANTHROPIC_"))}
    environ |= {"CONFORMANCE_URL": f"{url}/v1", "CONFORMANCE_MODEL": model, "AI_SDK_LOG_WARNINGS": "false"}
    if client.python is None:
        command = [str(NODE), str(SCRIPTS / f"{client.program}.mjs")]
    else:
        command = [str(client.python), "-m", f"tests.conformance.clients.{client.program}"]
    print(f"{client.name}, {MODELS[model]} ...", file=sys.stderr, flush=True)
    try:
        done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired as late:
        return [Result(client.name, "?", "all of it", model, f"not done after {late.timeout:g} s")]
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"client"')]
    results = [Result(row["client"], row["version"], row["feature"], model, row["fault"]) for row in said]
    if any(result.fault for result in results) or done.returncode or not results:
        print(done.stderr[-8000:], file=sys.stderr)
    if done.returncode or not results:
        results.append(Result(client.name, "?", "the program", model, f"ended with {done.returncode}"))
    return results


def hold(url: str) -> Result:
    """A bounded, seeded run of schemathesis against the document that the server itself gives."""
    print("schemathesis ...", file=sys.stderr, flush=True)
    program = TOOLS / "bin" / "schemathesis"
    version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout.split()[-1]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "schemathesis.toml").write_text(
            '[checks]\nnot_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "504"]\n'
        )
        options = ["--checks", SCHEMATHESIS, "--phases", "coverage,fuzzing", "--max-examples", "40"]
        options += ["--seed", "1", "--no-color", "--max-time", "60", "--generation-database", "none"]
        done = subprocess.run(
            [program, "run", f"{url}/openapi.json", *options], cwd=folder, capture_output=True, text=True
        )
    cases = re.search(r"(\d+) generated", done.stdout)
    feature = f"OpenAPI document ({cases[1] if cases else 0} cases)"
    if done.returncode:
        print(done.stdout[-8000:], done.stderr[-2000:], file=sys.stderr)
    fault = f"ended with {done.returncode}" if done.returncode or not cases else None
    return Result("schemathesis", version, feature, "", fault)


def table(results: Sequence[Result]) -> str:
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for result in results:
        outcomes = rows.setdefault((result.client, result.version, result.feature), {})
        outcomes[result.model] = "FAILED" if result.fault else "ok"
    lines = [["client", "version", "feature", *MODELS.values()]]
    lines += [
        [*key, *(outcomes.get(model, outcomes.get("", "-")) for model in MODELS)] for key, outcomes in rows.items()
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
