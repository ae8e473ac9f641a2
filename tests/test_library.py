"""The library's face: what `emerge_core` offers to programs, and what importing it costs."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

import emerge_core
from emerge_core import ChatRequest, Engine, RequestError, Trace, load_config

CONFIG = """
providers: {p: {kind: simulated}}
models: {a: {provider: p, model: a}, b: {provider: p, model: b}, c: {provider: p, model: c}}
ensembles: {panel: {members: [a, b, c]}, strict: {members: [a, b], min_answers: 2}}
default: panel
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "emerge.yaml"
    path.write_text(CONFIG)
    return path


def loaded(code: str) -> list[str]:
    """The modules beside the standard library that running `code` in a new interpreter loads."""
    report = (
        "import sys; before = set(sys.modules)\n"
        f"{code}\n"
        "print(*sorted({m for m in set(sys.modules) - before if m.split('.')[0] not in sys.stdlib_module_names}))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", report], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_the_public_names() -> None:
    assert emerge_core.__all__ == [
        "ChatRequest", "ConfigError", "EmergeError", "Engine", "Limits", "MissingExtraError", "RequestError", "Trace",
        "load_config",
    ]  # fmt: skip
    for name in emerge_core.__all__:
        assert getattr(emerge_core, name).__name__ == name
        assert name in dir(emerge_core)
    with pytest.raises(AttributeError, match="module 'emerge_core' has no attribute 'Motor'"):
        _ = emerge_core.Motor


def test_importing_the_package_loads_nothing_else() -> None:
    assert loaded("import emerge_core") == ["emerge_core"]


def test_importing_the_face_loads_no_server_and_no_client() -> None:
    tops = {name.split(".")[0] for name in loaded("from emerge_core import ChatRequest, Engine, load_config")}
    compiled = {name for name in tops if "cython" in name or name.startswith("_sysconfigdata")}  # not packages
    pydantic = {"pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection"}
    assert tops - compiled == {"emerge_core", "yaml", "httptools", *pydantic}  # httptools parses replies


def test_types_are_published() -> None:
    assert (Path(emerge_core.__file__).parent / "py.typed").is_file()


def test_an_ensemble_answers_without_a_server(file: Path) -> None:
    async def ask() -> tuple[Trace, Trace]:
        async with Engine(load_config(str(file))) as engine:
            trace = await engine.run(ChatRequest.of("What is 17 * 23?", temperature=0))
            return trace, await engine.run(ChatRequest.of("What is 17 * 23?"), "a")

    trace, alone = asyncio.run(ask())
    assert "391" in (trace.answer.text or "")
    assert (trace.name, len(trace.calls), trace.cost.usd) == ("panel", 3, 0.0)
    assert len(alone.calls) == 1


def test_a_failure_is_raised_where_the_answer_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "down.yaml").write_text(
        json.dumps(
            {
                "providers": {"down": {"kind": "ollama", "base_url": "http://127.0.0.1:9", "max_retries": 0}},
                "models": {"a": {"provider": "down", "model": "a"}},
            }
        )
    )

    async def ask() -> Trace:
        async with Engine(load_config(tmp_path / "down.yaml")) as engine:
            with pytest.raises(RequestError, match="The model `b` does not exist"):
                await engine.run(ChatRequest.of("Hello"), "b")
            return await engine.run(ChatRequest.of("Hello"))

    trace = asyncio.run(ask())
    with pytest.raises(RequestError) as failed:
        _ = trace.answer
    assert failed.value.status == 502
