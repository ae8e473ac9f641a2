"""Leave to send a request once more inside one attempt.

An adapter does so where a model refuses an optional parameter by name, a transport where a kept
connection had ended. Whoever counts the calls of a request says whether it may.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_leave: ContextVar[Callable[[], bool] | None] = ContextVar("leave", default=None)


def may_send_again() -> bool:
    """Whether one more request may be sent now; it is then counted as sent."""
    leave = _leave.get()
    return leave is None or leave()


@contextmanager
def counted_by(leave: Callable[[], bool]) -> Iterator[None]:
    token = _leave.set(leave)
    try:
        yield
    finally:
        _leave.reset(token)
