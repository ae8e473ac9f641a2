"""The wheel, installed in an empty environment outside the clone: command, server and library work there."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
import urllib.request
import venv
import zipfile
from email.parser import Parser
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest

from emerge_core.about import DISTRIBUTION, VERSION

ROOT = Path(__file__).parent.parent
DEPENDENCIES = [path for path in sys.path if path.endswith("site-packages")]

EXAMPLE = """
import asyncio, sys
from emerge_core import ChatRequest, Engine, load_config

async def ask(question):
    async with Engine(load_config(sys.argv[1])) as engine:
        return await engine.run(ChatRequest.of(question))

trace = asyncio.run(ask("What is 17 * 23?"))
print(trace.answer.text, len(trace.calls))
"""
CONFIG = """
providers: {p: {kind: simulated}}
models: {a: {provider: p, model: a}, b: {provider: p, model: b}, c: {provider: p, model: c}}
ensembles: {emerge: {members: [a, b, c]}}
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel in it, and nothing else of its own; its dependencies are those of the
    environment that runs the tests, so that no index is needed. Returns the folder of its commands."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*install, "--disable-pip-version-check", str(wheel)], check=True, cwd=folder)
    (site,) = (folder / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text("\n".join(DEPENDENCIES))
    return folder / "bin"


def test_the_package_is_the_installed_one(installed: Path, tmp_path: Path) -> None:
    code = "import emerge_core; print(emerge_core.__file__)"
    done = subprocess.run([installed / "python", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(str(installed.parent))


def test_the_command(installed: Path, tmp_path: Path) -> None:
    done = subprocess.run([installed / "emerge", "--help"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: emerge")
    done = subprocess.run([installed / "emerge", "--version"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == f"emerge {VERSION}\n"


def test_the_server(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "emerge.yaml").write_text(CONFIG)
    environ = {name: value for name, value in os.environ.items() if name != "EMERGE_API_KEYS"}
    with subprocess.Popen(
        [installed / "emerge", "serve", "--config", "emerge.yaml", "--port", "0"],
        cwd=tmp_path,
        env=environ,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        try:
            url = re.findall(r"emerge serves (\S+)", server.stdout.readline())[0]
            messages = [{"role": "user", "content": "What is 17 * 23?"}]
            request = urllib.request.Request(
                f"{url}/chat/completions",
                json.dumps({"model": "emerge", "messages": messages}).encode(),
                {"content-type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=60) as reply:
                answer = json.load(reply)
        finally:
            server.send_signal(signal.SIGINT)
    assert "391" in answer["choices"][0]["message"]["content"]
    assert len(answer["emerge"]["calls"]) == 3


def test_the_library(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "emerge.yaml").write_text(CONFIG)
    command = [str(installed / "python"), "-c", EXAMPLE, "emerge.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "391" in done.stdout
    assert done.stdout.endswith(" 3\n")


def test_what_the_wheel_says_and_holds(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        about = Parser().parsestr(archive.read(next(n for n in names if n.endswith("/METADATA"))).decode())
    assert {name.split("/")[0] for name in names} == {"emerge_core", f"emerge_llm-{VERSION}.dist-info"}
    assert "emerge_core/py.typed" in names
    assert (about["Name"], about["Version"], about["Requires-Python"]) == (DISTRIBUTION, VERSION, ">=3.11")


def test_the_version_has_its_changes() -> None:
    heads = re.findall(r"^## \[(\S+)\](?: - (\d{4}-\d\d-\d\d))?$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert heads[0] == ("Unreleased", "")
    assert [version for version, _ in heads][1] == VERSION
    assert all(date for _, date in heads[1:])


def test_every_import_has_its_dependency() -> None:
    """A module that the package imports belongs to a dependency, of the package or of one of its extras, or comes
    with one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    provided: set[str] = set()
    while waiting:
        name = canonical(waiting.pop())
        if name not in provided:
            provided.add(name)
            with contextlib.suppress(PackageNotFoundError):  # one for another platform
                waiting += [each for each in requires(name) or () if "extra ==" not in each]
    imported = {
        name.split(".")[0]
        for path in (ROOT / "emerge_core").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        for name in imported_names(node)
    }
    owners = packages_distributions()
    foreign = imported - sys.stdlib_module_names - {"emerge_core"}
    assert [name for name in sorted(foreign) if not {canonical(each) for each in owners.get(name, ())} & provided] == []


def canonical(requirement: str) -> str:
    return re.split(r"[\[<>=!~; (]", requirement)[0].lower().replace("_", "-")


def imported_names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module] if node.module and not node.level else []
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


@pytest.mark.slow
def test_a_real_installation(wheel: Path, tmp_path: Path) -> None:
    """From the index, with nothing but what the runtime needs. Skipped without a network."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    done = subprocess.run([python, "-m", "pip", "install", "--quiet", str(wheel)], capture_output=True, text=True)
    if "No matching distribution" in done.stderr or "Could not" in done.stderr:
        pytest.skip("the index cannot be reached")
    assert done.returncode == 0, done.stderr
    (tmp_path / "emerge.yaml").write_text(CONFIG)
    command = [str(python), "-c", EXAMPLE, "emerge.yaml"]
    answered = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "391" in answered.stdout
