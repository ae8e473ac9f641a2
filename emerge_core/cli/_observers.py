"""What records the requests of `emerge serve`: the log, OpenTelemetry, the console's history, Prometheus metrics."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from emerge_core.cli._warnings import all_warnings
from emerge_core.config import Config
from emerge_core.console import Console, History
from emerge_core.console.routes import FILES, Handler
from emerge_core.telemetry import Lines, Recorder
from emerge_core.types import ChatRequest, Trace

if TYPE_CHECKING:
    from emerge_core.engine.reload import ReloadingEngine
    from emerge_core.telemetry.otel.exporter import OpenTelemetry


class Observers:
    """What watches the requests of one process, over all the configs that it serves."""

    def __init__(self, *, console: bool, metrics: bool, exporter: OpenTelemetry | None = None) -> None:
        self._exporter = exporter
        self._history = History() if console else None
        self._prometheus = None
        if metrics:
            from emerge_core.telemetry.prometheus import Prometheus

            self._prometheus = Prometheus()

    @property
    def open_paths(self) -> frozenset[str]:
        return frozenset(FILES) if self._history else frozenset()

    def recorder(self, config: Config) -> Recorder:
        """What an engine of this config calls with every request that is over."""
        content = config.log_content and config.trace == "full"
        recorders: list[Recorder] = [Lines(content=content)]
        if self._exporter:
            recorders.append(self._exporter.recorder(config))
        if self._history:
            recorders.append(self._history.recorder(content=content))
        if self._prometheus:
            recorders.append(self._prometheus.recorder({*config.ensembles, *config.models, *config.embedders}))

        def record(request: ChatRequest, trace: Trace) -> None:
            for each in recorders:
                each(request, trace)

        return record

    def routes(
        self, engine: ReloadingEngine[Any], *, workers: int, tuning: Path | None
    ) -> list[tuple[str, str, Handler]]:
        """Path, method and handler of each route that the API has beside its own."""
        routes: list[tuple[str, str, Handler]] = []
        if self._history:
            console = Console(
                engine=engine,
                history=self._history,
                state=engine.status,
                warnings=lambda config: all_warnings(config, os.environ),
                workers=workers,
                tuning=tuning,
            )
            routes += console.routes
        if self._prometheus:
            routes.append(("/metrics", "GET", self._metrics(engine.breakers)))
        return routes

    def _metrics(self, breakers: Any) -> Handler:
        async def metrics(_: Request) -> Response:
            from emerge_core.telemetry.prometheus import CONTENT_TYPE, gauges

            found: Mapping[str, Mapping[str, object]] = breakers()
            text = (self._prometheus.text() if self._prometheus else "") + gauges(found)
            return Response(text, media_type=CONTENT_TYPE)

        return metrics
