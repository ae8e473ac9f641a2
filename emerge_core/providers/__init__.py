"""The APIs that we can call: one adapter per kind behind one small protocol.

An adapter translates a `ChatRequest` to its wire format, makes one call, and translates the reply
back to a `Completion`. It never retries, never prices and never logs: the fan-out does. Its SDK is
imported with it, when a provider of its kind is first needed, so that a config pays only for what it names.

Adding a kind: a module with `make(config, api_key=..., models=...)`, and a line in `_MODULES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from threading import Lock
from types import ModuleType
from typing import NamedTuple, Protocol

from emerge_core.config.schema import Config, EmbedderConfig, ModelConfig, ProviderConfig, ProviderKind
from emerge_core.errors import ConfigError
from emerge_core.types import ChatRequest, Completion, EmbeddingRequest, RateLimits, Sink, Usage

__all__ = ["Embeddings", "Provider", "is_loaded", "load_adapter", "load_adapters", "make_provider"]


class Embeddings(NamedTuple):
    """One vector per text, in the order of the texts."""

    vectors: list[list[float]]
    usage: Usage | None
    dropped_params: tuple[str, ...] = ()
    rate_limits: RateLimits = ()


class Provider(Protocol):
    """`model` is the upstream's name for it. All calls raise nothing but `UpstreamError`, besides
    the cancellation of their task, which closes the connection."""

    async def complete(self, model: str, request: ChatRequest, *, timeout_s: float) -> Completion: ...

    async def stream(self, model: str, request: ChatRequest, *, timeout_s: float, emit: Sink) -> Completion:
        """What `complete` would return, its text emitted as it arrives. A stream that breaks off, or tells
        of an error, raises."""
        ...

    async def embed(self, model: str, request: EmbeddingRequest, *, timeout_s: float) -> Embeddings: ...

    async def aclose(self) -> None: ...


_MODULES: Mapping[ProviderKind, str] = {
    "openai": "emerge_core.providers.openai.adapter",
    "anthropic": "emerge_core.providers.anthropic.adapter",
    "ollama": "emerge_core.providers.ollama.adapter",
    "simulated": "emerge_core.providers.simulated.adapter",
}


_loading = Lock()  # two SDKs share modules: imported at once, each might find the other's half made
_loaded: dict[ProviderKind, ModuleType] = {}


def load_adapter(kind: ProviderKind) -> ModuleType:
    """Imports the adapter and its SDK, which takes up to a second. For any thread."""
    with _loading:
        if kind not in _loaded:
            _loaded[kind] = import_module(_MODULES[kind])
        return _loaded[kind]


def is_loaded(kind: ProviderKind) -> bool:
    return kind in _loaded


def load_adapters(config: Config) -> None:
    """Those of the providers at which the config places a model or an embedder."""
    placed: list[ModelConfig | EmbedderConfig] = [*config.models.values(), *config.embedders.values()]
    for name in {each.provider for each in placed}:
        load_adapter(config.providers[name].kind)


def make_provider(config: ProviderConfig, *, api_key: str | None, models: Mapping[str, ModelConfig]) -> Provider:
    """The adapter of the config's kind. `models` are the models that the config places at this provider."""
    api_key = api_key.strip() if api_key else None
    for name, value in {"api_key": api_key or "", **config.headers}.items():
        if not (name + value).isascii() or not (name + value).isprintable():
            raise ConfigError(f"{name}: its value has characters that no HTTP header can carry")
    provider: Provider = load_adapter(config.kind).make(config, api_key=api_key, models=models)
    return provider
