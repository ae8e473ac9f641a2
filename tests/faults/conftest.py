"""Engines whose panels fail as scripted, as fixtures."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.faults.engines import call_of, faulty


@pytest.fixture(name="faulty")
def _faulty() -> Any:
    return faulty


@pytest.fixture(name="call_of")
def _call_of() -> Any:
    return call_of
