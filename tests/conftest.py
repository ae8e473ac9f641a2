"""Fixtures for all rooms."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.openai_upstream import Says, Upstream, scripted_upstream
from tests.support.panels import Panels
from tests.support.server import Server

# A shell starts background jobs with Ctrl-C ignored, and child processes inherit that: tests send it to theirs.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


TESTS = Path(__file__).parent
AWS_FOLDERS = {"infra", "functions", "operate"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests of what runs on AWS, so that `-m "not aws"` leaves them out."""
    for item in items:
        if item.path.relative_to(TESTS).parts[0] in AWS_FOLDERS:
            item.add_marker(pytest.mark.aws)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests have to say beside that they passed: how many cases they tried."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, value in report.user_properties:
            if name == "said":
                terminalreporter.write_line(str(value))


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are as wide as without a terminal, whatever the shell or another test has set."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(scope="session")
def server() -> type[Server]:
    return Server


@pytest.fixture
def says() -> type[Says]:
    return Says


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with scripted_upstream() as scripted:
        yield scripted


@pytest.fixture
def panels(upstream: Upstream) -> Panels:
    return Panels(upstream.url)
