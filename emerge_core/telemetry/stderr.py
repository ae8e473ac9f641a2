"""Log lines on standard error that never hold the event loop up.

A pipe whose reader is slow blocks its writer. So lines go into a bounded queue, a thread writes them, and those that
do not fit are dropped and counted. Warnings of one kind are written once a minute, with the number of the others.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import deque

from emerge_core.telemetry.lines import JsonFormatter, extra_fields

MAX_QUEUED = 8_000_000  # bytes
REPEAT_S = 60.0
MAX_KINDS = 1_000
FLUSH_S = 1.0

Kind = tuple[str, int, str, str]


class StderrHandler(logging.Handler):
    """`close` waits up to a second for the lines that are queued."""

    def __init__(self, *, fd: int = 2) -> None:
        super().__init__()
        self._fd = fd
        self._lines: deque[bytes] = deque()
        self._queued = 0
        self._dropped = 0
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._write_all, name="stderr", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record).encode("utf-8", "replace") + b"\n"
        except Exception:
            self.handleError(record)
            return
        with self._changed:
            if self._queued + len(line) > MAX_QUEUED:
                self._dropped += 1
                return
            self._lines.append(line)
            self._queued += len(line)
            self._changed.notify()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (logging's name)
        """Nothing: the default writes to standard error, which may block."""

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(FLUSH_S)
        super().close()

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines or self._dropped or self._closing)
                if not self._lines and not self._dropped:
                    return
                lines, self._lines = b"".join(self._lines), deque()
                dropped, self._dropped = self._dropped, 0
            try:
                self._write(lines)
                with self._changed:
                    self._queued -= len(lines)
                if dropped:
                    self._write(self._notice(dropped))
            except OSError:  # the reader is gone
                return

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                time.sleep(0.05)

    def _notice(self, dropped: int) -> bytes:
        if isinstance(self.formatter, JsonFormatter):
            return json.dumps({"event": "log lines dropped", "level": "WARNING", "count": dropped}).encode() + b"\n"
        return b"warning: %d log lines were dropped: standard error is read too slowly\n" % dropped


class RepeatFilter(logging.Filter):
    """Lets a warning or error pass once a minute per kind: logger, level, message template and exception type."""

    def __init__(self, *, interval_s: float = REPEAT_S) -> None:
        super().__init__()
        self._interval_s = interval_s
        self._seen: dict[Kind, tuple[float, int]] = {}  # when the last one passed, and how many did not since

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        raised = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
        kind = (record.name, record.levelno, str(record.msg)[:200], raised)
        now = time.monotonic()
        passed, held = self._seen.get(kind, (None, 0))
        if passed is not None and now - passed < self._interval_s:
            self._seen[kind] = passed, held + 1
            return False
        if len(self._seen) >= MAX_KINDS:
            self._seen.clear()
        self._seen[kind] = now, 0
        if held:
            record.repeats = held
        return True


class LineFormatter(logging.Formatter):
    """`level: message (field=value, …)`, and the traceback of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        fields = ", ".join(f"{name}={value}" for name, value in extra_fields(record).items())
        line = f"{record.levelname.lower()}: {record.getMessage()}" + (f" ({fields})" if fields else "")
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def log_to_stderr(*, calls: bool) -> StderrHandler:
    """Sends the process's warnings to standard error, and with `calls` also a JSON line per call and request."""
    handler = StderrHandler()
    handler.setFormatter(JsonFormatter() if calls else LineFormatter())
    handler.addFilter(RepeatFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("emerge").setLevel(logging.INFO if calls else logging.WARNING)
    return handler
