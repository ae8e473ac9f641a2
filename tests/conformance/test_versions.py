"""The API's table of clients says the versions that the locks hold, and the locks name no place to get them."""

from __future__ import annotations

import json
import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "emerge_core" / "api" / "README.md").read_text()


def shown(client: str) -> list[str]:
    """The versions in the row of a client."""
    (row,) = re.findall(rf"^\| {re.escape(client)}[^|]*\| ([^|]+) \|", PAGE, flags=re.M)
    return [version.strip() for version in row.split(",")]


def pinned(lock: str, package: str) -> str:
    (version,) = re.findall(rf"^{package}==(\S+)", (HERE / lock).read_text(), flags=re.M)
    return str(version)


def test_the_table_says_what_is_pinned() -> None:
    assert shown("openai (Python)") == [pinned(f"{name}.lock", "openai") for name in ("requirements", "instructor")]
    assert shown("OpenAI Agents SDK") == [pinned("requirements.lock", "openai-agents")]
    assert shown("LangChain") == [pinned("requirements.lock", "langchain-openai")]
    assert shown("Pydantic AI") == [pinned("requirements.lock", "pydantic-ai-slim")]
    assert shown("instructor") == [pinned("instructor.lock", "instructor")]
    assert shown("schemathesis") == [pinned("requirements.lock", "schemathesis")]
    packages = json.loads((HERE / "package-lock.json").read_text())["packages"]
    version = {name.removeprefix("node_modules/"): package.get("version") for name, package in packages.items()}
    assert shown("openai (Node)") == [version["openai"]]
    assert shown("AI SDK") == [version[name] for name in ("ai", "@ai-sdk/openai", "@ai-sdk/openai-compatible")]


def test_every_package_is_pinned_by_its_hash() -> None:
    packages = json.loads((HERE / "package-lock.json").read_text())["packages"]
    assert [name for name, package in packages.items() if name and "integrity" not in package] == []
    assert not any("resolved" in package for package in packages.values())
    for lock in HERE.glob("*.lock"):
        entries = re.split(r"^(?=\S)", lock.read_text(), flags=re.M)[1:]
        assert all("--hash=sha256:" in entry for entry in entries)
