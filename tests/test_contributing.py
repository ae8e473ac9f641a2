"""CONTRIBUTING tells where things are, and they are there."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent


def test_every_file_that_contributing_names_exists() -> None:
    rows = re.findall(r"^\| .+ \| `(\S+)` \|$", (ROOT / ".github/CONTRIBUTING.md").read_text(), re.M)
    assert len(rows) == 10
    assert [path for path in rows if not (ROOT / path).is_file()] == []


def test_every_target_that_contributing_names_is_in_the_makefile() -> None:
    targets = set(re.findall(r"`?make ([a-z-]+)", (ROOT / ".github/CONTRIBUTING.md").read_text()))
    makefile = (ROOT / "Makefile").read_text()
    assert targets and [target for target in targets if not re.search(rf"^{target}:", makefile, re.M)] == []


def test_the_hooks_run_what_make_lint_runs() -> None:
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    lint = (ROOT / "Makefile").read_text().split("\nlint:")[1].split("\n\n")[0]
    for hook in repo["hooks"]:
        tool = hook["entry"].split()[0].rpartition("/")[2]
        assert f"$(BIN)/{tool}" in lint


def test_the_workflow_runs_the_same_as_everybody() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    assert workflow["jobs"]["test"]["steps"][-1] == {"run": ".ci/run"}
