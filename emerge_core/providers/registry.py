"""From a provider's config to its adapter, which is imported when a provider of its kind is first needed.

A config so pays only for the kinds that it names.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from threading import Lock
from types import ModuleType

from emerge_core.config.schema import Config, EmbedderConfig, ModelConfig, ProviderConfig
from emerge_core.errors import ConfigError
from emerge_core.provider_kinds import KINDS
from emerge_core.providers.protocol import Provider

_loading = Lock()  # two threads that import modules which share others may each find the other's half initialised
_loaded: dict[str, ModuleType] = {}


def load_adapter(kind: str) -> ModuleType:
    """Imports the adapter of a kind. Thread-safe."""
    with _loading:
        if kind not in _loaded:
            _loaded[kind] = import_module(KINDS[kind].module)
        return _loaded[kind]


def is_loaded(kind: str) -> bool:
    return kind in _loaded


def load_adapters(config: Config) -> None:
    """Imports the adapters of the providers that serve a model or an embedder. Thread-safe."""
    placed: list[ModelConfig | EmbedderConfig] = [*config.models.values(), *config.embedders.values()]
    for name in {each.provider for each in placed}:
        load_adapter(config.providers[name].kind)


def make_provider(config: ProviderConfig, *, api_key: str | None, models: Mapping[str, ModelConfig]) -> Provider:
    """The adapter of the config's kind. `models` are the models of this provider by their upstream names.

    Raises ConfigError if the key or a header has characters that no HTTP header can carry, or if a file
    that the config names cannot be read.
    """
    api_key = api_key.strip() if api_key else None
    for name, value in {"api_key": api_key or "", **config.headers}.items():
        if not (name + value).isascii() or not (name + value).isprintable():
            raise ConfigError(f"{name}: its value has characters that no HTTP header can carry")
    provider: Provider = load_adapter(config.kind).make(config, api_key=api_key, models=models)
    return provider
