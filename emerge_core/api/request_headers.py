"""The headers by which a client adjusts one request: its ceilings and the detail of the `emerge` object."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from time import perf_counter

from starlette.requests import Request

from emerge_core.api.errors import invalid
from emerge_core.api.fields import one_of, shown
from emerge_core.api.trace_object import TraceLevel
from emerge_core.config.schema import Config
from emerge_core.engine.engine import Limits
from emerge_core.errors import RequestError

_LEVELS: dict[str, TraceLevel] = {"off": "off", "summary": "summary", "full": "full"}
_NUMBER = re.compile(r"\+?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)  # float() also reads "1_0" and other alphabets


def read_limits(headers: Mapping[str, str]) -> Limits:
    """The ceilings that the client lowers for this request. Raises RequestError, a 400 that names the header."""
    return Limits(
        deadline_s=_positive(headers, "x-emerge-deadline", "seconds"),
        max_cost_usd=_positive(headers, "x-emerge-max-cost", "US dollars"),
    )


def limits_of(http: Request) -> Limits:
    """The client's ceilings, within the time that the host of this server leaves (on `perf_counter`'s clock). Raises
    RequestError, a 504, if no time is left."""
    limits = read_limits(http.headers)
    deadline = http.scope.get("emerge.deadline")
    if deadline is None:
        return limits
    left_s = deadline - perf_counter()
    if left_s <= 0:
        raise RequestError("No time is left to answer this request.", status=504, type="timeout_error", code="timeout")
    return replace(limits, end_s=left_s)


def trace_level(http: Request, config: Config) -> TraceLevel:
    """The detail that the client asks for, else the config's."""
    given = http.headers.get("x-emerge-trace")
    if given is None:
        return config.trace
    return _LEVELS[one_of(given.strip().lower(), _LEVELS, "x-emerge-trace")]


def _positive(headers: Mapping[str, str], name: str, unit: str) -> float | None:
    value = headers.get(name)
    if value is None:
        return None
    figure = float(value) if _NUMBER.fullmatch(value.strip()) else math.nan
    if not (math.isfinite(figure) and figure > 0):
        raise invalid(name, f"The header {name} must be a number of {unit} above 0, not {shown(value)}.")
    return figure
