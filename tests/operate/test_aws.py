"""AWS's faults in the operator's terms, and finding the stack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from botocore import exceptions
from moto import mock_aws

from emerge_core.errors import EmergeError
from emerge_core.operate.aws import connect, explained
from emerge_core.operate.stack import find_stack


def client_error(code: str, operation: str = "GetParameter", message: str = "its text") -> Exception:
    made: Exception = exceptions.ClientError({"Error": {"Code": code, "Message": message}}, operation)
    return made


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (client_error("AccessDeniedException"), "these AWS credentials may not call GetParameter: grant it"),
        (client_error("ExpiredTokenException"), "AWS rejects these credentials (ExpiredTokenException): sign in"),
        (client_error("TooManyRequestsException"), "GetParameter failed: TooManyRequestsException: its text"),
        (client_error("ValidationException", "PutParameter", "value sk-secret"), "PutParameter failed: ValidationExc"),
        (exceptions.NoCredentialsError(), "no AWS credentials: give --profile"),
        (exceptions.EndpointConnectionError(endpoint_url="https://x"), "the call to AWS failed: Could not connect"),
        (exceptions.ProfileNotFound(profile="p"), "the call to AWS failed: The config profile (p) could not be found"),
    ],
)
def test_faults_say_what_to_do(fault: Exception, said: str) -> None:
    with pytest.raises(EmergeError) as shown, explained():
        raise fault
    assert str(shown.value).startswith(said)
    assert "sk-secret" not in str(shown.value)


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    return monkeypatch


@pytest.mark.parametrize(
    ("given", "variables", "region"),
    [("eu-west-1", {"AWS_REGION": "us-west-2"}, "eu-west-1"), (None, {"AWS_REGION": "us-west-2"}, "us-west-2"),
     (None, {"AWS_DEFAULT_REGION": "us-east-2"}, "us-east-2")],
)  # fmt: skip
def test_the_region(environ: pytest.MonkeyPatch, given: str | None, variables: Mapping[str, str], region: str) -> None:
    for name, value in variables.items():
        environ.setenv(name, value)
    client = connect(given)
    assert client("ssm").meta.region_name == region
    assert client("ssm") is client("ssm")


def test_without_a_region_it_asks_for_one(environ: pytest.MonkeyPatch) -> None:
    with pytest.raises(EmergeError, match="give --region"):
        connect()


def test_an_invocation_is_sent_once_and_waited_for(environ: pytest.MonkeyPatch) -> None:
    config = connect("us-east-1")("lambda").meta.config
    assert (config.retries["total_max_attempts"], config.read_timeout) == (1, 905)


def test_stacks_that_are_not_there_or_not_ours(environ: pytest.MonkeyPatch) -> None:
    with mock_aws():
        client = connect("eu-west-1")
        with pytest.raises(EmergeError, match="there is no stack mine in eu-west-1"):
            find_stack(client, "mine")
        with pytest.raises(EmergeError, match="a stack's name is"):
            find_stack(client, "no/such")
        client("cloudformation").create_stack(StackName="mine", TemplateBody=TEMPLATE)
        with pytest.raises(EmergeError, match="no output UsagePlanId"):
            find_stack(client, "mine")


TEMPLATE = '{"Resources": {"Logs": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "x"}}}}'


def test_without_boto3_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in ("boto3", "botocore", "botocore.exceptions"):
        monkeypatch.setitem(sys.modules, name, None)
    for use in (connect, lambda: explained().__enter__()):
        with pytest.raises(EmergeError, match=r"pip install 'emerge-llm\[aws\]'"):
            use()


def test_denied_is_not_hidden_by_a_stack_that_is_absent(account: Any) -> None:
    http = type("Http", (), {"status_code": 403})
    denied = {"Error": {"Code": "AccessDenied", "Message": "no"}, "ResponseMetadata": {}}
    account.client("cloudformation").meta.events.register("before-call", lambda **_: (http, denied))
    with pytest.raises(EmergeError, match="may not call DescribeStacks"), explained():
        find_stack(account.client, "mine")
