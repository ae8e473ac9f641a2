"""No text makes a scan's time grow with the square of its length."""

from __future__ import annotations

import re

import pytest

from tests.fuzz.families import BOUND, SCANS, Family, growth, some_families
from tests.fuzz.inputs import TIMES, tried


@pytest.mark.parametrize("name", SCANS)
def test_time_grows_with_the_text(name: str) -> None:
    for family in some_families(name, TIMES):
        tried[name] += 1
        factor = growth(SCANS[name], family)
        assert factor <= BOUND, (family, factor)


def test_a_quadratic_scan_is_found() -> None:
    spaces = re.compile(r"\s+\Z")
    assert growth(lambda text: spaces.search(text), Family("", " ", "", "x"), 3_000) > BOUND
