"""The config and its secrets as AWS keeps them: SSM parameters and Secrets Manager.

The only module of a running proxy that uses boto3, imported if a reference needs it. Calls have short
timeouts and few retries, with the jitter of botocore's standard mode because many environments may start
at once; secrets are read side by side. Blocking: the server runs `AwsSource.read` in a thread.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from emerge_core.config.keys import resolve_key, secret_references, split_field
from emerge_core.config.load import load_config, parse_config
from emerge_core.config.schema import Config
from emerge_core.errors import ConfigError

CONNECT_TIMEOUT_S = 0.7
READ_TIMEOUT_S = 1.5
ATTEMPTS = 4
PAGE = 10  # names in one GetParameters call
AT_ONCE = 16  # calls side by side

DEFAULT_VERSION = "default"
MARKER_SUFFIX = "-pushed"  # of the parameter that says a config was pushed once

Client = Callable[[str], Any]  # a service's name → its boto3 client
Reading = tuple[dict[str, str | None], list[str]]  # secrets by reference (None: not readable), and what was wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A config with its secrets, read together. `secrets` maps a reference to its value, or to None if it could
    not be read; `fault` then says so. Such a config can serve, but not the provider that needs the secret."""

    config: Config
    version: str
    source: str
    secrets: Mapping[str, str | None] = field(default_factory=dict, repr=False)
    fault: str | None = field(default=None, compare=False)

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

    for name in ("boto3", "botocore", "urllib3"):  # at the root logger's level they would log what was read
        if logging.getLogger(name).level == logging.NOTSET:
            logging.getLogger(name).setLevel(logging.WARNING)
    settings = ClientConfig(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=AT_ONCE,
    )
    return boto3.client(service, config=settings)


class AwsSource:
    """Reads the config from an SSM parameter; before the first `emerge config push`, from the default file.

    The first read retries, since nothing can be served without it. Later ones make one attempt each: a request
    waits for them, and the config at hand serves on if they fail."""

    def __init__(self, parameter: str, *, default: Path | None, client: Client | None = None) -> None:
        self._parameter = parameter
        self._default = default
        self._make_client = client or boto3_client
        self._next_client = client or partial(boto3_client, attempts=1)
        self._clients: dict[str, Any] = {}
        self._found_parameter = False

    def read(self) -> Snapshot:
        """Raises ConfigError; its message holds no value of a parameter."""
        found = self._read()
        if self._make_client is not self._next_client:
            self._make_client, self._clients = self._next_client, {}
        return found

    def _read(self) -> Snapshot:
        found = self._get(self._parameter)
        if found is None:
            return self._read_default()
        self._found_parameter = True
        source = f"ssm:{self._parameter}"
        return self._with_secrets(parse_config(found["Value"], source=source), str(found["Version"]), source)

    def _read_default(self) -> Snapshot:
        """The default config serves only if no config was ever pushed: it must not stand in for a lost one."""
        if self._found_parameter or self._get(self._parameter + MARKER_SUFFIX) is not None:
            raise ConfigError(
                f"ssm:{self._parameter}: the parameter has been deleted: run `emerge config push`, or, to return to "
                "the default config, `emerge config remove`"
            )
        if self._default is None:
            raise ConfigError(f"ssm:{self._parameter}: there is no such parameter: run `emerge config push`")
        source = f"the default config, until `emerge config push` writes ssm:{self._parameter}"
        return self._with_secrets(load_config(self._default), DEFAULT_VERSION, source)

    def _get(self, parameter: str) -> Any:
        """Returns None if there is no such parameter. Raises ConfigError."""
        ssm = self._client("ssm")
        try:
            return ssm.get_parameter(Name=parameter, WithDecryption=True)["Parameter"]
        except ssm.exceptions.ParameterNotFound:
            return None
        except Exception as fault:
            raise ConfigError(f"ssm:{parameter}: cannot be read ({cause_of(fault)})") from None

    def _with_secrets(self, config: Config, version: str, source: str) -> Snapshot:
        references = secret_references(config)
        names = [each.removeprefix("ssm:") for each in references if each.startswith("ssm:")]
        secrets = _by_secret(references)
        if secrets:
            self._client("secretsmanager")  # made in this thread: making clients is not thread-safe
        reads: list[Callable[[], Reading]] = [partial(self._parameters, page) for page in _pages(names, PAGE)]
        reads += [partial(self._secret, secret, wanted) for secret, wanted in secrets.items()]
        values: dict[str, str | None] = {}
        faults: list[str] = []
        for found, wrong in _side_by_side(reads):
            values |= found
            faults += wrong
        fault = "; ".join(faults) or None
        return Snapshot(config=config, version=version, source=source, secrets=values, fault=fault)

    def _parameters(self, names: Sequence[str]) -> Reading:
        values: dict[str, str | None] = {f"ssm:{name}": None for name in names}
        try:
            found = self._client("ssm").get_parameters(Names=list(names), WithDecryption=True)["Parameters"]
        except Exception as fault:
            return values, [f"the secrets {', '.join(names)} cannot be read ({cause_of(fault)})"]
        values |= {f"ssm:{each['Name']}{each.get('Selector', '')}": each["Value"].strip() or None for each in found}
        return values, [f"{reference} is missing or empty" for reference, value in values.items() if not value]

    def _secret(self, name: str, references: Sequence[str]) -> Reading:
        secrets = self._client("secretsmanager")
        nothing: dict[str, str | None] = dict.fromkeys(references)
        try:
            text = secrets.get_secret_value(SecretId=name).get("SecretString") or ""
        except secrets.exceptions.ResourceNotFoundException:
            return nothing, [f"secret:{name} is missing"]
        except Exception as fault:
            return nothing, [f"secret:{name} cannot be read ({cause_of(fault)})"]
        values = {reference: field_of(text, split_field(reference)[1]) for reference in references}
        return values, [f"{each} is empty, or has no such field" for each, value in values.items() if not value]

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = self._make_client(service)
        return self._clients[service]


def field_of(text: str, name: str | None) -> str | None:
    """The secret itself, or the named field of one that is a JSON object. None if there is no such text."""
    if name is None:
        return text.strip() or None
    try:
        value = json.loads(text)[name]
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    return value.strip() or None if isinstance(value, str) else None


def cause_of(fault: Exception) -> str:
    """AWS's error code, or the exception's class: never its text, which may quote what was sent."""
    response = getattr(fault, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, Mapping) else None
    return str(code or type(fault).__name__)


def _by_secret(references: Sequence[str]) -> dict[str, list[str]]:
    """References to Secrets Manager by the secret they name: several may pick fields of one."""
    grouped: dict[str, list[str]] = {}
    for reference in references:
        if reference.startswith("secret:"):
            grouped.setdefault(split_field(reference)[0], []).append(reference)
    return grouped


def _side_by_side(reads: Sequence[Callable[[], Reading]]) -> list[Reading]:
    if len(reads) < 2:
        return [read() for read in reads]
    with ThreadPoolExecutor(min(len(reads), AT_ONCE)) as pool:
        return list(pool.map(lambda read: read(), reads))


def _pages(items: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    return (items[start : start + size] for start in range(0, len(items), size))
