"""The routes of the console. Their handlers import what they need when they are first called."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from emerge_core.config.schema import Config
from emerge_core.console.history import History

PAGE = Path(__file__).parent / "page"

# A browser opens the page without a key, so these need none: they hold the program alone. What it shows comes from the
# JSON routes, which require the key.
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/console/style.css": ("style.css", "text/css; charset=utf-8"),
    "/console/icon.svg": ("icon.svg", "image/svg+xml"),
    **{
        f"/console/{name}.js": (f"{name}.js", "text/javascript; charset=utf-8")
        for name in ("app", "ask", "ensembles", "examples", "panel", "requests", "server", "view", "words")
    },
}

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, kw_only=True)
class Console:
    """What the console shows: an engine and the history of its requests.

    `engine` has the interface of `Engine`. `state` returns which config serves, `warnings` those of a config.
    `tuning` is a file that `emerge tune --json` wrote.
    """

    engine: Any
    history: History
    state: Callable[[], Mapping[str, Any]] = dict
    warnings: Callable[[Config], Sequence[str]] = field(default=lambda config: ())
    workers: int = 1
    tuning: Path | None = None
    keepalive_s: float = 10.0

    @property
    def routes(self) -> list[tuple[str, str, Handler]]:
        """Path, method and handler of each."""
        return [
            *((path, "GET", _file) for path in FILES),
            ("/console/api/config", "GET", self._config),
            ("/console/api/requests", "GET", self._requests),
            ("/console/api/ask", "POST", self._ask),
        ]

    @property
    def open_paths(self) -> frozenset[str]:
        """The paths that need no key."""
        return frozenset(FILES)

    async def _config(self, _: Request) -> Response:
        from emerge_core.console.config_view import config_json, tuning_json

        config = self.engine.config
        body = config_json(config, warnings=self.warnings(config))
        return _json({**body, "state": dict(self.state()), "workers": self.workers, "tuning": tuning_json(self.tuning)})

    async def _requests(self, request: Request) -> Response:
        from emerge_core.console.history import entry_json

        after = request.query_params.get("after", "0")
        entries = self.history.since(int(after) if after.isdecimal() and len(after) < 16 else 0)
        return _json(
            {
                "process": self.history.process,
                "count": self.history.count,
                "entries": [entry_json(entry) for entry in entries],
                "breakers": self.engine.breakers(),
                "refusals": self.engine.refusals(),
            }
        )

    async def _ask(self, request: Request) -> Response:
        from emerge_core.console.ask import AskEndpoint

        return await AskEndpoint(self.engine, keepalive_s=self.keepalive_s)(request)


async def _file(request: Request) -> Response:
    name, media_type = FILES[request.url.path]
    return Response(_content(name), media_type=media_type, headers=HEADERS)


@lru_cache
def _content(name: str) -> bytes:
    return (PAGE / name).read_bytes()


def _json(body: Mapping[str, Any]) -> Response:
    from emerge_core.api.errors import json_response

    return json_response(body, headers={"cache-control": "no-store", "x-content-type-options": "nosniff"})
