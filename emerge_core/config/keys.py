"""References to secrets: `env:NAME`, `ssm:/path`, `secret:NAME_OR_ARN`, `secret:NAME_OR_ARN#field`.

A config holds references, never a secret itself: as a provider's `api_key`, and as the value of one of its
`headers`. They are resolved when the provider is made."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from emerge_core.config.schema import Config, ProviderConfig
from emerge_core.errors import ConfigError

KeyResolver = Callable[[str | None], str | None]  # raises ConfigError if there is no such secret

FORMS = "env:NAME, ssm:/path, secret:NAME_OR_ARN or secret:NAME_OR_ARN#field (a field of a JSON secret)"
_REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|(ssm|secret):\S+")


def resolve_key(reference: str | None, environ: Mapping[str, str]) -> str | None:
    """The secret behind `env:NAME`; None for no reference. Raises ConfigError, without any value in it."""
    if reference is None:
        return None
    kind, _, name = reference.partition(":")
    if kind == "env":
        value = environ.get(name, "").strip()
        if not value:
            raise ConfigError(f"environment variable {name} is not set")
        return value
    if kind in ("ssm", "secret"):
        raise ConfigError(f"{reference}: {kind}: references are read only on AWS; use env:NAME here")
    raise ConfigError(f"api_key: write {FORMS}, and never the key itself")


def is_reference(value: str) -> bool:
    return _REFERENCE.fullmatch(value) is not None


def split_field(reference: str) -> tuple[str, str | None]:
    """The name or ARN in `secret:NAME#field`, and the field if one is given."""
    name, _, field = reference.removeprefix("secret:").partition("#")
    return name, field or None


def references_of(provider: ProviderConfig) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each reference of a provider, with its place in the provider's section."""
    if provider.api_key:
        yield ("api_key",), provider.api_key
    for name, value in provider.headers.items():
        if is_reference(value):
            yield ("headers", name), value


def secret_references(config: Config) -> list[str]:
    """The references of all providers, sorted."""
    found = (each for provider in config.providers.values() for _, each in references_of(provider))
    return sorted(set(found))


def with_headers(provider: ProviderConfig, resolve: KeyResolver) -> ProviderConfig:
    """The provider with its headers' references resolved. Raises ConfigError."""
    headers = {name: resolve(value) or "" if is_reference(value) else value for name, value in provider.headers.items()}
    return provider if headers == provider.headers else provider.model_copy(update={"headers": headers})
