"""The config and its secrets as they lie in AWS: SSM parameters and Secrets Manager.

The only file of a running proxy that touches boto3; imported when a reference leads there. Calls
have short timeouts and few retries, with the jitter of botocore's standard mode for the burst of
reads when many environments start at once. Blocking: the server runs `AwsSource.read` in a thread.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from emerge_core.config.keys import resolve_key
from emerge_core.config.load import load_config, parse_config
from emerge_core.config.schema import Config
from emerge_core.errors import ConfigError

CONNECT_TIMEOUT_S = 0.7
READ_TIMEOUT_S = 1.5
ATTEMPTS = 4
PAGE = 10  # names in one GetParameters call

DEFAULT_VERSION = "default"

Client = Callable[[str], Any]  # a service's name → its boto3 client


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A config with its secrets, as they were read together. `secrets` maps a reference to its value, or
    to None where it could not be read: that costs its provider's calls, not the config."""

    config: Config
    version: str
    source: str
    secrets: Mapping[str, str | None] = field(default_factory=dict, repr=False)

    def key(self, reference: str | None, environ: Mapping[str, str] | None = None) -> str | None:
        """The secret behind a reference. Raises ConfigError, without any value in it."""
        if reference is None or reference.startswith("env:"):
            return resolve_key(reference, os.environ if environ is None else environ)
        value = self.secrets.get(reference)
        if not value:
            raise ConfigError(f"{reference} could not be read: set it with `emerge secrets set`, or check its name")
        return value


def boto3_client(service: str, *, attempts: int = ATTEMPTS) -> Any:
    import boto3
    from botocore.config import Config as ClientConfig

    for name in ("boto3", "botocore", "urllib3"):  # which log what was read, where the root logger lets them
        if logging.getLogger(name).level == logging.NOTSET:
            logging.getLogger(name).setLevel(logging.WARNING)
    retries = {"mode": "standard", "total_max_attempts": attempts}
    settings = ClientConfig(connect_timeout=CONNECT_TIMEOUT_S, read_timeout=READ_TIMEOUT_S, retries=retries)
    return boto3.client(service, config=settings)


class AwsSource:
    """Reads the config at an SSM parameter; while there is none yet, the default file's.

    The first time it tries hard, since nothing can be served without. Once a config has been read, a request
    waits for the next look at it, and the config at hand serves on: one attempt each time."""

    def __init__(self, parameter: str, *, default: Path | None, client: Client | None = None) -> None:
        self._parameter = parameter
        self._default = default
        self._make_client = client or boto3_client
        self._next_client = client or partial(boto3_client, attempts=1)
        self._clients: dict[str, Any] = {}

    def read(self) -> Snapshot:
        """Raises ConfigError; its message holds no value of a parameter."""
        found = self._read()
        if self._make_client is not self._next_client:
            self._make_client, self._clients = self._next_client, {}
        return found

    def _read(self) -> Snapshot:
        ssm = self._client("ssm")
        try:
            found = ssm.get_parameter(Name=self._parameter, WithDecryption=True)["Parameter"]
        except ssm.exceptions.ParameterNotFound:
            if self._default is None:
                raise ConfigError(
                    f"ssm:{self._parameter}: there is no such parameter: run `emerge config push`"
                ) from None
            source = f"the default config, until `emerge config push` writes ssm:{self._parameter}"
            return self._with_secrets(load_config(self._default), DEFAULT_VERSION, source)
        except Exception as fault:
            raise ConfigError(f"ssm:{self._parameter}: cannot be read ({cause_of(fault)})") from None
        source = f"ssm:{self._parameter}"
        return self._with_secrets(parse_config(found["Value"], source=source), str(found["Version"]), source)

    def _with_secrets(self, config: Config, version: str, source: str) -> Snapshot:
        references = {provider.api_key for provider in config.providers.values() if provider.api_key}
        secrets = {
            **self._parameters(sorted(each for each in references if each.startswith("ssm:"))),
            **{each: self._secret(each) for each in sorted(references) if each.startswith("secret:")},
        }
        return Snapshot(config=config, version=version, source=source, secrets=secrets)

    def _parameters(self, references: Sequence[str]) -> dict[str, str | None]:
        values: dict[str, str | None] = dict.fromkeys(references)
        for names in _pages([reference.removeprefix("ssm:") for reference in references], PAGE):
            try:
                found = self._client("ssm").get_parameters(Names=names, WithDecryption=True)["Parameters"]
            except Exception as fault:
                raise ConfigError(f"the secrets {', '.join(names)} cannot be read ({cause_of(fault)})") from None
            values |= {f"ssm:{each['Name']}{each.get('Selector', '')}": each["Value"].strip() for each in found}
        return values

    def _secret(self, reference: str) -> str | None:
        secrets = self._client("secretsmanager")
        try:
            value: str | None = secrets.get_secret_value(SecretId=reference.removeprefix("secret:")).get("SecretString")
        except secrets.exceptions.ResourceNotFoundException:
            return None
        except Exception as fault:
            raise ConfigError(f"{reference}: cannot be read ({cause_of(fault)})") from None
        return value.strip() if value else None

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = self._make_client(service)
        return self._clients[service]


def cause_of(fault: Exception) -> str:
    """AWS's error code, or the kind of fault: never its text, which may quote what was sent."""
    response = getattr(fault, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, Mapping) else None
    return str(code or type(fault).__name__)


def _pages(items: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    return (items[start : start + size] for start in range(0, len(items), size))
