"""The task of the coding agents, and the model behind them, which does it with the tools that the agent offers.

A word in a file is replaced. Every agent gets the same two steps, each with its own tools: look at the file, then
change it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

PROGRAMS = Path(__file__).parents[2] / ".tools" / "agents" / "node_modules"
# Names of models that the agents know, and offer other tools to, by the ensemble that serves them here.
KNOWN_TO_AGENTS = {
    "emerge": ("gpt-5.5", "gpt-6.1-sol", "claude-*"),
    "alone": ("gpt-5.6-luna", "gpt-6.2-sol"),
}
OLD, NEW = "grey", "blue"
TASK = "Replace the word {old} by the word {new} in the file {path} and tell me when it is done."
DONE = "The word is replaced."

_TASK = re.compile(rf"Replace the word {OLD} by the word {NEW} in the file (\S+) and tell me")

Call = tuple[str, dict[str, Any]]


def task(path: Any) -> str:
    return TASK.format(old=OLD, new=NEW, path=path)


def step(asked: str, tools: Collection[str], results: int) -> tuple[str, list[Call]] | None:
    """The text or the call that comes after so many results; None if this is no task for a coding agent."""
    found = _TASK.search(asked)
    steps = next((steps for tool, steps in _STEPS if tool in tools), None)
    if found is None or steps is None:
        return None
    if results < len(steps):
        return "", [steps[results](found[1])]
    return DONE, []


def _patch(path: str) -> str:
    return f"*** Begin Patch\n*** Update File: {path}\n@@\n-{OLD}\n+{NEW}\n*** End Patch\n"


def _script(command: str) -> str:
    return f"text(await tools.exec_command({{cmd: {json.dumps(command)}}}))"


# By the tool that changes a file: what is called, one call after the other.
_STEPS: tuple[tuple[str, tuple[Callable[[str], Call], ...]], ...] = (
    (
        "Edit",  # Claude Code
        (
            lambda path: ("Read", {"file_path": path}),
            lambda path: ("Edit", {"file_path": path, "old_string": OLD, "new_string": NEW}),
        ),
    ),
    (
        "edit",  # opencode
        (
            lambda path: ("read", {"filePath": path}),
            lambda path: ("edit", {"filePath": path, "oldString": OLD, "newString": NEW}),
        ),
    ),
    (
        "functions__exec",  # Codex's newest models write JavaScript
        (
            lambda path: ("functions__exec", {"input": _script(f"cat {path}")}),
            lambda path: ("functions__exec", {"input": _script(f"sed -i s/{OLD}/{NEW}/ {path}")}),
        ),
    ),
    (
        "apply_patch",  # Codex, for older models that it knows
        (
            lambda path: ("exec_command", {"cmd": f"cat {path}"}),
            lambda path: ("apply_patch", {"input": _patch(path)}),
        ),
    ),
    (
        "exec_command",  # Codex, for any other model
        (
            lambda path: ("exec_command", {"cmd": f"cat {path}"}),
            lambda path: ("exec_command", {"cmd": f"sed -i s/{OLD}/{NEW}/ {path}"}),
        ),
    ),
)
