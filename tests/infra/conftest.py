"""The AWS tools in `.tools/aws`, where they could be installed, and the template as they translate it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.infra.resolve import Resolver

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".tools" / "aws" / "bin"


@pytest.fixture(scope="session")
def translated() -> Iterator[Callable[..., Any]]:
    """`translated(ResponseMode="stream")` is the whole template; conditions are still in it."""
    if not (TOOLS / "sam").exists():
        pytest.skip("the AWS tools are not installed (make tools): the template is not tested")
    command = [str(TOOLS / "python"), str(Path(__file__).parent / "translate.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as translator:

        def translate(code: str = "a", **parameters: str) -> Any:
            assert translator.stdin
            assert translator.stdout
            translator.stdin.write(json.dumps({"parameters": parameters, "code": code}) + "\n")
            translator.stdin.flush()
            line = translator.stdout.readline()
            assert line, "the template cannot be translated: see standard error"
            return json.loads(line)

        yield translate
        translator.communicate()


@pytest.fixture
def deployed(translated: Any) -> Callable[..., Any]:
    """The same with conditions decided and functions computed: what CloudFormation would make."""
    return lambda code="a", **parameters: Resolver(translated(code, **parameters), parameters).template()
