"""The log lines of the function are those of Powertools, and carry the keys of the invocation."""

from __future__ import annotations

import importlib
import json
import logging
import sys
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import pytest
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter

from tests.support.paths import PROXY

KEYS = {"function_request_id": "1", "key_id": "k", "cold_start": False, "gateway_request_id": None}


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(PROXY))
    return importlib.import_module("logs")


def record(message: str, *args: object, name: str = "emerge", fails: bool = False, **fields: Any) -> logging.LogRecord:
    try:
        if fails:
            raise ValueError("a prompt")
    except ValueError:
        fault = sys.exc_info()
    made = logging.getLogger(name).makeRecord(
        name, logging.INFO, "/x/y.py", 7, message, args, fault if fails else None, "work", extra=fields
    )
    made.created = 1_795_779_332.5
    made.msecs = 500.0
    return made


RECORDS: dict[str, Callable[[], logging.LogRecord]] = {
    "of a call": lambda: record("call", call="c1", status="ok", error=None, latency_ms=1.5, agreed=1, cost_usd=2.6e-05),
    "with arguments": lambda: record("read %s in %d ms", "a file", 3),
    "with a key of its own": lambda: record("late", function_request_id="2"),
    "with text and a structure": lambda: record("request", request={"messages": [{"content": 'Où "?\n'}]}),
    "with what JSON cannot say": lambda: record("request", found={"set": frozenset()}),
    "of an error": lambda: record("unhandled", fails=True),
    "of a library": lambda: record("Task failed", name="asyncio"),
}


@pytest.mark.parametrize("make", RECORDS.values(), ids=RECORDS)
def test_a_line_is_the_one_that_powertools_would_write(logs: Any, make: Callable[[], logging.LogRecord]) -> None:
    class Powertools(LambdaPowertoolsFormatter):
        def formatException(self, ei: Any) -> str:  # noqa: N802  (logging's own name)
            described: str = logs.describe(ei[0], ei[2])
            return described

    def write() -> str:
        logs.set_keys(**KEYS)
        line: str = logs.Formatter().format(make())
        return line

    expected = Powertools(utc=True, serialize_stacktrace=False, service="emerge", name="%(name)s")
    missing = {name: value for name, value in KEYS.items() if not hasattr(make(), name)}
    expected.append_keys(**missing)
    assert json.loads(copy_context().run(write)) == json.loads(expected.format(make()))


def test_a_second_line_in_another_second_has_its_own_time(logs: Any) -> None:
    formatter, late = logs.Formatter(), record("late")
    late.created += 60.25
    lines = [json.loads(formatter.format(each)) for each in (record("early"), late, record("early"))]
    times = [line["timestamp"].removeprefix("2026-11-27 ") for line in lines]
    assert times == ["11:35:32,500+0000", "11:36:32,750+0000", "11:35:32,500+0000"]


def test_a_librarys_line_ends_where_a_task_is_described(logs: Any) -> None:
    line = json.loads(logs.Formatter().format(record("Task failed\nfuture: a prompt", name="asyncio")))
    assert (line["message"], line["name"]) == ("Task failed", "asyncio")
