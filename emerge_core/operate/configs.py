"""The deployed config: a single SSM parameter, so that it is never read half-written."""

from __future__ import annotations

import difflib
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from emerge_core.config.aws import MARKER_SUFFIX
from emerge_core.config.load import parse_config
from emerge_core.config.problems import config_error
from emerge_core.config.schema import Config
from emerge_core.config.yaml_text import read_yaml
from emerge_core.errors import EmergeError
from emerge_core.operate.aws import Client
from emerge_core.operate.preflight import preflight
from emerge_core.operate.stack import Stack

STANDARD, ADVANCED = 4096, 8192  # bytes that a parameter of the tier holds


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    text: str
    version: int
    changed: datetime
    tier: str | None  # None: these credentials may not describe parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A config that may be deployed: its text, and what is doubtful about it."""

    config: Config
    text: str
    doubts: tuple[str, ...]


def check(text: str, *, source: str, stack: Stack, client: Client) -> Checked:
    """Raises ConfigError with every fault and its line."""
    config = parse_config(text, source=source)
    problems, doubts = preflight(config, stack, client)
    if problems:
        raise config_error(problems, source=source, document=read_yaml(text, source=source))
    size = len(text.encode())
    if size > ADVANCED:
        raise EmergeError(
            f"{source}: {size:,} bytes are more than the {ADVANCED:,} that a parameter holds: leave out comments and "
            "models that no ensemble uses, or write it more tersely"
        )
    return Checked(config=config, text=text, doubts=tuple(doubts))


def push(checked: Checked, *, stack: Stack, client: Client) -> tuple[int, str]:
    """Returns the version that holds the config, and its tier. An identical push makes no new version. A parameter
    in the advanced tier stays there."""
    _mark(stack, client)
    deployed = pull(stack, client)
    if deployed and deployed.text == checked.text:
        return deployed.version, deployed.tier or "Standard"
    tier = "Advanced" if len(checked.text.encode()) > STANDARD else "Standard"
    if tier == "Standard" and _described(stack, client).get("Tier") == "Advanced":
        tier = "Advanced"
    done = client("ssm").put_parameter(
        Name=stack.config_parameter,
        Value=checked.text,
        Type="String",
        Tier=tier,
        Overwrite=True,
        Description=f"The config of the emerge stack {stack.name}",
    )
    return done["Version"], tier


def pull(stack: Stack, client: Client, *, version: int | None = None) -> Deployed | None:
    """What is deployed, or was in an earlier version; None before the first push."""
    ssm = client("ssm")
    name = stack.config_parameter if version is None else f"{stack.config_parameter}:{version}"
    try:
        found = ssm.get_parameter(Name=name)["Parameter"]
    except ssm.exceptions.ParameterVersionNotFound:
        raise EmergeError(f"there is no version {version} of {stack.config_parameter}") from None
    except ssm.exceptions.ParameterNotFound:
        return None
    return Deployed(
        text=found["Value"],
        version=found["Version"],
        changed=found["LastModifiedDate"],
        tier=_described(stack, client).get("Tier"),
    )


def remove(stack: Stack, client: Client) -> bool:
    """Returns whether there was one. New environments of the function serve the default config from then on; those
    that run keep the last config, and report a fault, until Lambda replaces them."""
    ssm = client("ssm")
    removed = ssm.delete_parameters(Names=[stack.config_parameter, stack.config_parameter + MARKER_SUFFIX])
    return stack.config_parameter in removed["DeletedParameters"]


def differences(deployed: str, text: str, *, source: str) -> list[str]:
    """A unified diff from what is deployed to a file's text; empty if they are the same."""
    lines = difflib.unified_diff(deployed.splitlines(), text.splitlines(), "deployed", source, lineterm="", n=1)
    return list(lines)


def _mark(stack: Stack, client: Client) -> None:
    """Leaves a parameter by which the function can distinguish a deleted config from one that was never pushed."""
    ssm = client("ssm")
    with suppress(ssm.exceptions.ParameterAlreadyExists):
        ssm.put_parameter(
            Name=stack.config_parameter + MARKER_SUFFIX,
            Value="yes",
            Type="String",
            Description="A config was pushed: without it the function must not serve the default config",
        )


def _described(stack: Stack, client: Client) -> dict[str, Any]:
    ssm = client("ssm")
    names = {"Key": "Name", "Option": "Equals", "Values": [stack.config_parameter]}
    try:
        found = ssm.describe_parameters(ParameterFilters=[names])["Parameters"]
    except ssm.exceptions.ClientError:
        return {}
    return found[0] if found else {}
