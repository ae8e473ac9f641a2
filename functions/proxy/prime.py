"""What a snapshot should hold: every module that a first request would otherwise wait for.

A rehearsal loads them: requests to every kind of provider, none of which is there, so that this file need
not know who imports what. For SnapStart alone; elsewhere the config that is found says what is loaded, which
is less: the SDK of a provider that no config names costs more than all the rest. Config, secrets, clients,
the event loop and randomness come after the restore, in each copy of the snapshot anew.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from gateway import body_of, scope_of

from emerge_core.api import create_app
from emerge_core.config import parse_config
from emerge_core.engine.engine import Engine, preload

MODULES = (  # of AWS, which the rehearsal does not reach
    "aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch",
    "boto3",
    "botocore.endpoint",
    "botocore.signers",
)
CONFIG = """
providers:
  openai: {kind: openai, base_url: "http://127.0.0.1:9/v1"}  # a port that refuses at once
  anthropic: {kind: anthropic, base_url: "http://127.0.0.1:9"}
  ollama: {kind: ollama, base_url: "http://127.0.0.1:9"}
  simulated: {kind: simulated}
models:
  openai: {provider: openai, model: gpt-4o-mini, max_retries: 0}
  anthropic: {provider: anthropic, model: claude-3-5-haiku-latest, max_retries: 0}
  ollama: {provider: ollama, model: any, max_retries: 0}
  simulated-1: {provider: simulated, model: simulated-1}
  simulated-2: {provider: simulated, model: simulated-2}
ensembles:
  prose: {members: [openai, anthropic, ollama, simulated-1, simulated-2], aggregator: consensus}
  tools: {members: [simulated-1, simulated-2]}
"""
MESSAGE = {"role": "user", "content": "What is 17 * 23?"}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
REQUESTS: tuple[dict[str, Any], ...] = (
    {"model": "prose", "messages": [MESSAGE]},
    {"model": "tools", "messages": [MESSAGE], "tools": [TOOL]},
)


def prime() -> None:
    """To be called last thing before the snapshot, outside any event loop."""
    for name in MODULES:
        import_module(name)
    asyncio.run(_rehearse())


async def _rehearse() -> None:
    config = parse_config(CONFIG, source="rehearsal")
    preload(config)
    engine = Engine(config, record=lambda request, trace: None)
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
