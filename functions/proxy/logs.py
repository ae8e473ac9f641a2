"""The function's log: every line, a library's too, is JSON and carries the keys of the invocation.

An exception is logged as its class and its stack frames. Its text is left out: libraries quote in it what
they were given, which may be a prompt, an answer or a key.
"""

from __future__ import annotations

import copy
import logging
import traceback
from collections.abc import Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter

OURS = ("emerge", "emerge_core")

_keys: ContextVar[Mapping[str, Any]] = ContextVar("log_keys", default={})  # noqa: B039  (never changed in place)


def set_keys(**keys: Any) -> None:
    """The keys of every line that is written in the current context. (Powertools' own are the process's.)"""
    _keys.set({name: value for name, value in keys.items() if value is not None})


class Formatter(LambdaPowertoolsFormatter):
    def format(self, record: logging.LogRecord) -> str:
        record = copy.copy(record)
        fields = vars(record)
        fields.pop("taskName", None)  # asyncio's name for the task, since Python 3.12: noise
        fields.update({name: value for name, value in _keys.get().items() if name not in fields})
        if record.name.partition(".")[0] not in OURS:
            record.msg, record.args = record.getMessage().partition("\n")[0], None  # asyncio adds the task's exception
        return super().format(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802  (logging's own name)
        return describe(ei[0], ei[2])


def describe(kind: type[BaseException], trace: TracebackType | None) -> str:
    """An exception as stack frames and a class name, one a line, without its text."""
    frames = (f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace))
    return "\n".join([*frames, kind.__qualname__])


def configure() -> None:
    """Gives every logger the handler that writes JSON, in place of Lambda's own at the root."""
    powertools = Logger(
        service="emerge", name="emerge", logger_formatter=Formatter(utc=True, serialize_stacktrace=False)
    )
    core = logging.getLogger("emerge_core")
    core.setLevel(powertools.log_level)
    core.handlers = logging.getLogger().handlers = [powertools.registered_handler]
    for name in OURS:
        logging.getLogger(name).propagate = False
