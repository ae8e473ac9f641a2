"""The function in a process of its own, as Lambda starts it, with the stub of the Runtime API to ask for work."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.aws_lambda.function import QUESTION, event
from tests.support.aws_lambda.runtime_stub import PostedReply, RuntimeStub
from tests.support.paths import PROXY

WRAPPED = (str(PROXY / "runtime-wrapper"), sys.executable, "/var/runtime/bootstrap.py")


@dataclass
class Runtime:
    stub: RuntimeStub
    process: asyncio.subprocess.Process
    log: Path

    async def ask(self, **changes: Any) -> PostedReply:
        return await self.stub.call(event("POST", "/v1/chat/completions", {**QUESTION, **changes}))

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What was logged; every line is JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@asynccontextmanager
async def runtime(
    folder: Path,
    stub: RuntimeStub | None = None,
    *,
    command: Sequence[str] = WRAPPED,
    environ: Mapping[str, str] | None = None,
) -> AsyncIterator[Runtime]:
    """`folder` takes the log. The function streams, by default, the files of the repository."""
    given = {
        "PATH": os.environ["PATH"],
        "AWS_LAMBDA_FUNCTION_NAME": "proxy",
        "EMERGE_CONFIG": str(PROXY / "default.yaml"),
        "EMERGE_AUTH": "gateway",
        "EMERGE_STACK": "test",
        "EMERGE_RESPONSE_MODE": "stream",
        **(environ or {}),
    }
    async with (stub or RuntimeStub()).serving() as serving:
        with Path(folder, "log").open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *command,
                env={**given, "AWS_LAMBDA_RUNTIME_API": serving.authority},
                stdout=output,
                stderr=output,
            )
        try:
            yield Runtime(serving, process, Path(folder, "log"))
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def answer_every_event(function: Runtime) -> None:
    """Each of the repository's sample events, with the status and the form of its reply."""
    for path in sorted(PROXY.parents[1].glob("events/*.json")):
        given = json.loads(path.read_text())
        if "httpMethod" not in given:
            continue
        taken = await function.stub.call(given)
        assert taken.prelude, (path.stem, taken.error, function.log.read_text())
        assert taken.prelude["statusCode"] == EXPECTED.get(path.stem, 200), path.stem
        assert taken.prelude["headers"]["x-request-id"]
        assert (taken.trailers, taken.error) == ({}, None)
        if path.stem == "streaming":
            assert taken.prelude["headers"]["content-type"].startswith("text/event-stream")
            assert events_of(taken)[-1] == "[DONE]"
        elif path.stem in EXPECTED:
            assert taken.json["error"]["type"] == "invalid_request_error"
        elif path.stem != "healthz":
            assert taken.json


EXPECTED = {"bad_body": 400, "missing_field": 400}


def events_of(taken: PostedReply) -> list[str]:
    return [part.removeprefix("data: ") for part in taken.body.decode().split("\n\n") if part.startswith("data: ")]
