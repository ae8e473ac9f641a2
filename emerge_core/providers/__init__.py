"""The APIs that can be called: one adapter per kind (see `emerge_core.provider_kinds`) behind one small protocol."""

from emerge_core.providers.protocol import Embeddings, Provider, TokenCounter
from emerge_core.providers.registry import load_adapter, load_adapters, make_provider

__all__ = ["Embeddings", "Provider", "TokenCounter", "load_adapter", "load_adapters", "make_provider"]
