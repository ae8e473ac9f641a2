"""The Lambda handler: a REST API proxy event in, a whole reply out."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import logs
from buffered import result_of
from environment import Environment, event_loop
from gateway import body_of, scope_of
from mangum import Mangum

_loop: asyncio.AbstractEventLoop | None = None
_environment: Environment | None = None


class RestApi:
    """How Mangum reads an event and writes its reply: as the streaming loop does."""

    def __init__(self, event: Any, context: Any, config: Any) -> None:
        self._event, self._context = event, context

    @classmethod
    def infer(cls, event: Any, context: Any, config: Any) -> bool:
        return True

    @property
    def scope(self) -> dict[str, Any]:
        return {**scope_of(self._event), "aws.context": self._context}

    @property
    def body(self) -> bytes:
        return body_of(self._event)

    def __call__(self, response: Any) -> dict[str, Any]:
        return result_of(response["status"], response["headers"], response["body"])


def handler(event: Any, context: Any) -> dict[str, Any]:
    loop, environment = _started()
    environment.enter(event, context)
    loop.run_until_complete(environment.begin())
    try:
        mangum = Mangum(environment.application, lifespan="off", custom_handlers=[RestApi])
        return mangum(event, context)
    finally:
        loop.run_until_complete(environment.end())


def _started() -> tuple[asyncio.AbstractEventLoop, Environment]:
    """Raises RuntimeError, without the cause's own text: Lambda logs what a handler raises."""
    global _loop, _environment
    if _loop is None or _environment is None:
        loop = event_loop()
        try:
            _environment = Environment()
        except Exception as error:
            loop.close()
            raise RuntimeError(f"init failed: {logs.describe(type(error), error.__traceback__)}") from None
        _loop = loop
    return _loop, _environment


if (kind := os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")) != "on-demand":
    from prime import prime_for

    prime_for(kind)
