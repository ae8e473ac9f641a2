"""X-Ray subsegments: one for each request, with searchable annotations and with the calls as metadata.

Written if `EMERGE_TRACING=true` and if aws-xray-sdk can be imported, from a layer for example: the artifact does
not contain it. As in the log, no prompt, answer or secret is in it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from emerge_core.config import variables
from emerge_core.types import Trace

log = logging.getLogger("emerge.tracing")

NAME = "## emerge"


class Tracing:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._tracer: Any = None
        self._begun = False
        if environ.get(variables.TRACING, "").lower() == "true":
            try:
                from aws_lambda_powertools import Tracer

                self._tracer = Tracer(service="emerge", auto_patch=False)
            except ImportError:
                log.warning("no X-Ray subsegments: aws-xray-sdk cannot be imported; add a layer that contains it")

    def begin(self) -> None:
        self._begun = self._tracer is not None and "_X_AMZN_TRACE_ID" in os.environ
        if self._begun:
            self._tracer.provider.begin_subsegment(NAME)

    def request(self, trace: Trace) -> None:
        if not self._begun:
            return
        decision = trace.decision
        annotations = {
            "ensemble": trace.name,
            "status": trace.failure.status if trace.failure else 200,
            "degraded": trace.degraded,
            "escalated": bool(decision and decision.escalated),
        }
        for name, value in annotations.items():
            self._tracer.put_annotation(name, value)
        calls = [
            {
                "model": call.model,
                "role": call.role,
                "status": call.status,
                "latency_ms": round(call.completion.latency_ms, 1),
            }
            for call in trace.calls
        ]
        self._tracer.put_metadata("calls", calls)

    def end(self) -> None:
        if self._begun:
            self._tracer.provider.end_subsegment()
