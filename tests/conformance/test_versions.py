"""The table of clients states the versions that the locks hold, and the locks name no place to get them."""

from __future__ import annotations

import json
import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "emerge_core" / "api" / "CLIENTS.md").read_text()


def shown(client: str) -> list[str]:
    """The versions in the row of a client."""
    (row,) = re.findall(rf"^\| {re.escape(client)}[^|]*\| ([^|]+) \|", PAGE, flags=re.M)
    return [version.strip() for version in row.split(",")]


def pinned(lock: str, package: str) -> str:
    (version,) = re.findall(rf"^{package}==(\S+)", (HERE / lock).read_text(), flags=re.M)
    return str(version)


def packages_of(lock: str) -> dict[str, dict[str, str]]:
    """The packages of a lock of npm's, by their names."""
    packages = json.loads((HERE / lock).read_text())["packages"]
    return {name.removeprefix("node_modules/"): package for name, package in packages.items() if name}


def test_the_table_says_what_is_pinned() -> None:
    assert shown("openai (Python)") == [pinned(f"{name}.lock", "openai") for name in ("requirements", "instructor")]
    assert shown("OpenAI Agents SDK") == [pinned("requirements.lock", "openai-agents")]
    assert shown("LangChain") == [pinned("requirements.lock", "langchain-openai")]
    assert shown("Pydantic AI") == [pinned("requirements.lock", "pydantic-ai-slim")]
    assert shown("instructor") == [pinned("instructor.lock", "instructor")]
    assert shown("schemathesis") == [pinned("requirements.lock", "schemathesis")]
    assert shown("anthropic (Python)") == [pinned("requirements.lock", "anthropic")]
    assert shown("agent-framework (Microsoft)") == [pinned("requirements.lock", "agent-framework-openai")]
    assert shown("LangGraph") == [pinned("requirements.lock", "langgraph")]
    assert shown("smolagents") == [pinned("requirements.lock", "smolagents")]
    version = {name: package["version"] for name, package in packages_of("package-lock.json").items()}
    assert shown("anthropic (Node)") == [version["@anthropic-ai/sdk"]]
    assert shown("openai (Node)") == [version["openai"]]
    assert shown("AI SDK") == [version[name] for name in ("ai", "@ai-sdk/openai", "@ai-sdk/openai-compatible")]


def test_the_table_says_which_coding_agents_are_pinned() -> None:
    version = {name: package["version"] for name, package in packages_of("agents/package-lock.json").items()}
    assert shown("Claude Code") == [version["@anthropic-ai/claude-code"]]
    assert shown("Codex") == [version["@openai/codex"]]
    assert shown("opencode") == [version["opencode-ai"]]


def test_every_package_is_pinned_by_its_hash() -> None:
    for lock in ("package-lock.json", "agents/package-lock.json"):
        packages = packages_of(lock)
        assert [name for name, package in packages.items() if "integrity" not in package] == []
        assert not any("resolved" in package for package in packages.values())
    for path in HERE.glob("*.lock"):
        entries = re.split(r"^(?=\S)", path.read_text(), flags=re.M)[1:]
        assert all("--hash=sha256:" in entry for entry in entries)
