"""What a call costs: the config's own price, else the price catalogue's (genai-prices), else unknown.

Each token is priced once. Cached and cache-writing tokens are part of the input, reasoning tokens
part of the output (see `Usage`): each such part is taken out of the whole and priced at its own
rate, or stays in it where it has none. The catalogue is a snapshot inside the package: no network.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec, module_from_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from emerge_core.config.schema import Config, EmbedderConfig, ModelConfig, PriceConfig, ProviderConfig
from emerge_core.provider_kinds import KINDS
from emerge_core.types import ChatRequest, Cost, Usage, text_of

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelInfo, ModelPrice

MILLION = 1_000_000

BYTES_PER_TOKEN = 4  # English text; other scripts have more bytes to a character, and more tokens
TOKENS_PER_MESSAGE = 4
TOKENS_PER_IMAGE = 800


class ListPrice(NamedTuple):
    """US dollars per million tokens, before any surcharge for a long input."""

    input: float
    output: float
    cached_input: float


class Tier(NamedTuple):
    """A rate for *all* tokens of a call whose input is longer than `above`."""

    above: int
    usd: float


class Rate(NamedTuple):
    """US dollars per million tokens."""

    usd: float
    tiers: tuple[Tier, ...] = ()  # ascending

    def at(self, input_tokens: int) -> float:
        usd = self.usd
        for tier in self.tiers:
            if input_tokens > tier.above:
                usd = tier.usd
        return usd


class Rates(NamedTuple):
    input: Rate
    output: Rate
    cached: Rate
    cache_write: Rate
    reasoning: Rate
    per_request: float = 0.0

    @property
    def free(self) -> bool:
        return self == FREE


FREE = Rates(Rate(0.0), Rate(0.0), Rate(0.0), Rate(0.0), Rate(0.0))


def list_price(model: ModelConfig | EmbedderConfig, provider: ProviderConfig) -> ListPrice | None:
    rates = _rates(model, provider)
    return ListPrice(rates.input.usd, rates.output.usd, rates.cached.usd) if rates else None


def price(model: ModelConfig | EmbedderConfig, provider: ProviderConfig, usage: Usage | None) -> Cost:
    """Today's price of a call. Without a price or a usage the cost is not known, unless all is free."""
    rates = _rates(model, provider)
    if rates and rates.free:
        return Cost()
    if rates is None or usage is None:
        return Cost(known=False)
    total = usage.input_tokens
    cached = min(usage.cached_tokens, total)
    cache_write = min(usage.cache_write_tokens, total - cached)
    reasoning = min(usage.reasoning_tokens, usage.output_tokens)
    per_million = (
        (total - cached - cache_write) * rates.input.at(total)
        + cached * rates.cached.at(total)
        + cache_write * rates.cache_write.at(total)
        + (usage.output_tokens - reasoning) * rates.output.at(total)
        + reasoning * rates.reasoning.at(total)
    )
    return Cost(usd=per_million / MILLION + rates.per_request)


def load_catalogue(config: Config) -> None:
    """Reads the catalogue now, where a model's price is in it, so that no request waits for it."""
    models: list[ModelConfig | EmbedderConfig] = [*config.models.values(), *config.embedders.values()]
    for model in models:
        if provider := config.providers.get(model.provider):
            _rates(model, provider)


def estimate_input_tokens(request: ChatRequest) -> int:
    """A quick estimate, good to a quarter or so: for context limits, cost ceilings and cancelled calls."""
    size, tokens = 0, 0
    for message in request.messages:
        content = message.get("content")
        size += len(text_of(content).encode("utf-8", "replace"))
        tokens += TOKENS_PER_MESSAGE
        if isinstance(content, (list, tuple)):
            tokens += TOKENS_PER_IMAGE * sum(1 for part in content if _is_media(part))
        if calls := message.get("tool_calls"):
            size += _json_size(calls)
    if request.offers_tools:
        size += _json_size(request.tools)
    if request.response_format:
        size += _json_size(request.response_format)
    return tokens + -(-size // BYTES_PER_TOKEN)


def _is_media(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") not in ("text", "refusal")


def _json_size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str).encode("utf-8", "replace"))


def _rates(model: ModelConfig | EmbedderConfig, provider: ProviderConfig) -> Rates | None:
    if model.price:
        return _configured(model.price)
    if KINDS[provider.kind].in_process:
        return FREE
    return _catalogued(provider.kind, provider.base_url, model.model, int(time.time() // 60))


@lru_cache(maxsize=256)
def _configured(price: PriceConfig) -> Rates:
    paid = Rate(price.input)
    cached = paid if price.cached_input is None else Rate(price.cached_input)
    cache_write = paid if price.cache_write is None else Rate(price.cache_write)
    return Rates(paid, Rate(price.output), cached, cache_write, Rate(price.output))


@lru_cache(maxsize=1024)
def _catalogued(kind: str, base_url: str | None, model: str, minute: int) -> Rates | None:
    """The rates in that minute since the epoch: some providers are cheaper at night."""
    from datetime import UTC, datetime

    info = _find(kind, base_url, model)
    if info is None:
        return None
    prices = info.get_prices(datetime.fromtimestamp(minute * 60, tz=UTC))
    if prices.input_mtok is None and prices.output_mtok is None:
        return None
    paid = _rate(prices, "input_mtok", Rate(0.0))
    output = _rate(prices, "output_mtok", Rate(0.0))
    return Rates(
        paid,
        output,
        cached=_rate(prices, "cache_read_mtok", paid),
        cache_write=_rate(prices, "cache_write_mtok", paid),
        reasoning=_rate(prices, "output_reasoning_mtok", output),
        per_request=_rate(prices, "requests_kcount", Rate(0.0)).usd / 1000,
    )


@lru_cache(maxsize=1)
def _snapshot() -> DataSnapshot:
    """The catalogue, read without its package's `__init__`, which imports an HTTP client to fetch newer prices: a
    third of the whole import, for what nothing here does."""
    package = "genai_prices"
    spec = find_spec(package) if package not in sys.modules else None
    if spec is not None:
        sys.modules[package] = module_from_spec(spec)
    try:
        from genai_prices.data_snapshot import get_snapshot

        return get_snapshot()
    finally:
        if spec is not None:
            del sys.modules[package]  # an import by anybody else runs the `__init__`


@lru_cache(maxsize=256)
def _find(kind: str, base_url: str | None, model: str) -> ModelInfo | None:
    """Finds a model by the address of its API, or by the kind if that is asked at its own address: the same model
    name may have another price elsewhere."""
    row = KINDS[kind]
    if row.local or (base_url is None and row.catalogue is None):
        return None
    provider_id = row.catalogue if base_url is None else None
    try:
        return _snapshot().find_provider_model(model.removeprefix("models/"), None, provider_id, base_url)[1]
    except LookupError:
        return None


def _rate(prices: ModelPrice, key: str, missing: Rate) -> Rate:
    value: Any = getattr(prices, key, None)
    if value is None:
        return missing
    if hasattr(value, "tiers"):
        return Rate(float(value.base), tuple(Tier(tier.start, float(tier.price)) for tier in value.tiers))
    return Rate(float(value))
