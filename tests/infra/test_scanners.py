"""What checkov and the serverless rules of cfn-lint find in the template is waived with a reason, or is not there."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT

SCANNERS = ROOT / ".tools" / "scanners" / "bin"

pytestmark = [
    pytest.mark.aws,
    pytest.mark.skipif(not (SCANNERS / "checkov").exists(), reason="the scanners are not installed (make scan)"),
]


def waived(tool: str) -> set[tuple[str, str]]:
    rows = yaml.safe_load((ROOT / "infra" / "waivers.yaml").read_text())[tool]
    assert all(row["reason"] for row in rows)
    return {(row["check"], row["resource"]) for row in rows}


def run(*command: str) -> str:
    environ = {**os.environ, "AWS_DEFAULT_REGION": "us-east-1"}
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True).stdout


def test_checkov(translated: Any, tmp_path: Path) -> None:
    (tmp_path / "template.json").write_text(json.dumps(translated()))
    output = ("--framework", "cloudformation", "--output", "json", "--skip-download", "--quiet")
    said = json.loads(run(str(SCANNERS / "checkov"), "-f", str(tmp_path / "template.json"), *output))
    failed = said["results"]["failed_checks"]
    assert said["summary"]["passed"] > 30
    assert {(each["check_id"], each["resource"].rpartition(".")[2]) for each in failed} == waived("checkov")


def test_serverless_rules() -> None:
    said = run(str(SCANNERS / "cfn-lint"), "--format", "json", "-a", "cfn_lint_serverless.rules", "--", "template.yaml")
    found = {(each["Rule"]["Id"], each["Location"]["Path"][1]) for each in json.loads(said)}
    assert found == waived("serverless"), re.sub(r"\s+", " ", said)[:2000]
