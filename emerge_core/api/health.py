"""The answer to a health check: whether there is a config with models, and nothing more, since it needs no key."""

from __future__ import annotations

from typing import Protocol

from starlette.responses import Response

from emerge_core.api.errors import json_response
from emerge_core.config.schema import Config
from emerge_core.errors import ConfigError


class HasConfig(Protocol):
    @property
    def config(self) -> Config:
        """Raises ConfigError if there is none."""
        ...


def health(engine: HasConfig) -> Response:
    try:
        healthy = bool(engine.config.models)
    except ConfigError:
        healthy = False
    return json_response({"status": "ok" if healthy else "degraded"}, status=200 if healthy else 503)
