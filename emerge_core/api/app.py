"""The OpenAI surface as a FastAPI application.

Endpoints are plain functions of a request that return finished bytes: bodies are checked by `parse`,
so that every error is OpenAI's shape, and nothing is validated twice.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from emerge_core.api.auth import Keyring
from emerge_core.api.chat.endpoint import Chat
from emerge_core.api.embeddings.endpoint import EmbeddingsEndpoint
from emerge_core.api.endpoint import Engine, unknown_model
from emerge_core.api.errors import as_request_error, error_response, json_response
from emerge_core.api.middleware import Surface
from emerge_core.api.openapi.document import document
from emerge_core.api.responses import Responses
from emerge_core.config.schema import Config, EmbedderConfig, ModelConfig
from emerge_core.errors import ConfigError, EmergeError, RequestError

_NOT_SERVED = {
    "/v1/completions": "Legacy completions are not served: use POST /v1/chat/completions.",
}


def create_app(
    engine: Engine,
    *,
    api_keys: Sequence[str] = (),
    keepalive_s: float = 10.0,
    details: Callable[[], Mapping[str, Any]] = dict,
) -> FastAPI:
    """The application. With `api_keys`, every route but /healthz wants one of them. The engine is
    closed at shutdown. `details` is what /v1/emerge/status says beside what serves."""
    started = int(time.time())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await engine.aclose()

    async def list_models(_: Request) -> Response:
        models = [_model_json(name, owner, started) for name, owner in _models(engine.config).items()]
        return json_response({"object": "list", "data": models})

    async def get_model(request: Request) -> Response:
        config, name = engine.config, request.path_params["id"]
        owner = _models(config).get(name)
        if owner is None:
            raise unknown_model(config, name)
        return json_response(_model_json(name, owner, started))

    def serving() -> Config | None:
        try:
            return engine.config
        except ConfigError:
            return None

    async def healthz(_: Request) -> Response:
        config = serving()
        healthy = config is not None and bool(config.models)
        return json_response({"status": "ok" if healthy else "degraded"}, status=200 if healthy else 503)

    async def status(_: Request) -> Response:
        config = serving()
        served: dict[str, Any] = {}
        if config:
            served = {kind: list(getattr(config, kind)) for kind in ("ensembles", "models", "embedders")}
            served["breakers"] = engine.breakers()
        return json_response({"status": "ok" if config else "degraded", **served, **details()})

    app = FastAPI(title="emerge", docs_url=None, redoc_url=None, lifespan=lifespan)
    app.openapi = document  # type: ignore[method-assign]  # served at /openapi.json
    app.router.redirect_slashes = False
    app.add_route("/v1/chat/completions", _posted(Chat(engine, keepalive_s=keepalive_s)), methods=["POST"])
    app.add_route("/v1/responses", _posted(Responses(engine, keepalive_s=keepalive_s)), methods=["POST"])
    app.add_route("/v1/embeddings", _posted(EmbeddingsEndpoint(engine)), methods=["POST"])
    app.add_route("/v1/models", list_models, methods=["GET"])
    app.add_route("/v1/models/{id:path}", get_model, methods=["GET"])
    app.add_route("/v1/emerge/status", status, methods=["GET"])
    app.add_route("/healthz", healthz, methods=["GET"])
    app.add_exception_handler(EmergeError, _on_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_middleware(Surface, keyring=Keyring(api_keys))
    return app


def _posted(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """The router takes functions for endpoints, and other callables for whole applications."""

    async def post(request: Request) -> Response:
        return await endpoint(request)

    return post


def _models(config: Config) -> dict[str, str]:
    """Every name that `model` may be, with its owner: ensembles first, embedders last."""
    owners = dict.fromkeys(config.ensembles, "emerge")
    named: dict[str, ModelConfig | EmbedderConfig] = {**config.embedders, **config.models}
    for name in (*config.models, *config.embedders):
        owners.setdefault(name, named[name].provider)
    return owners


def _model_json(name: str, owner: str, created: int) -> dict[str, object]:
    return {"id": name, "object": "model", "created": created, "owned_by": owner}


async def _on_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, EmergeError)  # noqa: S101  (what it is registered for)
    return error_response(as_request_error(error))


async def _on_http_error(request: Request, error: Exception) -> Response:
    """The router's own: unknown path, wrong method."""
    assert isinstance(error, HTTPException)  # noqa: S101  (what it is registered for)
    path, method = request.url.path, request.method
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        message = f"{method} is not allowed on {path}: use {allowed}."
        code = "method_not_allowed"
    else:
        hint = "Paths start with /v1, for example POST /v1/chat/completions."
        stored = "Responses are not stored here." if path.startswith("/v1/responses/") else None
        message = stored or _NOT_SERVED.get(path) or f"There is no {method} {path[:200]}. {hint}"
        code = "unknown_url"
    return error_response(
        RequestError(message, status=error.status_code, code=code, should_retry=False), headers=error.headers
    )
