"""The AWS tools in `.tools/aws`, where they could be installed, and the template as they translate it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.aws.resolve import Resolver
from tests.support.paths import ROOT, TOOLS


@pytest.fixture(scope="session")
def translated() -> Iterator[Callable[..., Any]]:
    """`translated(ResponseMode="stream")` is the whole template; conditions are still in it."""
    if not (TOOLS / "sam").exists():
        pytest.skip("the AWS tools are not installed (make tools): the template is not tested")
    command = [str(TOOLS / "python"), str(ROOT / "tests/support/aws/translate.py")]
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


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`sam build`, for real; EMERGE_ARTIFACTS names one that was built before."""
    python = TOOLS / "python3.13"
    if not (TOOLS / "sam").exists() or not python.exists():
        pytest.skip("the AWS tools or Python 3.13 are not installed (make tools): the artifact is not tested")
    if os.environ.get("EMERGE_ARTIFACTS"):
        return Path(os.environ["EMERGE_ARTIFACTS"])
    target = tmp_path_factory.mktemp("build")
    path = f"{python.resolve().parent}:{TOOLS}:{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path, "SAM_CLI_TELEMETRY": "0", "AWS_DEFAULT_REGION": "us-east-1"}
    environ["EMERGE_ARCHITECTURE"] = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
    command = [str(TOOLS / "sam"), "build", "--build-dir", str(target)]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target
