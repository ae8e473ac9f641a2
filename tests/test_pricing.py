"""Sums worked out by hand, from list prices of models whose price will not change any more."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from emerge_core import pricing
from emerge_core.config import EmbedderConfig, ModelConfig, PriceConfig, ProviderConfig, default_config
from emerge_core.pricing import ListPrice, estimate_input_tokens, list_price, price
from emerge_core.types import ChatRequest, Cost, Usage

OPENAI = ProviderConfig(kind="openai")
ANTHROPIC = ProviderConfig(kind="anthropic")


def model(name: str, **price_usd: float) -> ModelConfig:
    return ModelConfig(provider="p", model=name, price=PriceConfig(**price_usd) if price_usd else None)


def usage(input_tokens: int, output_tokens: int = 0, **parts: int) -> Usage:
    return Usage(input_tokens=input_tokens, output_tokens=output_tokens, **parts)


@pytest.mark.parametrize(
    ("provider", "name", "used", "usd"),
    [
        # gpt-4o-mini: 0.15 in, 0.60 out, 0.075 cached
        (OPENAI, "gpt-4o-mini", usage(1_000_000), 0.15),
        (OPENAI, "gpt-4o-mini", usage(0, 1_000_000), 0.60),
        (OPENAI, "gpt-4o-mini", usage(1000, 500), 0.00015 + 0.0003),
        (OPENAI, "gpt-4o-mini", usage(1000, 500, cached_tokens=400), 600 * 0.15e-6 + 400 * 0.075e-6 + 500 * 0.6e-6),
        (OPENAI, "gpt-4o-mini", usage(1000, cached_tokens=1000), 1000 * 0.075e-6),
        (OPENAI, "gpt-4o-mini", usage(0, 500, reasoning_tokens=450), 500 * 0.6e-6),
        (OPENAI, "gpt-4o-mini", usage(0, 0), 0.0),
        # claude-3-5-haiku: 0.80 in, 4.00 out, 0.08 cached, 1.00 to write the cache (1.25 times)
        (ANTHROPIC, "claude-3-5-haiku-latest", usage(1000, 100), 0.0008 + 0.0004),
        (ANTHROPIC, "claude-3-5-haiku-latest", usage(1000, cache_write_tokens=1000), 1000 * 0.8e-6 * 1.25),
        (
            ANTHROPIC,
            "claude-3-5-haiku-20241022",
            usage(10_000, 100, cached_tokens=6000, cache_write_tokens=3000),
            1000 * 0.8e-6 + 6000 * 0.08e-6 + 3000 * 1.0e-6 + 100 * 4e-6,
        ),
        # claude-sonnet-4-5: above 200,000 tokens of input, all tokens cost more
        (ANTHROPIC, "claude-sonnet-4-5", usage(200_000, 1000), 200_000 * 3e-6 + 1000 * 15e-6),
        (ANTHROPIC, "claude-sonnet-4-5", usage(200_001, 1000), 200_001 * 6e-6 + 1000 * 22.5e-6),
        # an upstream that reports more parts than there is whole
        (OPENAI, "gpt-4o-mini", usage(100, 10, cached_tokens=200, reasoning_tokens=50), 100 * 0.075e-6 + 10 * 0.6e-6),
    ],
)
def test_exact_sums(provider: ProviderConfig, name: str, used: Usage, usd: float) -> None:
    cost = price(model(name), provider, used)
    assert cost.known
    assert math.isclose(cost.usd, usd, rel_tol=1e-12, abs_tol=1e-15)


@pytest.mark.parametrize(
    "parts",
    [{}, {"cached_tokens": 30}, {"cache_write_tokens": 30}, {"cached_tokens": 60, "cache_write_tokens": 40}]
)  # fmt: skip
@pytest.mark.parametrize("reasoning", [0, 7, 20])
def test_each_token_is_priced_once(parts: dict[str, int], reasoning: int) -> None:
    flat = model("x", input=1, output=1, cached_input=1, cache_write=1)
    assert price(flat, OPENAI, usage(100, 20, reasoning_tokens=reasoning, **parts)).usd == 120 / 1_000_000


def test_the_config_s_price_wins() -> None:
    own = model("gpt-4o-mini", input=1, output=2)
    assert list_price(own, OPENAI) == ListPrice(1, 2, 1)
    assert price(own, OPENAI, usage(1000, 1000, cached_tokens=500)).usd == pytest.approx(0.003)
    cheaper = model("gpt-4o-mini", input=1, output=2, cached_input=0.5, cache_write=2)
    assert list_price(cheaper, OPENAI) == ListPrice(1, 2, 0.5)
    used = usage(1000, cached_tokens=400, cache_write_tokens=200)
    assert price(cheaper, OPENAI, used).usd == pytest.approx((400 * 1 + 400 * 0.5 + 200 * 2) / 1e6)


@pytest.mark.parametrize(
    ("provider", "name"),
    [
        (OPENAI, "gpt-nonsense"),
        (OPENAI, "claude-3-5-haiku-latest"),
        (ProviderConfig(kind="openai", base_url="http://127.0.0.1:1234/v1"), "gpt-4o-mini"),
        (ProviderConfig(kind="ollama"), "llama3.2"),
    ],
)
def test_an_unknown_price_is_not_guessed(provider: ProviderConfig, name: str) -> None:
    assert list_price(model(name), provider) is None
    assert price(model(name), provider, usage(10, 10)) == Cost(usd=0, known=False)


def test_without_usage_the_cost_is_unknown() -> None:
    assert price(model("gpt-4o-mini"), OPENAI, None) == Cost(usd=0, known=False)


@pytest.mark.parametrize("used", [usage(10, 10), None])
def test_what_is_free_costs_nothing_for_sure(used: Usage | None) -> None:
    assert price(model("llama", input=0, output=0), ProviderConfig(kind="ollama"), used) == Cost(usd=0, known=True)
    assert price(model("sim"), ProviderConfig(kind="simulated"), used) == Cost(usd=0, known=True)


@pytest.mark.parametrize(
    ("base_url", "name", "expected"),
    [
        ("https://api.openai.com/v1", "gpt-4o-mini", ListPrice(0.15, 0.6, 0.075)),
        ("https://generativelanguage.googleapis.com/v1beta/openai/", "gemini-2.5-flash", ListPrice(0.3, 2.5, 0.03)),
        (
            "https://generativelanguage.googleapis.com/v1beta/openai/",
            "models/gemini-2.5-flash",
            ListPrice(0.3, 2.5, 0.03),
        ),
        ("https://api.groq.com/openai/v1", "llama-3.3-70b-versatile", ListPrice(0.59, 0.79, 0.59)),
    ],
)
def test_compatible_apis_are_known_by_their_address(base_url: str, name: str, expected: ListPrice) -> None:
    assert list_price(model(name), ProviderConfig(kind="openai", base_url=base_url)) == expected


def test_embedders_have_prices_too() -> None:
    embedder = EmbedderConfig(provider="p", model="text-embedding-3-small")
    assert list_price(embedder, OPENAI) == ListPrice(0.02, 0, 0.02)
    assert price(embedder, OPENAI, usage(1000)).usd == pytest.approx(0.00002)


@pytest.mark.parametrize(("hour", "input_usd"), [(0, 0.135), (12, 0.27), (23, 0.135)])
def test_the_price_of_the_hour_applies(monkeypatch: pytest.MonkeyPatch, hour: int, input_usd: float) -> None:
    moment = datetime(2025, 8, 1, hour, tzinfo=UTC).timestamp()
    monkeypatch.setattr(time, "time", lambda: moment)
    deepseek = ProviderConfig(kind="openai", base_url="https://api.deepseek.com")
    found = list_price(model("deepseek-chat"), deepseek)
    assert found is not None
    assert found.input == input_usd


@pytest.mark.parametrize(
    "code",
    [
        "import emerge_core.pricing",
        "import emerge_core.config",
        "from emerge_core import pricing, config; pricing.load_catalogue(config.default_config())",
    ],
)
def test_the_catalogue_is_loaded_only_when_it_is_needed(code: str) -> None:
    loaded = subprocess.check_output(
        [sys.executable, "-c", f"{code}; import sys; print([name for name in sys.modules if 'genai_prices' in name])"],
        text=True,
    )
    assert loaded.strip() == "[]"


PRICED = """
import sys
from emerge_core import pricing
from emerge_core.config.schema import ModelConfig, ProviderConfig
price = pricing.list_price(ModelConfig(provider="p", model="gpt-4o"), ProviderConfig(kind="openai"))
print(price.input > 0, sorted({"httpx2", "httpx", "genai_prices"} & set(sys.modules)))
import genai_prices
print(genai_prices.UpdatePrices.__name__)
"""


def test_the_catalogue_brings_no_http_client() -> None:
    printed = subprocess.check_output([sys.executable, "-c", PRICED], text=True)
    assert printed.splitlines() == ["True []", "UpdatePrices"]


def test_the_catalogue_can_be_loaded_ahead() -> None:
    config = default_config().model_copy(update={"providers": {"simulated": OPENAI}})
    pricing.load_catalogue(config)
    assert list_price(config.models["sim-a"], OPENAI) is None


def ask(content: Any, **parts: Any) -> ChatRequest:
    return ChatRequest(messages=({"role": "user", "content": content},), **parts)


def test_an_estimate_of_the_input() -> None:
    assert estimate_input_tokens(ask("")) == 4
    assert estimate_input_tokens(ask("x" * 4000)) == 1004
    assert estimate_input_tokens(ask("字" * 1000)) == 754
    text, image = (
        {"type": "text", "text": "x" * 400},
        {"type": "image_url", "image_url": {"url": "data:" + "A" * 100_000}},
    )
    assert estimate_input_tokens(ask([text, image])) == 4 + 100 + 800
    tool = {"type": "function", "function": {"name": "f", "description": "x" * 400}}
    assert 100 < estimate_input_tokens(ask("", tools=(tool,))) < 130
    assert estimate_input_tokens(ask("", tools=(tool,), tool_choice="none")) == 4
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "x" * 400}}
    calling = ChatRequest(messages=({"role": "assistant", "content": None, "tool_calls": [call]},))
    assert 100 < estimate_input_tokens(calling) < 130
    schema = {"type": "json_schema", "json_schema": {"schema": {"description": "x" * 400}}}
    assert 100 < estimate_input_tokens(ask("", response_format=schema)) < 130
