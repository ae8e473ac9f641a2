"""Providers' keys: they go in, and are read by the function alone."""

from __future__ import annotations

from typing import Any

import pytest

from emerge_core.config.aws import AwsSource
from emerge_core.errors import EmergeError
from emerge_core.operate import secrets
from emerge_core.operate.stack import find_or_absent


def store(account: Any, name: str = "openai", value: str = "sk-one\n") -> str:
    return secrets.store(name, value, stack=account.stack, client=account.client)


def push(account: Any, text: str) -> None:
    account.client("ssm").put_parameter(Name="/emerge/mine/config", Value=text, Type="String", Overwrite=True)


USING = """
providers: {up: {kind: openai, api_key: "ssm:/emerge/mine/keys/openai"}}
models: {a: {provider: up, model: a}}
"""


def test_the_function_reads_what_was_stored(deployed: Any) -> None:
    assert store(deployed) == "ssm:/emerge/mine/keys/openai"
    push(deployed, USING)
    found = AwsSource("/emerge/mine/config", default=None, client=deployed.client).read()
    assert found.key("ssm:/emerge/mine/keys/openai") == "sk-one"
    held = deployed.client("ssm").get_parameter(Name="/emerge/mine/keys/openai")["Parameter"]
    assert held["Type"] == "SecureString"
    assert "sk-one" not in repr(found)


def test_a_rotation_is_a_new_version(deployed: Any) -> None:
    store(deployed)
    store(deployed, value="sk-two")
    (secret,) = secrets.listed(deployed.stack, deployed.client)
    assert (secret.name, secret.version, secret.reference) == ("openai", 2, "ssm:/emerge/mine/keys/openai")
    assert "sk-" not in repr(secret)


def test_the_stack_s_own_key_encrypts(account: Any) -> None:
    made = account.client("kms").create_key()["KeyMetadata"]["Arn"]
    account.deploy(KmsKeyArn=made)
    store(account)
    (described,) = account.client("ssm").describe_parameters()["Parameters"]
    assert described["KeyId"] == made


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("", "nothing to store"),
        (" \n", "nothing to store"),
        ("sk-a\nsk-b", "spaces, line breaks or control characters"),
        ("export KEY=sk-a", "spaces, line breaks or control characters"),
        ("x" * 4097, "longer than 4,096 bytes"),
    ],
)
def test_what_is_no_key_is_refused_and_not_repeated(deployed: Any, value: str, fault: str) -> None:
    with pytest.raises(EmergeError, match=fault) as refused:
        store(deployed, value=value)
    assert "sk-" not in str(refused.value)
    assert secrets.listed(deployed.stack, deployed.client) == []


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", "x" * 129])
def test_names(deployed: Any, name: str) -> None:
    with pytest.raises(EmergeError, match="a secret's name is"):
        store(deployed, name)


def test_one_in_use_is_not_removed(deployed: Any) -> None:
    store(deployed)
    push(deployed, USING)
    with pytest.raises(EmergeError, match="the deployed config uses openai for up"):
        secrets.remove("openai", stack=deployed.stack, client=deployed.client)
    secrets.remove("openai", stack=deployed.stack, client=deployed.client, force=True)
    with pytest.raises(EmergeError, match="there is no secret openai"):
        secrets.remove("openai", stack=deployed.stack, client=deployed.client, force=True)


def test_removing_all_serves_a_stack_that_is_gone(deployed: Any) -> None:
    names = sorted(f"key{i:02}" for i in range(23))
    for name in names:
        store(deployed, name)
    deployed.client("ssm").put_parameter(Name="/emerge/other/keys/x", Value="y", Type="SecureString")
    deployed.client("cloudformation").delete_stack(StackName="mine")
    gone = find_or_absent(deployed.client, "mine")
    assert secrets.remove_all(gone, deployed.client) == names
    left = deployed.client("ssm").describe_parameters()["Parameters"]
    assert [each["Name"] for each in left] == ["/emerge/other/keys/x"]
