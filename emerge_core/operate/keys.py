"""Clients' keys. A key is made here, shown once and kept nowhere: API Gateway knows its digest.

The authorizer hashes what a client sends and names the digest to API Gateway, which looks it up in
the stack's usage plan at each request; only the authorizer's own answer is cached (300 s). Keys are
tagged by stack, because they outlive it.
"""

from __future__ import annotations

import hashlib
import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from emerge_core.errors import EmergeError
from emerge_core.operate.aws import Client, code_of
from emerge_core.operate.stack import Stack

PREFIX = "emk_"
ALPHABET = string.ascii_letters + string.digits
LENGTH = 43  # of 62 characters: 256.03 bits
STACK_TAG, KEY_TAG = "emerge:stack", "emerge:key-id"
PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    name: str
    id: str  # API Gateway's
    key_id: str  # as log lines show it: the digest's first 12 digits
    created: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Requests, as the usage plan counts them: best effort, some minutes late."""

    today: int
    month: int
    left: int | None  # of the month's quota; None if there is no quota


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def create(name: str, *, stack: Stack, client: Client) -> tuple[str, Key]:
    """A new token, to be shown once, and the key by which API Gateway knows it."""
    if not name.isprintable() or not 0 < len(name) <= 128:
        raise EmergeError("a key's name is 1 to 128 printable characters")
    if any(key.name == name for key in listed(stack, client)):
        raise EmergeError(f"there is a key {name} already: choose another name, or revoke it first")
    gateway, token = client("apigateway"), PREFIX + "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
    value = digest(token)
    tags = {STACK_TAG: stack.name, KEY_TAG: value[:12]}
    made = gateway.create_api_key(name=f"{stack.name}-{name}", value=value, enabled=True, tags=tags)
    try:
        gateway.create_usage_plan_key(usagePlanId=stack.outputs["UsagePlanId"], keyId=made["id"], keyType="API_KEY")
    except Exception:
        gateway.delete_api_key(apiKey=made["id"])  # a key outside the plan opens nothing, and would be left behind
        raise
    return token, Key(name=name, id=made["id"], key_id=value[:12], created=made["createdDate"])


def listed(stack: Stack, client: Client) -> list[Key]:
    """The stack's keys, oldest first. They outlive the stack."""
    found = []
    for page in client("apigateway").get_paginator("get_api_keys").paginate(PaginationConfig={"PageSize": PAGE}):
        for each in page["items"]:
            tags = each.get("tags", {})
            if tags.get(STACK_TAG) == stack.name:
                name = each["name"].removeprefix(f"{stack.name}-")
                found.append(Key(name=name, id=each["id"], key_id=tags.get(KEY_TAG, ""), created=each["createdDate"]))
    return sorted(found, key=lambda key: (key.created, key.name))


def usage(stack: Stack, client: Client, *, today: date) -> Mapping[str, Usage]:
    """By API Gateway's id of the key; keys without a request are left out. `today` is UTC's."""
    plan = {"usagePlanId": stack.outputs["UsagePlanId"]}
    days = {"startDate": today.replace(day=1).isoformat(), "endDate": today.isoformat()}
    limited = int(stack.parameters.get("MonthlyQuota") or 0) > 0
    found = {}
    for page in client("apigateway").get_paginator("get_usage").paginate(**plan, **days):
        for key, counted in page.get("items", {}).items():  # one [used, left] for each day
            used = [day[0] for day in counted]
            found[key] = Usage(today=used[-1], month=sum(used), left=counted[-1][1] if limited else None)
    return found


def revoke(wanted: str | None, *, stack: Stack, client: Client) -> list[Key]:
    """One by its name or either id; None: all."""
    found = [key for key in listed(stack, client) if wanted in (None, key.name, key.id, key.key_id)]
    if wanted is not None:
        _one(found, wanted, stack)
    for key in found:
        _delete(key, client)
    return found


def _one(found: Sequence[Key], wanted: str, stack: Stack) -> None:
    if not found:
        raise EmergeError(f"there is no key {wanted} (see `emerge keys list --stack {stack.name}`)")
    if len(found) > 1:
        raise EmergeError(f"{wanted} is not one key: give an id ({', '.join(key.id for key in found)})")


def _delete(key: Key, client: Client) -> None:
    gateway = client("apigateway")
    try:
        gateway.delete_api_key(apiKey=key.id)  # which takes it out of its usage plan too
    except gateway.exceptions.ClientError as fault:
        if code_of(fault) != "NotFoundException":
            raise
