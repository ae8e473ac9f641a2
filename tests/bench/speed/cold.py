"""First requests of the built artifact, beside what one took while it held the providers' SDKs."""

from __future__ import annotations

import asyncio

from tests.bench.coldstart import ARTIFACT, first_request_ms, size_mb
from tests.bench.speed.table import Limit

WITH_SDKS_MS = 2500  # processor time of the first request on demand, measured in the same way
PANEL = "OpenAI, Anthropic, Ollama"
STARTS = {
    "on demand": (0.4, {}),
    "provisioned": (0.1, {"kind": "provisioned-concurrency"}),
    "provisioned, in stream mode": (0.1, {"kind": "provisioned-concurrency", "mode": "stream"}),
}


def measure_cold() -> list[Limit]:
    built = (ARTIFACT / "app.py").exists()
    if not built:
        print("Cold starts are left out: `make build` makes the artifact.")
    limits = []
    for start, (share, options) in STARTS.items():
        measured = asyncio.run(first_request_ms(ARTIFACT, PANEL, **options)) / WITH_SDKS_MS if built else None
        limits.append(Limit(f"first request {start}, of that with SDKs", measured, at_most=share, unit=" ×"))
    limits.append(Limit("the artifact, unzipped", size_mb(ARTIFACT) if built else None, at_most=95, unit=" MB"))
    return limits
