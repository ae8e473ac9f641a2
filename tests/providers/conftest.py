"""One call of an adapter against a scripted upstream, as fixtures."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.provider_exchange import RunExchange, adapter, run
from tests.support.socket_upstream import Reply, listening


@pytest.fixture
def exchange() -> RunExchange:
    return run


@pytest.fixture
def reply() -> type[Reply]:
    return Reply


@pytest.fixture
def upstream_of() -> Any:
    return listening


@pytest.fixture
def adapter_of() -> Any:
    return adapter


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_ORG_ID", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
