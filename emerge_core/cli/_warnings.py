"""What a config may say but probably should not: the warnings of the config room, and those about prices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from emerge_core.config import Config, EmbedderConfig, ModelConfig, warnings
from emerge_core.pricing import list_price
from emerge_core.provider_kinds import KINDS


def all_warnings(config: Config, environ: Mapping[str, str] | None = None) -> list[str]:
    """Without `environ`, what depends on this machine (missing keys and files) is left out."""
    return [*warnings(config, environ), *_prices(config)]


def _prices(config: Config) -> Iterator[str]:
    priced: list[tuple[str, ModelConfig | EmbedderConfig]] = [*config.models.items(), *config.embedders.items()]
    for name, model in priced:
        provider = config.providers[model.provider]
        if list_price(model, provider) is None:
            hint = (
                "for a local model, write price: {input: 0, output: 0}"
                if KINDS[provider.kind].local
                else "give it one, in US dollars per million tokens: price: {input: 0.15, output: 0.6}"
            )
            yield f"{name}: its price is unknown, so the cost of its answers is too: {hint}"
