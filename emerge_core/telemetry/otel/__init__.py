"""OpenTelemetry: spans and metrics of requests by the GenAI semantic conventions, exported over OTLP.

Nothing of OpenTelemetry is imported unless the standard `OTEL_*` variables name a place to export to.
"""

from emerge_core.telemetry.otel.settings import exports, open_telemetry

__all__ = ["exports", "open_telemetry"]
