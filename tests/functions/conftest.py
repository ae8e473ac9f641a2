"""The function in this process, and an AWS account by moto, as fixtures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from tests.support.aws_lambda.function import Function, functions


@pytest.fixture(scope="session")
def warm() -> None:
    """The first request to moto's SSM reads its lists of parameters, for longer than a function waits for its config
    on a busy machine."""
    with mock_aws(), suppress(ClientError):
        boto3.client("ssm", region_name="us-east-1").get_parameter(Name="/none")


@pytest.fixture
def aws(warm: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty account."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield lambda service: boto3.client(service)


@pytest.fixture
def lambda_function(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Function]]:
    """Makes an environment with the variables of the stack, changed as asked."""
    with functions(monkeypatch, capsys) as make:
        yield make
