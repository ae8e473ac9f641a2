"""The function's log: every line is JSON, whoever writes it, and carries the keys of the invocation.

An exception is logged as its class and its stack frames. Its text is left out: libraries quote in it what
they were given, which may be a prompt, an answer or a key.
"""

from __future__ import annotations

import copy
import logging
import traceback
from types import TracebackType
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter

OURS = ("emerge", "emerge_core")


class Formatter(LambdaPowertoolsFormatter):
    def format(self, record: logging.LogRecord) -> str:
        record = copy.copy(record)
        vars(record).pop("taskName", None)  # asyncio's name for the task, since Python 3.12: noise
        if record.name.partition(".")[0] not in OURS:
            record.msg, record.args = record.getMessage().partition("\n")[0], None  # asyncio adds the task's exception
        return super().format(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802  (logging's own name)
        return describe(ei[0], ei[2])


def describe(kind: type[BaseException], trace: TracebackType | None) -> str:
    """An exception as stack frames and a class name, one a line, without its text."""
    frames = (f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace))
    return "\n".join([*frames, kind.__qualname__])


def configure() -> Logger:
    """Returns the logger that holds the invocation's keys, and replaces Lambda's own handler at the root."""
    powertools = Logger(
        service="emerge", name="emerge", logger_formatter=Formatter(utc=True, serialize_stacktrace=False)
    )
    core = logging.getLogger("emerge_core")
    core.setLevel(powertools.log_level)
    core.handlers = logging.getLogger().handlers = [powertools.registered_handler]
    for name in OURS:
        logging.getLogger(name).propagate = False
    return powertools
