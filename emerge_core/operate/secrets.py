"""Providers' keys, each a SecureString in SSM under the stack's own path. Values go in and never come out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from emerge_core.config.keys import references_of
from emerge_core.config.load import parse_config
from emerge_core.errors import ConfigError, EmergeError
from emerge_core.operate.aws import Client
from emerge_core.operate.configs import pull
from emerge_core.operate.stack import Stack

NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
LONGEST = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    name: str
    reference: str  # to write in the config
    version: int
    changed: datetime


def store(name: str, value: str, *, stack: Stack, client: Client) -> str:
    """Stores a secret. Returns the reference to write in the config."""
    parameter = _parameter(name, stack)
    value = value.strip()
    if not value:
        raise EmergeError(f"nothing to store: give {name}'s value on standard input")
    if not value.isprintable() or " " in value:  # a header cannot carry it; a pasted command or file can look so
        raise EmergeError(f"{name}'s value has spaces, line breaks or control characters in it: give the key alone")
    if len(value.encode()) > LONGEST:
        raise EmergeError(f"{name}'s value is longer than {LONGEST:,} bytes")
    key = {"KeyId": stack.kms_key} if stack.kms_key else {}
    client("ssm").put_parameter(Name=parameter, Value=value, Type="SecureString", Overwrite=True, **key)
    return f"ssm:{parameter}"


def listed(stack: Stack, client: Client) -> list[Secret]:
    return [
        Secret(
            name=each["Name"].removeprefix(stack.secrets_path),
            reference=f"ssm:{each['Name']}",
            version=each["Version"],
            changed=each["LastModifiedDate"],
        )
        for each in _described(stack, client)
    ]


def remove(name: str, *, stack: Stack, client: Client, force: bool = False) -> None:
    """Raises EmergeError if there is none, or if the deployed config refers to it and `force` is not given."""
    parameter = _parameter(name, stack)
    users = [] if force else sorted(_users(f"ssm:{parameter}", stack, client))
    if users:
        fix = "push a config without it first, or give --force"
        raise EmergeError(f"the deployed config uses {name} for {', '.join(users)}: {fix}")
    ssm = client("ssm")
    try:
        ssm.delete_parameter(Name=parameter)
    except ssm.exceptions.ParameterNotFound:
        raise EmergeError(f"there is no secret {name} (see `emerge secrets list --stack {stack.name}`)") from None


def remove_all(stack: Stack, client: Client) -> list[str]:
    names = sorted(each["Name"] for each in _described(stack, client))
    for start in range(0, len(names), 10):
        client("ssm").delete_parameters(Names=names[start : start + 10])
    return [name.removeprefix(stack.secrets_path) for name in names]


def _parameter(name: str, stack: Stack) -> str:
    if not NAME.fullmatch(name):
        raise EmergeError("a secret's name is letters, digits and _ . - (128 at most), and never the key itself")
    return stack.secrets_path + name


def _described(stack: Stack, client: Client) -> Iterator[dict[str, Any]]:
    under = {"Key": "Path", "Option": "OneLevel", "Values": [stack.secrets_path.rstrip("/")]}
    for page in client("ssm").get_paginator("describe_parameters").paginate(ParameterFilters=[under]):
        yield from page["Parameters"]


def _users(reference: str, stack: Stack, client: Client) -> Iterator[str]:
    deployed = pull(stack, client)
    try:
        config = parse_config(deployed.text, source=stack.config_parameter) if deployed else None
    except ConfigError:
        return
    for name, provider in config.providers.items() if config else ():
        if any(each == reference for _, each in references_of(provider)):
            yield name
