"""The HTTP API as a FastAPI application: its routes, and the errors that belong to no endpoint."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from emerge_core.api.admission import AdmissionMiddleware
from emerge_core.api.auth import Keyring
from emerge_core.api.chat import ChatEndpoint
from emerge_core.api.cors import CorsMiddleware
from emerge_core.api.embeddings import EmbeddingsEndpoint
from emerge_core.api.endpoint import Engine
from emerge_core.api.errors import as_request_error, error_response, json_response
from emerge_core.api.health import health
from emerge_core.api.hosts import HostCheck
from emerge_core.api.messages import CountTokensEndpoint, MessagesEndpoint
from emerge_core.api.middleware import RequestMiddleware
from emerge_core.api.models import ModelEndpoints
from emerge_core.api.openapi import document
from emerge_core.api.responses import ResponsesEndpoint
from emerge_core.config.schema import Config
from emerge_core.errors import ConfigError, EmergeError, RequestError

Handler = Callable[[Request], Awaitable[Response]]

_NO_TELEMETRY = {"tracing": False, "metrics": False, "logs": False}  # FastAPI's own; ours is in the engine

_NOT_SERVED = {
    "/v1/completions": "Legacy completions are not served: use POST /v1/chat/completions.",
}


def create_app(
    engine: Engine,
    *,
    api_keys: Sequence[str] = (),
    keepalive_s: float = 10.0,
    details: Callable[[], Mapping[str, Any]] = dict,
    allowed_hosts: Sequence[str] | None = None,
    cors_origins: Sequence[str] = (),
    max_requests: int | None = None,
    more_routes: Iterable[tuple[str, str, Handler]] = (),
    open_paths: Collection[str] = (),
) -> FastAPI:
    """The application, which closes the engine at its shutdown.

    If there are `api_keys`, every route but /healthz requires one of them. `details` returns fields that
    /v1/emerge/status shows beside those of the engine. `keepalive_s` is the longest silence of a stream. Hosts other
    than loopback and `allowed_hosts` are refused, unless it is None. Web pages of `cors_origins` may call the API.
    Beyond `max_requests` at once, requests are refused as overloaded, except for /healthz.
    `more_routes` (path, method, handler) are served beside the API and come before its own; `open_paths` need no key.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await engine.aclose()

    def config() -> Config | None:
        try:
            return engine.config
        except ConfigError:
            return None

    async def healthz(_: Request) -> Response:
        return health(engine)

    async def root(request: Request) -> Response:
        """HEAD alone: coding agents send it to see whether the server is there."""
        if request.method != "HEAD":
            raise HTTPException(404)
        return Response()

    async def status(_: Request) -> Response:
        serving = config()
        state: dict[str, Any] = {}
        if serving:
            state = {kind: list(getattr(serving, kind)) for kind in ("ensembles", "models", "embedders")}
            state["breakers"] = engine.breakers()
            state["refusals"] = engine.refusals()
            state["refused_params"] = _names_of(state["refusals"])
        return json_response({"status": "ok" if serving else "degraded", **state, **details()})

    answering: dict[str, Handler] = {
        "/v1/chat/completions": ChatEndpoint(engine, keepalive_s=keepalive_s),
        "/v1/responses": ResponsesEndpoint(engine, keepalive_s=keepalive_s),
        "/v1/messages": MessagesEndpoint(engine, keepalive_s=keepalive_s),
        "/v1/messages/count_tokens": CountTokensEndpoint(engine),
        "/v1/embeddings": EmbeddingsEndpoint(engine),
    }
    hosts = None if allowed_hosts is None else HostCheck(allowed_hosts)
    keyring = Keyring(api_keys)

    def stack(router: ASGIApp) -> ASGIApp:
        inner = AdmissionMiddleware(_PostRoutes(answering, router), most=max_requests)
        checked = RequestMiddleware(inner, keyring=keyring, hosts=hosts, open_paths=open_paths)
        return CorsMiddleware(checked, origins=cors_origins)

    app = _Application(stack, title="emerge", docs_url=None, redoc_url=None, lifespan=lifespan, telemetry=_NO_TELEMETRY)
    app.openapi = document  # type: ignore[method-assign]  # served at /openapi.json
    app.router.redirect_slashes = False
    models = ModelEndpoints(engine)
    routes: list[tuple[str, str, Handler]] = [
        *more_routes,
        *((path, "POST", endpoint) for path, endpoint in answering.items()),
        ("/v1/models", "GET", models.list_all),
        ("/v1/models/{id:path}", "GET", models.retrieve),
        ("/v1/emerge/status", "GET", status),
        ("/healthz", "GET", healthz),
        ("/", "GET", root),
    ]
    for path, method, endpoint in routes:
        app.add_route(path, _as_function(endpoint), methods=[method])
    return app


class _Application(FastAPI):
    """FastAPI with a stack of our own around its router. Its default one has layers that no route here uses (form
    files, tracing, an error page), and every request would pay for them."""

    def __init__(self, stack: Callable[[ASGIApp], ASGIApp], **options: Any) -> None:
        super().__init__(**options)
        self._stack = stack

    def build_middleware_stack(self) -> ASGIApp:
        handlers = {EmergeError: _on_error, HTTPException: _on_http_error}
        app = self._stack(ExceptionMiddleware(self.router, handlers=handlers))
        for middleware, args, kwargs in reversed(self.user_middleware):
            app = middleware(app, *args, **kwargs)
        return app


class _PostRoutes:
    """Takes the requests that ask for answers straight to their endpoints, and leaves every other one to the router."""

    def __init__(self, endpoints: Mapping[str, Handler], router: ASGIApp) -> None:
        self._endpoints = endpoints
        self._router = router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get(scope["path"]) if scope["type"] == "http" else None
        if endpoint is None or scope["method"] != "POST":
            await self._router(scope, receive, send)
            return
        request = Request(scope, receive, send)
        try:
            response = await endpoint(request)
        except EmergeError as error:
            response = await _on_error(request, error)
        await response(scope, receive, send)


def _as_function(endpoint: Handler) -> Handler:
    """The router takes a function as an endpoint, and any other callable as a whole application."""

    async def handle(request: Request) -> Response:
        return await endpoint(request)

    return handle


def _names_of(refusals: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, list[str]]]:
    """The refused parameters by provider and model."""
    names: dict[str, dict[str, list[str]]] = {}
    for each in refusals:
        names.setdefault(each["provider"], {}).setdefault(each["model"], []).append(each["param"])
    return names


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, EmergeError)  # noqa: S101  (what it is registered for)
    return error_response(request.scope, as_request_error(error))


async def _on_http_error(request: Request, error: Exception) -> Response:
    """The router's own errors: unknown path, wrong method."""
    assert isinstance(error, HTTPException)  # noqa: S101  (what it is registered for)
    path, method = request.url.path, request.method
    if path == "/v1/responses" and method == "GET" and "upgrade" in request.headers:
        refused = RequestError(
            "Responses are not served over WebSocket: send POST /v1/responses.",
            status=426,
            code="upgrade_required",
            should_retry=False,
        )
        return error_response(request.scope, refused, headers={"upgrade": "HTTP/1.1", "connection": "upgrade"})
    headers = dict(error.headers or {})
    if error.status_code == 405:
        allowed = ", ".join(sorted(headers.get("Allow", "").split(", ")))  # its order differs between processes
        headers["Allow"] = allowed
        message = f"{method} is not allowed on {path}: use {allowed}."
        code = "method_not_allowed"
    else:
        hint = "Paths start with /v1, for example POST /v1/chat/completions."
        stored = "Responses are not stored here." if path.startswith("/v1/responses/") else None
        message = stored or _NOT_SERVED.get(path) or f"There is no {method} {path[:200]}. {hint}"
        code = "unknown_url"
    return error_response(
        request.scope,
        RequestError(message, status=error.status_code, code=code, should_retry=False),
        headers=headers,
    )
