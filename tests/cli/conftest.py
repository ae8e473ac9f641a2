"""An AWS account with or without a deployed stack, as fixtures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.aws.account import Account, empty_account


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    with empty_account(monkeypatch) as made:
        yield made


@pytest.fixture
def deployed(account: Account) -> Account:
    account.deploy()
    return account
