"""GET /v1/models and /v1/models/{id}: every name that a client may put in `model`."""

from __future__ import annotations

import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from emerge_core.api.endpoint import Engine, unknown_model
from emerge_core.api.errors import json_response
from emerge_core.config.schema import Config, EmbedderConfig, ModelConfig
from emerge_core.errors import RequestError


class ModelEndpoints:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._created = int(time.time())

    async def list_all(self, _: Request) -> Response:
        owners = _owners(self.engine.config)
        return json_response({"object": "list", "data": [self._model(name, owner) for name, owner in owners.items()]})

    async def retrieve(self, request: Request) -> Response:
        config, name = self.engine.config, request.path_params["id"]
        if not name:
            message = "The path names no model: GET /v1/models lists all, GET /v1/models/<name> describes one."
            raise RequestError(message, status=404, param="model", code="model_not_found")
        owner = _owners(config).get(name)
        if owner is None:
            raise unknown_model(config, name)
        return json_response(self._model(name, owner))

    def _model(self, name: str, owner: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._created, "owned_by": owner}


def _owners(config: Config) -> dict[str, str]:
    """The names with their owners: ensembles first, embedders last."""
    owners = dict.fromkeys(config.ensembles, "emerge")
    named: dict[str, ModelConfig | EmbedderConfig] = {**config.embedders, **config.models}
    for name in (*config.models, *config.embedders):
        owners.setdefault(name, named[name].provider)
    return owners
