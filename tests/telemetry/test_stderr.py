"""Log lines into a pipe: read, unread, and too many."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator

import pytest

from emerge_core.telemetry import stderr
from emerge_core.telemetry.lines import JsonFormatter
from emerge_core.telemetry.stderr import LineFormatter, RepeatFilter, StderrHandler


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for end in (reader, writer):
        os.close(end)


def record(message: str = "call", level: int = logging.INFO, **fields: object) -> logging.LogRecord:
    return logging.makeLogRecord({"name": "emerge", "msg": message, "levelno": level, "levelname": "INFO", **fields})


def test_a_pipe_that_nobody_reads_blocks_nothing_and_what_is_dropped_is_counted(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = pipe
    monkeypatch.setattr(stderr, "MAX_QUEUED", 200_000)
    handler = StderrHandler(fd=writer)
    handler.setFormatter(JsonFormatter())
    for number in range(1000):
        handler.emit(record(number=number, text="x" * 1000))  # a megabyte: a pipe holds 64 KB
    data = b""
    dropped = 0
    calls: list[int] = []
    while dropped + len(calls) < 1000:
        data += os.read(reader, 65536)
        *lines, data = data.split(b"\n")
        events = [json.loads(line) for line in lines]
        calls += [event["number"] for event in events if event["event"] == "call"]
        dropped += sum(event["count"] for event in events if event["event"] == "log lines dropped")
    assert calls == sorted(calls)
    assert 0 < dropped < 1000
    handler.emit(record(number=-1))
    assert json.loads(os.read(reader, 65536))["number"] == -1
    handler.close()


def test_lines_that_are_queued_are_written_at_the_end(pipe: tuple[int, int]) -> None:
    handler = StderrHandler(fd=pipe[1])
    handler.setFormatter(LineFormatter())
    for number in range(20):
        handler.emit(record("kept", number=number))
    handler.close()
    assert os.read(pipe[0], 65536).splitlines()[-1] == b"info: kept (number=19)"


def test_closing_does_not_wait_for_a_reader(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stderr, "FLUSH_S", 0.05)
    handler = StderrHandler(fd=pipe[1])
    handler.setFormatter(LineFormatter())
    handler.emit(record("x" * 200_000))
    handler.close()
    os.read(pipe[0], 1 << 20)


def test_warnings_of_one_kind_pass_once() -> None:
    once = RepeatFilter(interval_s=3600)
    assert [once.filter(record("%d of %d", logging.WARNING)) for _ in range(3)] == [True, False, False]
    assert once.filter(record("another", logging.WARNING))
    assert all(once.filter(record("call")) for _ in range(3))  # no warning
    often = RepeatFilter(interval_s=0)
    assert all(often.filter(record("same", logging.ERROR)) for _ in range(3))


def test_the_number_of_repeats_is_told() -> None:
    repeats = RepeatFilter(interval_s=3600)
    first, last = record("same", logging.ERROR), record("same", logging.ERROR)
    repeats.filter(first)
    repeats.filter(record("same", logging.ERROR))
    repeats._interval_s = 0
    repeats.filter(last)
    assert (hasattr(first, "repeats"), vars(last)["repeats"]) == (False, 1)
