"""What is logged about a request once it is over: log lines, and on AWS metrics too.

An engine is given a `Recorder`; the default one writes the log lines.
"""

from collections.abc import Callable

from emerge_core.telemetry.lines import Lines
from emerge_core.types import ChatRequest, Trace

Recorder = Callable[[ChatRequest, Trace], None]

__all__ = ["Lines", "Recorder"]
