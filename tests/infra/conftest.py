"""The AWS tools in `.tools/aws`, where they could be installed, and the template as they translate it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".tools" / "aws" / "bin"


@cache
def _translated(parameters: str, code: str) -> dict[str, Any]:
    wanted = json.dumps([{"parameters": json.loads(parameters), "code": code}])
    command = [str(TOOLS / "python"), str(Path(__file__).parent / "translate.py")]
    done = subprocess.run(command, input=wanted, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    template: dict[str, Any] = json.loads(done.stdout)[0]
    return template


@pytest.fixture
def translated() -> Callable[..., Any]:
    """`translated(ResponseMode="stream")` is the whole template; conditions are still in it."""
    if not (TOOLS / "sam").exists():
        pytest.skip("the AWS tools are not installed (make tools): the template is not tested")
    return lambda code="a", **parameters: _translated(json.dumps(parameters, sort_keys=True), code)
