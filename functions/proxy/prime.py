"""Loads every module that a first request would otherwise wait for, before there is a request.

Done if no request waits for the start: in a snapshot (SnapStart), in provisioned environments and on Lambda
Managed Instances. On demand it would only make the first request wait longer: there, the config decides what is
loaded.

A rehearsal loads the modules: requests to every kind of provider, at a port on which nothing listens, so that this
file need not know who imports what. Config, secrets, clients, the event loop and randomness come after the
restore, in each copy of the snapshot anew.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from gateway import body_of, scope_of

from emerge_core.api import create_app
from emerge_core.config import parse_config
from emerge_core.engine.engine import Engine, preload
from emerge_core.provider_kinds import KINDS
from emerge_core.telemetry.otel import exports

KEPT_WARM = ("snap-start", "provisioned-concurrency", "lambda-managed-instances")  # of AWS_LAMBDA_INITIALIZATION_TYPE
MODULES = (  # of AWS, which the rehearsal does not reach
    "boto3",
    "botocore.endpoint",
    "botocore.signers",
)
REFUSING = "http://127.0.0.1:9"  # a port that refuses at once
MESSAGE = {"role": "user", "content": "What is 17 * 23?"}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
REQUESTS: tuple[dict[str, Any], ...] = (
    {"model": "prose", "messages": [MESSAGE]},
    {"model": "tools", "messages": [MESSAGE], "tools": [TOOL]},
)


def rehearsal_config() -> dict[str, Any]:
    """A model of every kind of provider, and two that answer without a network."""
    upstream = {name: kind for name, kind in KINDS.items() if not kind.in_process}
    simulated = ["simulated-1", "simulated-2"]
    return {
        "providers": {
            "simulated": {"kind": "simulated"},
            **{
                name: {"kind": name, "base_url": REFUSING + kind.base_path, "api_key": "env:NONE"}
                for name, kind in upstream.items()
            },
        },
        "models": {
            **{name: {"provider": "simulated", "model": name} for name in simulated},
            **{name: {"provider": name, "model": "any", "max_retries": 0} for name in upstream},
        },
        "ensembles": {
            "prose": {"members": [*upstream, *simulated], "aggregator": "consensus"},
            "tools": {"members": simulated},
        },
    }


def prime_for(kind: str | None) -> None:
    """Primes an environment of the given initialization type, if that is one of KEPT_WARM. A failure is logged and
    costs the first request its time, no more."""
    if kind not in KEPT_WARM:
        return
    try:
        prime()
    except Exception as error:
        fault = {"level": "ERROR", "message": "priming failed", "exception": type(error).__qualname__}
        sys.stdout.write(json.dumps(fault) + "\n")


def prime() -> None:
    """Call this last before the snapshot, outside any event loop."""
    for name in (*MODULES, *(name for kind in KINDS.values() for name in kind.priming)):
        import_module(name)
    if any(exports(os.environ)):
        import_module("emerge_core.telemetry.otel.exporter")
    asyncio.run(_rehearse())


async def _rehearse() -> None:
    config = parse_config(json.dumps(rehearsal_config()), source="rehearsal")
    preload(config)
    # With a key, a provider that signs by the function's role looks no credentials up: a snapshot holds none.
    engine = Engine(config, keys=lambda reference: "none", record=lambda request, trace: None)
    app = create_app(engine)
    for request in REQUESTS:
        event = {"httpMethod": "POST", "path": "/v1/chat/completions", "body": json.dumps(request)}
        messages = [{"type": "http.request", "body": body_of(event), "more_body": False}]

        async def receive(messages: list[dict[str, Any]] = messages) -> Mapping[str, Any]:
            return messages.pop() if messages else await asyncio.Future()

        async def send(message: Any) -> None:
            pass

        await app(scope_of(event), receive, send)  # type: ignore[arg-type]
    await engine.aclose()
