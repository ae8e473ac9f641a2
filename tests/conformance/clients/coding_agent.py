"""Runs a coding agent as a user would, in a repository and a home folder of its own, and looks at what it did.

The agents are programs that npm installs under `.tools`; they find the server by nothing but its address, a key and
the model's name.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.conformance.clients.harness import BASE_URL, report
from tests.conformance.coding import DONE, NEW, OLD, PROGRAMS

ROOT_URL = BASE_URL.removesuffix("/v1")
TIMEOUT_S = 120


def edits(command: Callable[[Path], Sequence[str]], environ: Mapping[str, str], home: Mapping[str, str]) -> None:
    """Asserts that the agent replaces the word. `command` gets the file to edit; `home` are the files of the home
    folder, by their path."""
    with tempfile.TemporaryDirectory() as folder:
        house, repository = Path(folder) / "home", Path(folder) / "repository"
        for name, content in {".keep": "", **home}.items():
            (house / name).parent.mkdir(parents=True, exist_ok=True)
            (house / name).write_text(content)
        subprocess.run(["git", "init", "--quiet", str(repository)], check=True)
        edited = repository / "colour.txt"
        edited.write_text(f"{OLD}\n")
        program, *options = command(edited)
        done = subprocess.run(
            [str(PROGRAMS / ".bin" / program), *options],
            cwd=repository,
            env={"PATH": os.environ["PATH"], "HOME": str(house), **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        shown = f"exit code {done.returncode}\n{done.stdout[-1000:]}\n{done.stderr[-1000:]}"
        assert done.returncode == 0, shown
        assert DONE in done.stdout, shown
        assert edited.read_text() == f"{NEW}\n", shown


def report_agent(client: str, package: str) -> None:
    report(client, json.loads((PROGRAMS / package / "package.json").read_text())["version"])
