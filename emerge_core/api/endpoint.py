"""What an answering endpoint does, whichever of OpenAI's forms it speaks: read, run, answer.

Chat completions and responses are two forms of one request: both come down to a `ChatRequest`, one
run of the engine, and a trace.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from time import perf_counter
from typing import Any, Generic, Protocol, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from emerge_core.api.chat.parse import read, read_limits
from emerge_core.api.client_watch import ClientGoneError, Work, attended
from emerge_core.api.errors import INTERNAL, error_response, invalid
from emerge_core.api.fields import Body, one_of
from emerge_core.api.limits import MAX_BODY, too_large
from emerge_core.api.trace_object import TraceLevel, emerge_object, headers_of
from emerge_core.config import ensemble_of
from emerge_core.config.schema import Config
from emerge_core.engine.engine import Limits
from emerge_core.errors import CLIENT_LEFT, RequestError
from emerge_core.types import ChatRequest, Decision, EmbeddingRequest, Sink, Trace

_MAX_DRAINED = 4 * MAX_BODY
_LEVELS: dict[str, TraceLevel] = {"off": "off", "summary": "summary", "full": "full"}


class Engine(Protocol):
    """What the API needs of the engine."""

    @property
    def config(self) -> Config: ...

    async def run(
        self,
        request: ChatRequest,
        name: str,
        *,
        limits: Limits | None = None,
        request_id: str | None = None,
        live: Sink | None = None,
    ) -> Trace: ...

    async def embed(
        self, request: EmbeddingRequest, name: str, *, limits: Limits | None = None, request_id: str | None = None
    ) -> tuple[Trace, list[list[float]]]: ...

    def breakers(self) -> Mapping[str, Any]: ...

    async def aclose(self) -> None: ...


class Question(Protocol):
    """A body that was read: of whom, what, and whether the answer is to be streamed."""

    @property
    def model(self) -> str: ...
    @property
    def request(self) -> ChatRequest: ...
    @property
    def stream(self) -> bool: ...


QuestionT = TypeVar("QuestionT", bound=Question)


class Endpoint(ABC, Generic[QuestionT]):
    """An endpoint, bound to its engine. A form of the API says how to read, to reply and to stream."""

    def __init__(self, engine: Engine, *, keepalive_s: float) -> None:
        self.engine = engine
        self.keepalive_s = keepalive_s

    @abstractmethod
    def read(self, body: Body) -> QuestionT:
        """Raises RequestError, a 400 with `param`, at the first fault."""

    @abstractmethod
    def reply(self, trace: Trace, decision: Decision, asked: QuestionT, level: TraceLevel) -> Response: ...

    @abstractmethod
    def stream(self, work: Work, asked: QuestionT, level: TraceLevel, headers: Mapping[str, str]) -> Response: ...

    async def __call__(self, http: Request) -> Response:
        check_content_type(http)
        asked = await read(await read_body(http), self.read)
        limits = limits_of(http)
        config = self.engine.config
        level = trace_level(http, config)
        _check_panel(config, asked.model, asked.request.n)

        async def work(live: Sink | None) -> Trace:
            request_id = http.scope["state"]["request_id"]
            return await self.engine.run(asked.request, asked.model, limits=limits, request_id=request_id, live=live)

        if asked.stream:
            return self.stream(work, asked, level, {"x-emerge-ensemble": asked.model})
        return await answered(work, http, level, lambda trace, decision: self.reply(trace, decision, asked, level))


async def answered(
    work: Work, http: Request, level: TraceLevel, reply: Callable[[Trace, Decision], Response]
) -> Response:
    """The whole reply, once the work is done; the work is cancelled when the client leaves."""
    try:
        async with attended(work(None), http.receive) as running:
            await running.done()
            trace = running.result()
    except ClientGoneError:
        return Response(status_code=CLIENT_LEFT)  # nobody reads it; access logs show why there is no reply
    if trace.decision is None:
        emerge = emerge_object(trace, level)
        return error_response(trace.failure or INTERNAL, emerge=emerge, headers=headers_of(trace))
    return reply(trace, trace.decision)


def unknown_model(config: Config, name: str) -> RequestError:
    known = [*config.ensembles, *(model for model in config.models if model not in config.ensembles)]
    more = f" and {len(known) - 50} more" if len(known) > 50 else ""
    return RequestError(
        f"The model `{name[:200]}` does not exist. Known: {', '.join(known[:50])}{more}.",
        status=404,
        param="model",
        code="model_not_found",
    )


async def read_body(http: Request) -> bytes:
    """The whole body. One that is too large is still read (to a point), else clients that write it
    all before they listen would see a broken connection instead of the 413."""
    parts: list[bytes] = []
    size = 0
    async for part in http.stream():
        size += len(part)
        if size <= MAX_BODY:
            parts.append(part)
        elif size > _MAX_DRAINED:
            break
    if size > MAX_BODY:
        raise too_large()
    return b"".join(parts)


def limits_of(http: Request) -> Limits:
    """The caller's ceilings, within the time that whoever runs this server has left (on `perf_counter`'s clock)."""
    limits = read_limits(http.headers)
    deadline = http.scope.get("emerge.deadline")
    if deadline is None:
        return limits
    left_s = max(deadline - perf_counter(), 0.001)
    return replace(limits, deadline_s=min(limits.deadline_s or left_s, left_s))


def _check_panel(config: Config, name: str, n: int) -> None:
    """What can be refused before anything is billed."""
    ensemble = ensemble_of(config, name)
    if ensemble is None:
        raise unknown_model(config, name)
    members = len(ensemble.members)
    if n > members:
        raise invalid("n", f"`n` is {n}, but `{name}` has {members} member(s), and each gives one choice: lower it.")


def trace_level(http: Request, config: Config) -> TraceLevel:
    asked = http.headers.get("x-emerge-trace")
    if asked is None:
        return config.trace
    return _LEVELS[one_of(asked.strip().lower(), _LEVELS, "x-emerge-trace")]


def check_content_type(http: Request) -> None:
    """JSON, or nothing said, or a form's type, which curl -d sends. Not from a browser: there, without a
    preflight, any web page could spend this server's money by a form."""
    kind = http.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        return
    if kind not in ("", "application/x-www-form-urlencoded") or "origin" in http.headers:
        raise RequestError(
            f"The content type is {kind[:80] or 'missing'}: send JSON, as application/json.",
            status=415,
            param="content-type",
            code="unsupported_content_type",
            should_retry=False,
        )
