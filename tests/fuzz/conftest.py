"""Says after a long run how many inputs were tried."""

from __future__ import annotations

import pytest

from tests.fuzz.inputs import TIMES, tried


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TIMES > 1:
        terminalreporter.write_line(f"fuzz: {sum(tried.values()):,} inputs tried: {dict(tried)}")
