"""The providers of one config: each is made at its first use, all are closed together."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from emerge_core.config import KeyResolver
from emerge_core.config.keys import with_headers
from emerge_core.config.schema import Config
from emerge_core.errors import ConfigError
from emerge_core.providers.protocol import Provider
from emerge_core.providers.refusals import Refusals
from emerge_core.providers.registry import is_loaded, load_adapter, make_provider


class Pool:
    """Call it with a provider's name to get the provider. Raises ConfigError if its key is missing."""

    def __init__(self, config: Config, keys: KeyResolver) -> None:
        self._config = config
        self._keys = keys
        self._made: dict[str, Provider] = {}

    def __call__(self, name: str) -> Provider:
        provider = self._made.get(name)
        if provider is None:
            config = self._config.providers[name]
            models = {m.model: m for m in self._config.models.values() if m.provider == name}
            try:
                key = self._keys(config.api_key)
                config = with_headers(config, self._keys)
            except ConfigError as error:
                raise ConfigError(f"provider {name}: {error}") from error
            provider = make_provider(config, api_key=key, models=models)
            self._made[name] = provider
        return provider

    async def load(self, name: str) -> None:
        """Imports a provider's adapter in a thread, so that the event loop stays free."""
        kind = self._config.providers[name].kind
        if not is_loaded(kind):
            with suppress(ImportError):  # raised again when the provider is made
                await asyncio.to_thread(load_adapter, kind)

    def refusals(self) -> list[dict[str, Any]]:
        """The optional parameters that are left out now because a model refused them, and why."""
        made = {name: getattr(provider, "refusals", None) for name, provider in self._made.items()}
        return [
            {"provider": name, **learnt._asdict()}
            for name, refusals in made.items()
            if isinstance(refusals, Refusals)
            for learnt in refusals.status()
        ]

    async def aclose(self) -> None:
        """Close every provider's connections."""
        made, self._made = list(self._made.values()), {}
        await asyncio.gather(*(provider.aclose() for provider in made), return_exceptions=True)
