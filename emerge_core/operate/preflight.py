"""What a valid config may not contain on a given stack.

The function can read only what the template grants it, reaches no loopback server of the operator,
and is cut off by API Gateway (buffered) or by its own timeout.
"""

from __future__ import annotations

import fnmatch
import ipaddress
from collections.abc import Collection, Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

from emerge_core.config.keys import references_of, split_field
from emerge_core.config.problems import Place, Problem
from emerge_core.config.schema import Config, ProviderConfig
from emerge_core.operate.aws import DENIED, Client, code_of
from emerge_core.operate.stack import Stack

GATEWAY_S = 29.0  # API Gateway's limit for a buffered reply
MARGIN_S = 1.0  # what the function keeps of it for itself
PAGE = 10  # names in one GetParameters call


class Findings(NamedTuple):
    """`problems` refuse a config; `doubts` could not be checked, or are unusual."""

    problems: list[Problem]
    doubts: list[str]


def preflight(config: Config, stack: Stack, client: Client) -> Findings:
    """Checks that what the config refers to exists in AWS. Reads no secret."""
    problems = [*_urls(config), *_readable(config, stack), *_deadlines(config, stack)]
    doubts = [*_private(config, stack), *_slow_models(config, stack)]
    refused = {place for place, _ in problems}
    references: dict[str, list[Place]] = {}
    for place, reference in _references(config):
        if place not in refused:
            references.setdefault(reference, []).append(place)
    for look in (_variables, _parameters, _secrets):
        faults, doubtful = look(references, stack, client)
        for reference, fault in faults.items():
            problems += [Problem(place, fault) for place in references[reference]]
        doubts += doubtful
    return Findings(problems, doubts)


def longest_s(stack: Stack) -> float:
    """The longest deadline that a request can be given on this stack."""
    return (stack.timeout_s if stack.streams else min(GATEWAY_S, stack.timeout_s)) - MARGIN_S


def _urls(config: Config) -> Iterator[Problem]:
    for name, provider in config.providers.items():
        if (host := _host(provider)) and _loopback(host):
            implied = "" if "base_url" in provider.model_fields_set and provider.base_url else " (the default)"
            yield Problem(
                ("providers", name, "base_url"),
                f"{host}{implied} is this machine, which the function cannot reach: give an address that it can",
            )


def _private(config: Config, stack: Stack) -> Iterator[str]:
    if stack.in_vpc:
        return
    for name, provider in config.providers.items():
        address = _address(_host(provider) or "")
        if address and address.is_private and not address.is_loopback:
            yield f"provider {name}: {address} is a private address, and the function is in no VPC (VpcSubnetIds)"


def _host(provider: ProviderConfig) -> str | None:
    return urlsplit(provider.base_url).hostname if provider.base_url else None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _loopback(host: str) -> bool:
    address = _address(host)
    if address is None:
        return host.rstrip(".") in ("localhost", "host.docker.internal") or host.rstrip(".").endswith(".localhost")
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback or mapped.is_unspecified)


def _deadlines(config: Config, stack: Stack) -> Iterator[Problem]:
    limit = longest_s(stack)
    for name, ensemble in config.ensembles.items():
        if ensemble.deadline_s > limit:
            yield Problem(("ensembles", name, "deadline_s"), f"{ensemble.deadline_s:g} is {_too_long(stack)}")


def _slow_models(config: Config, stack: Stack) -> Iterator[str]:
    for name, model in config.models.items():
        if model.timeout_s and model.timeout_s > longest_s(stack):
            yield f"model {name}: timeout_s {model.timeout_s:g} is {_too_long(stack)}; called alone it is cut there"


def _too_long(stack: Stack) -> str:
    limit = f"longer than the {longest_s(stack):g} s that a request has here"
    if stack.streams or stack.timeout_s < GATEWAY_S:
        return f"{limit}: lower it, or raise the stack's Timeout ({stack.timeout_s:g} s)"
    return f"{limit}, since API Gateway ends a buffered reply: lower it, or deploy with ResponseMode=stream"


def _readable(config: Config, stack: Stack) -> Iterator[Problem]:
    for place, reference in _references(config):
        kind, _, what = reference.partition(":")
        name = place[1]
        if kind == "ssm" and not what.startswith(stack.parameters_path):
            fault = f"the function may not read {what}, only parameters under {stack.parameters_path}: "
            yield Problem(place, fault + f"`emerge secrets set --stack {stack.name} {name}`")
        elif kind == "secret" and not _secret_granted(split_field(reference)[0], stack):
            fault = f"the function may not read {what}, only secrets under {stack.secrets_prefix}: "
            yield Problem(place, fault + "deploy with its ARN in ExtraSecretArns")


def _references(config: Config) -> Iterator[tuple[Place, str]]:
    for name, provider in config.providers.items():
        for inside, reference in references_of(provider):
            yield ("providers", name, *inside), reference


def _secret_granted(reference: str, stack: Stack) -> bool:
    name = reference
    if reference.startswith("arn:"):
        parts = reference.split(":", 6)
        if len(parts) < 7 or parts[2] != "secretsmanager":
            return False
        own = parts[3:5] == stack.arn.split(":")[3:5]
        name = parts[6] if own else ""
    granted = (arn for arn in stack.extra_secrets)
    return name.startswith(stack.secrets_prefix) or any(_same_secret(reference, arn) for arn in granted)


def _same_secret(reference: str, arn: str) -> bool:
    """Secrets Manager ends an ARN by a hyphen and six random characters; a name has none of it."""
    if fnmatch.fnmatchcase(reference, arn):
        return True
    given = arn.split(":", 6)[-1]
    return given == reference or fnmatch.fnmatchcase(f"{reference}-xxxxxx", given) or given[:-7] == reference


_Looked = tuple[dict[str, str], list[str]]


def _variables(references: Collection[str], stack: Stack, client: Client) -> _Looked:
    wanted = [each for each in references if each.startswith("env:")]
    if not wanted:
        return {}, []
    try:
        found = client("lambda").get_function_configuration(
            FunctionName=stack.outputs["ProxyFunctionName"], Qualifier=stack.outputs["ProxyAlias"]
        )
    except client("lambda").exceptions.ClientError as fault:
        return {}, [_unchecked("the function's variables", fault)]
    there = found.get("Environment", {}).get("Variables", {})
    fix = f"keep the key with `emerge secrets set --stack {stack.name} NAME` and write ssm:{stack.secrets_path}NAME"
    missing = [each for each in wanted if not there.get(each.removeprefix("env:"))]
    return {each: f"the function has no variable {each.removeprefix('env:')}: {fix}" for each in missing}, []


def _parameters(references: Collection[str], stack: Stack, client: Client) -> _Looked:
    wanted = [each.removeprefix("ssm:") for each in references if each.startswith("ssm:")]
    ssm = client("ssm")
    faults: dict[str, str] = {}
    for start in range(0, len(wanted), PAGE):
        try:
            found = ssm.get_parameters(Names=wanted[start : start + PAGE], WithDecryption=False)
        except ssm.exceptions.ClientError as fault:
            return faults, [_unchecked("the parameters that it refers to", fault)]
        for name in found["InvalidParameters"]:
            fix = f"`emerge secrets set --stack {stack.name} {name.rsplit('/', 1)[-1]}`"
            faults[f"ssm:{name}"] = f"there is no parameter {name}: {fix}"
    return faults, []


def _secrets(references: Collection[str], stack: Stack, client: Client) -> _Looked:
    faults, doubts = {}, []
    for reference in references:
        if not reference.startswith("secret:"):
            continue
        secrets, name = client("secretsmanager"), split_field(reference)[0]
        try:
            found = secrets.describe_secret(SecretId=name)
        except secrets.exceptions.ResourceNotFoundException:
            faults[reference] = f"there is no secret {name} in this Region: create it in Secrets Manager"
        except secrets.exceptions.ClientError as fault:
            doubts.append(_unchecked(f"the secret {name}", fault))
        else:
            if found.get("DeletedDate"):
                faults[reference] = f"the secret {name} is scheduled for deletion: restore it in Secrets Manager"
    return faults, doubts


def _unchecked(what: str, fault: Exception) -> str:
    code = code_of(fault)
    why = "these credentials may not look" if code in DENIED else code
    return f"{what} could not be checked: {why}"
