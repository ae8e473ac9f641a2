"""The function's log: every line is JSON, ours and that of libraries, with the keys of the invocation.

An exception is told by its kind and the places it went through. Its text stays out: libraries quote in
it what they were given, which here may be a prompt, an answer or a key.
"""

from __future__ import annotations

import copy
import logging
import traceback
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter

OURS = ("emerge", "emerge_core")


class Formatter(LambdaPowertoolsFormatter):
    def format(self, record: logging.LogRecord) -> str:
        if record.name.partition(".")[0] not in OURS:
            record = copy.copy(record)
            record.msg, record.args = record.getMessage().partition("\n")[0], None  # asyncio adds the task's exception
        return super().format(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802  (logging's own name)
        kind, _, trace = ei
        places = (f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace))
        return "\n".join([*places, kind.__qualname__])


def configure() -> Logger:
    """The logger of the invocation's keys. Lambda's own handler, which sits at the root, gives way to it."""
    powertools = Logger(
        service="emerge", name="emerge", logger_formatter=Formatter(utc=True, serialize_stacktrace=False)
    )
    core = logging.getLogger("emerge_core")
    core.setLevel(powertools.log_level)
    core.handlers = logging.getLogger().handlers = [powertools.registered_handler]
    for name in OURS:
        logging.getLogger(name).propagate = False
    return powertools
