"""Clients' keys: made, counted and revoked in API Gateway, and known to nobody but the client."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from emerge_core.errors import EmergeError
from emerge_core.operate import keys
from emerge_core.operate.stack import find_or_absent

AUTHORIZER = Path(__file__).parents[2] / "functions" / "authorizer" / "authorizer.py"


def create(account: Any, name: str = "app") -> tuple[str, keys.Key]:
    return keys.create(name, stack=account.stack, client=account.client)


def test_a_key_is_what_the_authorizer_makes_of_the_token(deployed: Any) -> None:
    spec = importlib.util.spec_from_file_location("authorizer", AUTHORIZER)
    assert spec and spec.loader
    authorizer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(authorizer)
    token, key = create(deployed)
    arn = "arn:aws:execute-api:us-east-1:123456789012:abc/prod/POST/v1/chat/completions"
    answer = authorizer.handler({"authorizationToken": f"Bearer {token}", "methodArn": arn}, None)
    plan = deployed.stack.outputs["UsagePlanId"]
    (held,) = deployed.client("apigateway").get_usage_plan_keys(usagePlanId=plan)["items"]
    assert held["value"] == answer["usageIdentifierKey"] == hashlib.sha256(token.encode()).hexdigest()
    assert key.key_id == answer["context"]["keyId"]


def test_a_token_has_256_random_bits_and_is_kept_nowhere(deployed: Any) -> None:
    token, key = create(deployed)
    assert len(token.removeprefix("emk_")) * math.log2(len(set(keys.ALPHABET))) >= 256
    assert create(deployed, "other")[0] != token
    gateway = deployed.client("apigateway")
    everything = [
        gateway.get_api_keys(includeValues=True),
        gateway.get_usage_plans(),
        keys.listed(deployed.stack, deployed.client),
    ]
    assert token not in json.dumps(everything, default=str)
    assert token not in repr(key)


def test_keys_are_tagged_by_their_stack(deployed: Any) -> None:
    gateway = deployed.client("apigateway")
    gateway.create_api_key(name="mine-but-made-by-hand", value="x" * 30)
    gateway.create_api_key(name="theirs", value="y" * 30, tags={"emerge:stack": "other"})
    _, key = create(deployed, "app")
    assert keys.listed(deployed.stack, deployed.client) == [key]
    (held,) = [each for each in gateway.get_api_keys()["items"] if each["id"] == key.id]
    assert (held["name"], held["enabled"]) == ("mine-app", True)


def test_names_are_unique(deployed: Any) -> None:
    create(deployed)
    with pytest.raises(EmergeError, match="there is a key app already"):
        create(deployed)


def test_a_key_that_the_plan_does_not_take_is_not_left_behind(deployed: Any) -> None:
    stack, gateway = deployed.stack, deployed.client("apigateway")
    gateway.delete_usage_plan(usagePlanId=stack.outputs["UsagePlanId"])
    gateway.meta.events.register(
        "before-call.api-gateway.CreateUsagePlanKey", lambda **_: (_ for _ in ()).throw(RuntimeError("refused"))
    )
    with pytest.raises(RuntimeError):
        keys.create("app", stack=stack, client=deployed.client)
    assert gateway.get_api_keys()["items"] == []


@pytest.mark.parametrize("by", ["name", "id", "key_id"])
def test_revoking_one(deployed: Any, by: str) -> None:
    _, key = create(deployed, "gone")
    _, kept = create(deployed, "kept")
    assert keys.revoke(getattr(key, by), stack=deployed.stack, client=deployed.client) == [key]
    assert keys.listed(deployed.stack, deployed.client) == [kept]
    with pytest.raises(EmergeError, match="there is no key gone"):
        keys.revoke("gone", stack=deployed.stack, client=deployed.client)


def test_revoking_all_serves_a_stack_that_is_gone(deployed: Any) -> None:
    for name in ("one", "two"):
        create(deployed, name)
    gateway = deployed.client("apigateway")
    other = gateway.create_api_key(name="theirs", value="y" * 30, tags={"emerge:stack": "other"})["id"]
    deployed.client("cloudformation").delete_stack(StackName="mine")
    gone = find_or_absent(deployed.client, "mine")
    assert gone.status == "ABSENT"
    assert [key.name for key in keys.revoke(None, stack=gone, client=deployed.client)] == ["one", "two"]
    assert [each["id"] for each in gateway.get_api_keys()["items"]] == [other]
    assert keys.revoke(None, stack=gone, client=deployed.client) == []


def test_more_keys_than_a_page_holds(deployed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """moto does not page: the answers are cut up here."""
    made = [create(deployed, f"key{i}")[1] for i in range(3)]
    gateway = deployed.client("apigateway")
    everything = gateway.get_api_keys()["items"]

    def page(params: Any, **_: Any) -> Any:
        at = int(params["query_string"].get("position") or 0)
        more = {"position": str(at + 1)} if at + 1 < len(everything) else {}
        return type("Http", (), {"status_code": 200}), {"items": everything[at : at + 1], **more}

    gateway.meta.events.register("before-call.api-gateway.GetApiKeys", page)
    assert {key.id for key in keys.listed(deployed.stack, deployed.client)} == {key.id for key in made}


def test_usage_is_the_plan_s_count(account: Any) -> None:
    account.deploy(MonthlyQuota="1000")
    _, key = create(account)
    account.usage = {key.id: [[3, 997], [0, 997], [7, 990]]}
    found = keys.usage(account.stack, account.client, today=date(2026, 11, 3))
    assert found == {key.id: keys.Usage(today=7, month=10, left=990)}


def test_without_a_quota_nothing_is_left_of_it(deployed: Any) -> None:
    deployed.usage = {"k": [[1, 9_223_372_036_854_775_807]]}
    assert keys.usage(deployed.stack, deployed.client, today=date(2026, 11, 1))["k"].left is None
