"""One Lambda execution environment: the event loop, engine, logger and metrics that live across invocations.
Nothing here is made before the first invocation, so that a snapshot holds none of it.

`application` is an ASGI app; each request to it runs inside an invocation. The runtime loop uses
`async with invocation(event, context)`; the managed runtime's handler calls `enter`, `begin` and `end`, since
Mangum runs the event loop itself. What belongs to one invocation is in a context variable, because on Lambda
Managed Instances many are open at once.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import random
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import logs
from gateway import HEALTH, Refusal, key_id_of, mapping, refusal_of, request_id_of
from starlette.types import Message, Receive, Scope, Send
from tracing import Subsegment, Tracing

from emerge_core.api import create_app
from emerge_core.api.auth import read_api_keys
from emerge_core.api.cors import read_origins
from emerge_core.api.trace_context import TraceContextMiddleware
from emerge_core.config import find_config, variables
from emerge_core.config.aws import AwsSource, Snapshot
from emerge_core.engine.engine import Engine, preload
from emerge_core.engine.reload import TTL_S, ReloadingEngine
from emerge_core.errors import ConfigError
from emerge_core.telemetry import Lines
from emerge_core.telemetry.metrics import Metrics
from emerge_core.telemetry.otel import open_telemetry
from emerge_core.types import ChatRequest, Trace

GATEWAY_S = 29.0  # after which API Gateway gives up on a buffered reply
BELIEVED_AGE_S = 60.0  # of a request's time stamp: an older one means that the clocks differ
LONGEST_S = 900.0  # that Lambda lets an invocation last
MARGIN_S = 1.0  # for encoding, logging and the way back
FLUSH_S = 0.5  # the longest that an invocation waits for the collector of telemetry
ERROR_BODY = 65_536  # bytes of an error reply that are looked at for its code


@dataclass
class Invocation:
    """What belongs to one invocation."""

    deadline: float = math.inf  # on `perf_counter`'s clock
    recorded: bool = False  # the engine has written the request's line and metrics
    subsegment: Subsegment | None = None

    @property
    def left_s(self) -> float:
        return max(self.deadline - time.perf_counter(), 0.0)


_invocation: ContextVar[Invocation] = ContextVar("invocation")


class Environment:
    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        random.seed()  # a snapshot's state would make every copy of it draw the same numbers
        self._environ = environ
        self.streams = environ.get(variables.RESPONSE_MODE) == "stream"
        self._concurrency = environ.get("AWS_LAMBDA_MAX_CONCURRENCY")  # None: default Lambda, one request at a time
        # `sam local` has no authorizer's context, and its callers are on this machine.
        self._behind_gateway = environ.get(variables.AUTH) == "gateway" and not environ.get("AWS_SAM_LOCAL")
        self._cold = not self._concurrency  # on Managed Instances no request waits for the start
        logs.configure()
        self._tracing = Tracing(environ)
        per_model = environ.get(variables.MODEL_METRICS, "true").lower() == "true"
        self._metrics = Metrics(environ.get(variables.STACK, "local"), per_model=per_model)
        self._otel = open_telemetry(environ)
        self.engine = ReloadingEngine(
            self._reader(),
            self._engine,
            ttl_s=float(environ.get(variables.CONFIG_TTL_S, TTL_S)),
            report=lambda failed, age_s: self._metrics.config(failed=failed, age_s=age_s),
        )
        # API Gateway has checked the key. Locally, where it does not, EMERGE_API_KEYS may.
        keys = [] if environ.get(variables.AUTH) == "gateway" else read_api_keys(environ)
        origins = read_origins(environ.get(variables.CORS_ORIGINS, ""))
        self._allows_preflight = bool(origins)
        details = {
            "build": _build_id(),
            "response_mode": "stream" if self.streams else "buffered",
            "compute": "managed" if self._concurrency else "lambda",
        }
        self._app = create_app(
            self.engine,
            api_keys=keys,
            cors_origins=origins,
            details=lambda: self._status(details),
        )
        if self._otel:
            self._app.add_middleware(TraceContextMiddleware, begin=self._otel.begin)

    def enter(self, event: Any, context: Any) -> None:
        """Opens an invocation in the current context: its deadline and its log keys."""
        request = mapping(mapping(event).get("requestContext"))
        left_s = self._left_s(request.get("requestTimeEpoch"), context)
        trace = _trace_of(context)
        _invocation.set(Invocation(deadline=time.perf_counter() + left_s, subsegment=self._tracing.begin(trace)))
        logs.set_keys(
            function_request_id=getattr(context, "aws_request_id", None),
            gateway_request_id=request_id_of(event),
            key_id=key_id_of(event),
            cold_start=self._cold,
            xray_trace_id=trace.partition(";")[0].removeprefix("Root=") if trace else None,
        )
        self._cold = False

    async def warm(self) -> None:
        """Before the first request, if nobody waits yet: reads the config and loads what requests to it need."""
        await self.engine.begin()
        with suppress(ConfigError):  # it is logged, and read again at the first request
            preload(self.engine.config)

    async def begin(self) -> None:
        """Before the request: starts a refresh of the config if one is due, and waits for a first config."""
        await self.engine.begin(_invocation.get().left_s)

    async def end(self) -> None:
        """After the request: waits for the refresh, as long as the invocation has time. On Managed Instances nothing
        waits: the environment is not frozen between requests, and a slow source would hold every worker up."""
        invocation = _invocation.get()
        try:
            await self.engine.end(0.0 if self._concurrency else invocation.left_s)
        finally:
            self._tracing.end(invocation.subsegment)
            if self._otel and not self._concurrency:  # before the environment is frozen
                await asyncio.to_thread(self._otel.flush, min(FLUSH_S, invocation.left_s))

    async def close(self) -> None:
        """After the last request: sends what telemetry is left."""
        if self._otel:
            await asyncio.to_thread(self._otel.flush, FLUSH_S)

    @asynccontextmanager
    async def invocation(self, event: Any, context: Any) -> AsyncIterator[None]:
        self.enter(event, context)
        await self.begin()
        try:
            yield
        finally:
            await self.end()

    async def application(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI app. A request that ends in an error before the engine runs is logged and counted here."""
        invocation = _invocation.get()
        refusal = refusal_of(
            scope["aws.event"], authorized_only=self._behind_gateway, allows_preflight=self._allows_preflight
        )
        reply = _ErrorReply(send)
        began = time.perf_counter()
        try:
            if refusal:
                await _refuse(refusal, scope, reply)
            else:
                await self._app({**scope, "emerge.deadline": invocation.deadline}, receive, reply)
        finally:
            is_open = scope["path"].endswith(HEALTH) or (self._allows_preflight and scope["method"] == "OPTIONS")
            if reply.status and not invocation.recorded and not is_open:
                self._refused(reply, refusal, (time.perf_counter() - began) * 1000)

    def _refused(self, reply: _ErrorReply, refusal: Refusal | None, latency_ms: float) -> None:
        log = logging.getLogger("emerge")
        if refusal and not refusal.is_request:
            log.info("event ignored", extra={"reason": refusal.message})
            return
        fields = {
            "request_id": reply.request_id,
            "status": reply.status,
            "error": reply.code,
            "calls": 0,
            "latency_ms": round(latency_ms, 1),
            "cost_usd": 0.0,
        }
        log.info("request", extra=fields)
        self._metrics.refused()

    def _left_s(self, since_ms: Any, context: Any) -> float:
        """What init and queueing took is gone from the gateway's time, though not from Lambda's."""
        left: list[float] = [min(context.get_remaining_time_in_millis() / 1000, LONGEST_S)]
        if not self.streams and isinstance(since_ms, (int, float)) and math.isfinite(since_ms):
            age_s = time.time() - since_ms / 1000
            if age_s <= BELIEVED_AGE_S:
                left.append(GATEWAY_S - max(age_s, 0.0))
        return max(min(left) - MARGIN_S, 0.0)

    def _reader(self) -> Any:
        reference = self._environ.get(variables.CONFIG, "").strip()
        default = self._environ.get(variables.DEFAULT_CONFIG)
        if reference.startswith("ssm:"):
            return AwsSource(reference.removeprefix("ssm:"), default=Path(default) if default else None).read

        def read() -> Snapshot:
            if not reference and not default:
                raise ConfigError(f"{variables.CONFIG} is not set: give ssm:/name, or a file")
            config, source = find_config(reference or default, self._environ)
            return Snapshot(config=config, version="file", source=source)

        return read

    def _engine(self, found: Snapshot) -> Engine:
        config = found.config
        lines = Lines(content=config.log_content and config.trace == "full")
        export = self._otel.recorder(config) if self._otel else None

        def record(request: ChatRequest, trace: Trace) -> None:
            invocation = _invocation.get()
            invocation.recorded = True
            lines(request, trace)
            self._metrics.request(trace, ensembles=config.ensembles)
            if invocation.subsegment:
                invocation.subsegment.describe(trace)
            if export:
                export(request, trace)

        return Engine(config, keys=found.key, record=record)

    def _status(self, details: Mapping[str, Any]) -> dict[str, Any]:
        return {**details, "config": self.engine.status()}


class _ErrorReply:
    """Passes messages on, and keeps what an error reply says of itself."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0  # of an error reply
        self.request_id: str | None = None
        self.code: str | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400:
            self.status = message["status"]
            headers = dict(message.get("headers", ()))
            self.request_id = headers.get(b"x-request-id", b"").decode("latin-1") or None
        elif self.status and self.code is None and len(body := message.get("body", b"")) <= ERROR_BODY:
            self.code = _code(body)
        await self._send(message)


def _code(body: bytes) -> str | None:
    try:
        error = json.loads(body)["error"]
        found = error.get("code") or error.get("type")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return found if isinstance(found, str) else None


async def _refuse(refusal: Refusal, scope: Scope, send: _ErrorReply) -> None:
    body = refusal.body
    request_id = request_id_of(scope["aws.event"])
    headers = [(b"content-type", b"application/json"), (b"x-should-retry", b"false")]
    if request_id:
        headers.append((b"x-request-id", re.sub(r"[^!-~]", "?", request_id).encode()))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _trace_of(context: Any) -> str | None:
    """The X-Ray trace header of an invocation. The managed runtime sets it as a variable of the process, which has
    one invocation at a time."""
    return getattr(context, "trace_id", None) or os.environ.get("_X_AMZN_TRACE_ID")


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
