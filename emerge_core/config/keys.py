"""References to secrets, resolved when a provider is made; a config never holds the secret itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from emerge_core.errors import ConfigError

KeyResolver = Callable[[str | None], str | None]  # raises ConfigError where there is no such secret


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
    raise ConfigError("api_key: write env:NAME, and never the key itself")
