"""GET /v1/models and /v1/models/{id}: every name that a client may put in `model`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from emerge_core.api.endpoint import Engine, unknown_model
from emerge_core.api.errors import json_response
from emerge_core.config import resolve_name
from emerge_core.config.schema import Config, EmbedderConfig, ModelConfig
from emerge_core.errors import RequestError

_ANTHROPIC = "anthropic-version"  # the header by which Anthropic's clients are known


class ModelEndpoints:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._created = int(time.time())

    async def list_all(self, request: Request) -> Response:
        owners = _owners(self.engine.config)
        models = [self._model(name, owner) for name, owner in owners.items()]
        listed: dict[str, Any] = {"object": "list", "data": models}
        if _ANTHROPIC in request.headers:
            ends = {"first_id": models[0]["id"], "last_id": models[-1]["id"]} if models else {}
            listed = {"data": [_for_anthropic(model) for model in models], "has_more": False, **ends}
        return json_response(listed)

    async def retrieve(self, request: Request) -> Response:
        config, name = self.engine.config, request.path_params["id"]
        if not name:
            message = "The path names no model: GET /v1/models lists all, GET /v1/models/<name> describes one."
            raise RequestError(message, status=404, param="model", code="model_not_found")
        owner = _owners(config).get(name)
        if owner is None and resolve_name(config, name) is not None:
            owner = "emerge"  # a name that an alias with `*` stands for
        if owner is None:
            raise unknown_model(config, name)
        model = self._model(name, owner)
        return json_response(_for_anthropic(model) if _ANTHROPIC in request.headers else model)

    def _model(self, name: str, owner: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._created, "owned_by": owner}


def _owners(config: Config) -> dict[str, str]:
    """The names with their owners: ensembles first, embedders last. An alias with `*` is no name."""
    owners = dict.fromkeys(config.ensembles, "emerge")
    named: dict[str, ModelConfig | EmbedderConfig] = {**config.embedders, **config.models}
    for name in (*config.models, *config.embedders):
        owners.setdefault(name, named[name].provider)
    for alias in config.aliases:
        if "*" not in alias:
            owners.setdefault(alias, "emerge")
    return owners


def _for_anthropic(model: dict[str, Any]) -> dict[str, Any]:
    created = datetime.fromtimestamp(model["created"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"type": "model", "id": model["id"], "display_name": model["id"], "created_at": created}
