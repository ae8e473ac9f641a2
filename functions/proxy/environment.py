"""One Lambda execution environment: its event loop, engine, logger and metrics, which live across
invocations. Nothing here is made before the first invocation, so that a snapshot holds none of it.

The streaming loop drives `application`, an ASGI app, inside `async with invocation(event, context)`;
the buffered handler does the same in three steps, since Mangum runs the loop itself.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import logs
from starlette.types import ASGIApp, Receive, Scope, Send
from tracing import Tracing

from emerge_core.api import create_app
from emerge_core.config import find_config
from emerge_core.config.aws import AwsSource, Snapshot
from emerge_core.engine.engine import Engine
from emerge_core.engine.reload import TTL_S, ReloadingEngine
from emerge_core.errors import ConfigError
from emerge_core.telemetry import Lines
from emerge_core.telemetry.metrics import Metrics
from emerge_core.types import ChatRequest, Trace

GATEWAY_S = 29.0  # after which API Gateway gives up on a buffered reply
MARGIN_S = 1.0  # for encoding, logging and the way back


class Environment:
    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        random.seed()  # a snapshot's state would make every copy of it draw the same
        self._environ = environ
        self._streams = environ.get("EMERGE_RESPONSE_MODE") == "stream"
        self._deadline: float | None = None
        self._log = logs.configure()
        self._tracing = Tracing(environ)
        per_model = environ.get("EMERGE_MODEL_METRICS", "false").lower() == "true"
        self._metrics = Metrics(environ.get("EMERGE_STACK", "local"), per_model=per_model)
        self.engine = ReloadingEngine(
            self._reader(),
            self._engine,
            ttl_s=float(environ.get("EMERGE_CONFIG_TTL_S", TTL_S)),
            report=lambda failed, age_s: self._metrics.config(failed=failed, age_s=age_s),
        )
        # API Gateway has checked the key. Where it does not, locally, EMERGE_API_KEYS may.
        keys = [] if environ.get("EMERGE_AUTH") == "gateway" else environ.get("EMERGE_API_KEYS", "").split(",")
        details = {"build": _build_id(), "response_mode": "stream" if self._streams else "buffered"}
        app = create_app(
            self.engine, api_keys=[key for key in keys if key.strip()], details=lambda: self._status(details)
        )
        self.application = self._timed(app)

    async def begin(self, event: Mapping[str, Any], context: Any) -> None:
        """Before a request: its deadline, its log keys, the config and its refresh."""
        asked = event.get("requestContext") or {}
        self._deadline = time.perf_counter() + self._remaining_s(asked, context)
        self._log.append_keys(
            function_request_id=getattr(context, "aws_request_id", None),
            gateway_request_id=asked.get("requestId"),
            key_id=(asked.get("authorizer") or {}).get("keyId"),
        )
        self._tracing.begin()
        await self.engine.begin()

    async def end(self) -> None:
        """After a request: nothing that it started is left running."""
        try:
            await self.engine.end()
        finally:
            self._tracing.end()

    @asynccontextmanager
    async def invocation(self, event: Mapping[str, Any], context: Any) -> AsyncIterator[None]:
        await self.begin(event, context)
        try:
            yield
        finally:
            await self.end()

    def _remaining_s(self, asked: Mapping[str, Any], context: Any) -> float:
        """What init and queueing took is gone from the gateway's time, though not from Lambda's."""
        left: list[float] = [context.get_remaining_time_in_millis() / 1000]
        since = asked.get("requestTimeEpoch")
        if not self._streams and isinstance(since, (int, float)):
            left.append(GATEWAY_S - max(time.time() - since / 1000, 0.0))
        return max(min(left) - MARGIN_S, 0.0)

    def _reader(self) -> Any:
        reference = self._environ.get("EMERGE_CONFIG", "").strip()
        default = self._environ.get("EMERGE_DEFAULT_CONFIG")
        if reference.startswith("ssm:"):
            return AwsSource(reference.removeprefix("ssm:"), default=Path(default) if default else None).read

        def read() -> Snapshot:
            if not reference and not default:
                raise ConfigError("EMERGE_CONFIG is not set: give ssm:/name, or a file")
            config, source = find_config(reference or default, self._environ)
            return Snapshot(config=config, version="file", source=source)

        return read

    def _engine(self, found: Snapshot) -> Engine:
        config = found.config
        lines = Lines(content=config.log_content and config.trace == "full")

        def record(request: ChatRequest, trace: Trace) -> None:
            lines(request, trace)
            self._metrics.request(trace, ensembles=config.ensembles)
            self._tracing.request(trace)

        return Engine(config, keys=found.key, record=record)

    def _timed(self, app: ASGIApp) -> Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]:
        async def with_deadline(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, "emerge.deadline": self._deadline}, receive, send)

        return with_deadline

    def _status(self, details: Mapping[str, Any]) -> dict[str, Any]:
        return {**details, "config": self.engine.status()}


def _build_id() -> str | None:
    try:
        return (Path(__file__).parent / "build_id").read_text().strip()
    except OSError:
        return None


def event_loop() -> asyncio.AbstractEventLoop:
    """The one loop of this environment: the connection pools belong to it."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop
