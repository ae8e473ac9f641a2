"""An AWS account with or without a deployed stack, as fixtures."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.aws.account import Account, empty_account
from tests.support.aws_lambda.function import Function, functions


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    with empty_account(monkeypatch) as made:
        yield made


@pytest.fixture
def deployed(account: Account) -> Account:
    account.deploy()
    return account


@pytest.fixture
def lambda_function(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Function]]:
    """Makes an environment with the variables of the stack, changed as asked."""
    with functions(monkeypatch, capsys) as make:
        yield make
