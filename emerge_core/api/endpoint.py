"""What every answering endpoint does, whichever API it speaks: parse the body, run the engine, encode the trace."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from emerge_core.api.body import check_content_type, parse_body, receive_body
from emerge_core.api.client_watch import ClientGoneError, ServerStoppingError, Work, run_watched
from emerge_core.api.errors import INTERNAL, STOPPING, error_response, invalid
from emerge_core.api.fields import Body
from emerge_core.api.request_headers import limits_of, trace_level
from emerge_core.api.trace_object import TraceLevel, emerge_object, header_text, response_headers
from emerge_core.config.schema import Config
from emerge_core.engine.engine import Limits
from emerge_core.engine.token_count import TokenCount
from emerge_core.errors import CLIENT_LEFT, RequestError
from emerge_core.strategies.routing import serving
from emerge_core.types import ChatRequest, Decision, EmbeddingRequest, Progress, Sink, Trace


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
        progress: Progress | None = None,
    ) -> Trace: ...

    async def embed(
        self, request: EmbeddingRequest, name: str, *, limits: Limits | None = None, request_id: str | None = None
    ) -> tuple[Trace, list[list[float]]]: ...

    async def count_tokens(self, request: ChatRequest, name: str) -> TokenCount | None: ...

    def breakers(self) -> Mapping[str, Any]: ...

    def refusals(self) -> Sequence[Mapping[str, Any]]: ...

    async def aclose(self) -> None: ...


class Params(Protocol):
    """A parsed body: the name in `model`, the request, and whether to stream the reply."""

    @property
    def model(self) -> str: ...
    @property
    def request(self) -> ChatRequest: ...
    @property
    def stream(self) -> bool: ...


ParamsT = TypeVar("ParamsT", bound=Params)


class Endpoint(ABC, Generic[ParamsT]):
    """An endpoint, bound to its engine. Each surface says how to parse, to reply and to stream."""

    def __init__(self, engine: Engine, *, keepalive_s: float) -> None:
        self.engine = engine
        self.keepalive_s = keepalive_s

    @abstractmethod
    def parse(self, body: Body) -> ParamsT:
        """Raises RequestError, a 400 with `param`, at the first fault."""

    def prepare(self, params: ParamsT, http: Request) -> ParamsT:
        """The parameters with what the request's headers add to them."""
        return params

    @abstractmethod
    def reply(self, trace: Trace, decision: Decision, params: ParamsT, level: TraceLevel) -> Response: ...

    @abstractmethod
    def stream(self, work: Work, params: ParamsT, level: TraceLevel, headers: Mapping[str, str]) -> Response: ...

    async def __call__(self, http: Request) -> Response:
        check_content_type(http)
        params = self.prepare(await parse_body(await receive_body(http), self.parse), http)
        limits = limits_of(http)
        config = self.engine.config
        level = trace_level(http, config)
        check_panel(config, params.model, params.request)

        connection = http.scope.get("emerge.connection")

        async def work(live: Sink | None) -> Trace:
            return await self.engine.run(
                params.request,
                params.model,
                limits=limits,
                request_id=http.scope["state"]["request_id"],
                live=live,
                progress=connection.progress if connection else None,
            )

        if params.stream:
            return self.stream(work, params, level, {"x-emerge-ensemble": header_text(params.model)})
        return await respond(work, http, level, lambda trace, decision: self.reply(trace, decision, params, level))


async def respond(
    work: Work, http: Request, level: TraceLevel, reply: Callable[[Trace, Decision], Response]
) -> Response:
    """The whole reply, once the work is done. The work is cancelled if the client disconnects."""
    try:
        trace = await run_watched(work(None), http.scope, http.receive)
    except ClientGoneError:
        return Response(status_code=CLIENT_LEFT)  # never sent; access logs show why there is no reply
    except ServerStoppingError:
        return error_response(http.scope, STOPPING)
    if trace.decision is None:
        emerge = emerge_object(trace, level)
        return error_response(http.scope, trace.failure or INTERNAL, emerge=emerge, headers=response_headers(trace))
    return reply(trace, trace.decision)


def unknown_model(config: Config, name: str) -> RequestError:
    known = [*dict.fromkeys([*config.ensembles, *config.models, *config.aliases])]
    more = f" and {len(known) - 50} more" if len(known) > 50 else ""
    return RequestError(
        f"The model `{name[:200]}` does not exist. Known: {', '.join(known[:50])}{more}.",
        status=404,
        param="model",
        code="model_not_found",
    )


def check_panel(config: Config, name: str, request: ChatRequest) -> None:
    """Refuses an unknown model and too many choices before any upstream is billed."""
    served_by = serving(config, name, request)
    if served_by is None:
        raise unknown_model(config, name)
    members, n = len(served_by.ensemble.members), request.n
    if n > members:
        raise invalid("n", f"`n` is {n}, but `{name}` has {members} member(s), and each gives one choice: lower it.")
    if n > 1 and any(step.final == "abstain" for step in served_by.ensemble.escalate):
        raise invalid("n", f"`n` is {n}, but `{name}` may abstain, and gives one choice: lower it.")
