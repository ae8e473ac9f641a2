"""Engines whose panels fail as told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from emerge_core.config import parse_config
from emerge_core.engine.engine import Engine, Limits
from emerge_core.providers.anthropic import adapter as _anthropic  # noqa: F401  (which takes longer than the limits here)
from emerge_core.providers.ollama import adapter as _ollama  # noqa: F401
from emerge_core.providers.openai import adapter as _openai  # noqa: F401
from emerge_core.types import Call, ChatRequest, Trace
from tests.support.faults.upstream import BY_NAME, FaultyUpstream, faulty_upstream

QUESTION = ChatRequest(messages=({"role": "user", "content": "What is 6 times 7?"},))


@dataclass
class Faulty:
    """An engine of the ensemble `emerge`, and its upstream. Models are named `fault` or `fault:what it says`."""

    engine: Engine
    upstream: FaultyUpstream
    now: float = 1_000_000.0  # the breakers' wall clock

    async def ask(self, request: ChatRequest = QUESTION, name: str = "emerge", **limits: float) -> Trace:
        return await self.engine.run(request, name, limits=Limits(**limits))

    def calls(self, model: str) -> int:
        """How often the upstream was asked for it."""
        return self.upstream.calls[_wire_name(model)]

    @property
    def total(self) -> int:
        return sum(self.upstream.calls.values())


def _wire_name(model: str) -> str:
    fault, _, text = model.partition(":")
    return f"{fault}|{text or 'The answer is 42.'}"


def call_of(trace: Trace, model: str) -> Call:
    return next(call for call in trace.calls if call.model == model)


@asynccontextmanager
async def faulty(
    ensemble: dict[str, Any], *more: str, kind: Any = "openai", model: dict[str, Any] | None = None, **provider: Any
) -> AsyncIterator[Faulty]:
    """`more` are models beside the members; `model` and `provider` are what the config says of each."""
    async with faulty_upstream() as upstream:
        providers, models = {}, {}
        for name in dict.fromkeys([*ensemble["members"], *more]):
            fault = BY_NAME.get(name.partition(":")[0])
            does = fault.does if fault and fault.does in ("refuse", "ignore") else "answer"
            key = {"api_key": "env:BEDROCK_KEY"} if kind == "bedrock" else {}  # in place of a signature
            providers[does] = {"kind": kind, "base_url": upstream.url(kind, fault), "max_retries": 0, **key, **provider}
            price = {"input": 1, "output": 2}
            models[name] = {"provider": does, "model": _wire_name(name), "price": price, **(model or {})}
        panel = {"aggregator": "vote", "early_decision": False, "deadline_s": 10, **ensemble}
        config = {"providers": providers, "models": models, "ensembles": {"emerge": panel}}
        parsed = parse_config(json.dumps(config), source="test")
        made = Faulty(Engine(parsed, environ={"BEDROCK_KEY": "any"}, clock=lambda: made.now), upstream)
        try:
            yield made
        finally:
            await made.engine.aclose()
