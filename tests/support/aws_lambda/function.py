"""The function as Lambda runs it: its files on the path, an environment, REST API proxy events, AWS by moto."""

from __future__ import annotations

import asyncio
import base64
import importlib
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.paths import PROXY

PARAMETER = "/emerge/test/config"
QUESTION = {"model": "emerge", "messages": [{"role": "user", "content": "What is 17 * 23?"}]}


@dataclass
class Context:
    remaining_ms: int = 30_000
    aws_request_id: str = "11111111-2222-3333-4444-555555555555"
    function_name: str = "proxy"
    memory_limit_in_mb: int = 1024
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:proxy"

    def get_remaining_time_in_millis(self) -> int:
        return self.remaining_ms


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        content: str = self.json["choices"][0]["message"]["content"]
        return content


def event(
    method: str = "POST",
    path: str = "/v1/chat/completions",
    body: Any = None,
    *,
    headers: dict[str, str] | None = None,
    encoded: bool = False,
    age_s: float = 0.0,
) -> dict[str, Any]:
    """A REST API proxy event, version 1.0."""
    text = body if isinstance(body, (str, type(None))) else json.dumps(body)
    sent = {"content-type": "application/json", "host": "api.example", **(headers or {})}
    return {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": method,
        "headers": sent,
        "multiValueHeaders": {name: [value] for name, value in sent.items()},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": {"proxy": path.lstrip("/")},
        "stageVariables": None,
        "requestContext": {
            "requestId": "gateway-request",
            "stage": "prod",
            "path": f"/prod{path}",
            "httpMethod": method,
            "requestTimeEpoch": int((time.time() - age_s) * 1000),
            "identity": {"sourceIp": "192.0.2.1"},
            "authorizer": {"keyId": "0123456789ab", "principalId": "0123456789ab"},
        },
        "body": base64.b64encode(text.encode()).decode() if encoded and text else text,
        "isBase64Encoded": encoded,
    }


@dataclass
class Function:
    """A warm environment."""

    module: Any
    printed: Callable[[], str]
    lines: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, *args: Any, context: Context | None = None, **options: Any) -> Reply:
        reply = self.module.handler(event(*args, **options), context or Context())
        self.read()
        multiple = reply.get("multiValueHeaders", {})
        headers = {**reply["headers"], **{name: values[0] for name, values in multiple.items()}}
        return Reply(reply["statusCode"], headers, reply["body"])

    def ask(self, **changes: Any) -> Reply:
        return self("POST", "/v1/chat/completions", {**QUESTION, **changes})

    def read(self) -> None:
        self.lines += [json.loads(line) for line in self.printed().splitlines() if line.startswith("{")]

    def logged(self, message: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line.get("message") == message]

    def metrics(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if "_aws" in line and name in line]

    def close(self) -> None:
        if self.module._loop is not None and not self.loop.is_closed():
            self.loop.run_until_complete(self.module._environment.engine.aclose())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        loop: asyncio.AbstractEventLoop = self.module._loop
        return loop


@contextmanager
def functions(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Function]]:
    """Makes an environment with the variables of the stack, changed as asked."""
    made: list[Function] = []

    def make(**environ: str | None) -> Function:
        stack: dict[str, str | None] = {
            "EMERGE_CONFIG": f"ssm:{PARAMETER}",
            "EMERGE_STACK": "test",
            "EMERGE_DEFAULT_CONFIG": str(PROXY / "default.yaml"),
            "EMERGE_AUTH": "gateway",
            "EMERGE_RESPONSE_MODE": "buffered",
            "EMERGE_MODEL_METRICS": "true",
            "EMERGE_CONFIG_TTL_S": "0",
            "POWERTOOLS_LOG_LEVEL": "INFO",
        }
        for name, value in {**stack, **environ}.items():
            monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
        monkeypatch.syspath_prepend(str(PROXY))
        for name in ("app", "environment"):
            sys.modules.pop(name, None)
        fresh = logging.Logger("emerge")  # Powertools keeps the standard output that it found first
        monkeypatch.setitem(logging.root.manager.loggerDict, "emerge", fresh)
        monkeypatch.setattr(logging.root, "handlers", list(logging.root.handlers))
        monkeypatch.setattr("emerge_core.telemetry.lines.log", fresh)
        monkeypatch.setattr("emerge_core.engine.reload.log", fresh)
        function = Function(importlib.import_module("app"), lambda: capsys.readouterr().out)
        made.append(function)
        return function

    yield make
    for function in made:
        function.close()
    asyncio.set_event_loop(None)
