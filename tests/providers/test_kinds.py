"""A kind of provider is one row of one table: everything else reads the row."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import pytest

from emerge_core.config import parse_config, warnings
from emerge_core.engine.engine import Engine, preload
from emerge_core.errors import ConfigError
from emerge_core.evals.compare.redirect import redirect
from emerge_core.pricing import list_price
from emerge_core.provider_kinds import KINDS, ProviderKind
from emerge_core.providers.protocol import Embeddings
from emerge_core.types import ChatRequest, Completion, EmbeddingRequest, Sink, Usage

CONFIG = """
providers: {here: {kind: parrot, seed: 7}}
models: {polly: {provider: here, model: polly-1}}
ensembles: {emerge: {members: [polly, polly, polly], aggregator: vote}}
"""


class Parrot:
    """Answers with what it was asked."""

    async def complete(self, model: str, request: ChatRequest, *, timeout_s: float) -> Completion:
        return Completion(text=request.last_user_text, finish_reason="stop", usage=Usage(input_tokens=1))

    async def stream(self, model: str, request: ChatRequest, *, timeout_s: float, emit: Sink) -> Completion:
        return await self.complete(model, request, timeout_s=timeout_s)

    async def embed(self, model: str, request: EmbeddingRequest, *, timeout_s: float) -> Embeddings:
        raise NotImplementedError

    async def aclose(self) -> None:
        pass


@pytest.fixture
def parrot(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(config: Any, *, api_key: str | None, models: Mapping[str, Any]) -> Parrot:
        return Parrot()

    module = ModuleType("parrot_adapter")
    vars(module)["make"] = make
    monkeypatch.setitem(sys.modules, "parrot_adapter", module)
    row = ProviderKind(
        module="parrot_adapter",
        key="required",
        embeddings=False,
        catalogue="openai",
        settings=frozenset(("seed",)),
        base_path="/squawk",
    )
    monkeypatch.setitem(KINDS, "parrot", row)


@pytest.mark.usefixtures("parrot")
def test_a_new_kind_answers_through_its_row_alone() -> None:
    config = parse_config(CONFIG, source="test")
    preload(config)

    async def main() -> str | None:
        engine = Engine(config)
        trace = await engine.run(ChatRequest(messages=({"role": "user", "content": "Hello"},)), "emerge")
        await engine.aclose()
        assert trace.decision is not None
        return trace.decision.message.text

    assert asyncio.run(main()) == "Hello"


@pytest.mark.usefixtures("parrot")
def test_the_config_is_checked_by_the_row() -> None:
    config = parse_config(CONFIG, source="test")
    assert "provider here has no api_key: its models will fail" in warnings(config, {})
    with pytest.raises(ConfigError, match="parrot has no embeddings"):
        parse_config(CONFIG + "embedders: {e: {provider: here, model: m}}", source="test")
    with pytest.raises(ConfigError, match=r"correlation .* is not used by a provider of kind parrot"):
        parse_config(CONFIG.replace("seed: 7", "correlation: 0.5"), source="test")
    with pytest.raises(ConfigError, match="did you mean `parrot`"):
        parse_config(CONFIG.replace("kind: parrot", "kind: parrott"), source="test")


@pytest.mark.usefixtures("parrot")
def test_price_and_replay_read_the_row() -> None:
    config = parse_config(CONFIG.replace("polly-1", "gpt-4o-mini"), source="test")
    assert list_price(config.models["polly"], config.providers["here"]) is not None
    assert redirect(config, "http://replay", {}).providers["here"].base_url == "http://replay/squawk"


def test_every_row_names_a_module_that_makes_a_provider() -> None:
    from emerge_core.providers import load_adapter

    for name in KINDS:
        assert callable(load_adapter(name).make)
