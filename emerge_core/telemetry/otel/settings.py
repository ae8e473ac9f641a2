"""Whether to export, by OpenTelemetry's own environment variables."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from emerge_core.telemetry.otel.exporter import OpenTelemetry

log = logging.getLogger("emerge")

_ENDPOINT = "OTEL_EXPORTER_OTLP_{}ENDPOINT"
_PROTOCOLS = ("", "http/protobuf")


class Exports(NamedTuple):
    """The signals to export."""

    traces: bool
    metrics: bool


def exports(environ: Mapping[str, str]) -> Exports:
    """A signal is exported if a variable names an endpoint for it or says `otlp`, and none switches it off."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return Exports(False, False)

    def wanted(signal: str) -> bool:
        named = environ.get(f"OTEL_{signal}_EXPORTER", "").strip().lower()
        if named:
            return "otlp" in named.split(",")
        return any(environ.get(_ENDPOINT.format(each), "").strip() for each in ("", f"{signal}_"))

    return Exports(traces=wanted("TRACES"), metrics=wanted("METRICS"))


def open_telemetry(environ: Mapping[str, str]) -> OpenTelemetry | None:
    """The exporter that the environment asks for, or None. A package that is missing is a warning: requests are
    answered all the same."""
    asked = exports(environ)
    if not any(asked):
        return None
    for name in ("", "TRACES_", "METRICS_"):
        protocol = environ.get(f"OTEL_EXPORTER_OTLP_{name}PROTOCOL", "").strip()
        if protocol not in _PROTOCOLS:
            log.warning("OTLP is exported as http/protobuf, not as %s", protocol[:40])
    try:
        from emerge_core.telemetry.otel.exporter import OpenTelemetry
    except ImportError as error:
        log.warning("nothing is exported: %s is not installed (pip install 'emerge-llm[otel]')", error.name)
        return None
    return OpenTelemetry(traces=asked.traces, metrics=asked.metrics)
