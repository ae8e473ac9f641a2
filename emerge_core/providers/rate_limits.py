"""An upstream's rate limits, in OpenAI's headers for every kind of provider."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from datetime import datetime

from emerge_core.types import RateLimits

_ANTHROPIC = re.compile(r"anthropic-ratelimit-(requests|tokens)-(limit|remaining|reset)")
_SANE = re.compile(r"[ -~]{1,100}")


def rate_limits(headers: Mapping[str, str], *, now: float | None = None) -> RateLimits:
    """Pairs of header and value. Anthropic's headers tell when a limit is reset, OpenAI's in how long."""
    found: dict[str, str] = {}
    for name, value in headers.items():
        name = name.lower()
        if name.startswith("x-ratelimit-"):
            found[name] = value
        elif match := _ANTHROPIC.fullmatch(name):
            what, figure = match.groups()
            said = _seconds_until(value, now) if figure == "reset" else value
            if said is not None:
                found.setdefault(f"x-ratelimit-{figure}-{what}", said)
    return tuple((name, value) for name, value in found.items() if _SANE.fullmatch(value))


def _seconds_until(moment: str, now: float | None) -> str | None:
    try:
        left = datetime.fromisoformat(moment).timestamp() - (time.time() if now is None else now)
    except ValueError:
        return None
    return f"{max(0, math.ceil(left))}s"
