"""Hand-made candidates and a scripted asker, as fixtures."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from emerge_core.types import Candidate, ChatRequest, Decision
from tests.support.candidates import ASKED, Scripted, build, decide


@pytest.fixture(scope="session")
def cand() -> Callable[..., Candidate]:
    return build


@pytest.fixture(scope="session")
def scripted() -> type[Scripted]:
    return Scripted


@pytest.fixture(scope="session")
def decides() -> Callable[..., Decision]:
    return decide


@pytest.fixture(scope="session")
def asks() -> ChatRequest:
    return ASKED
