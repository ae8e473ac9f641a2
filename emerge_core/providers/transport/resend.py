"""Permission to send a request a second time inside one attempt.

An adapter asks for it if a model refuses an optional parameter by name, the transport if a kept connection
was closed before the request was written. The code that counts a request's calls grants it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_permission: ContextVar[Callable[[], bool] | None] = ContextVar("permission", default=None)


def may_send_again() -> bool:
    """Whether one more request may be sent now; it is then counted as sent."""
    permission = _permission.get()
    return permission is None or permission()


@contextmanager
def counted_by(permission: Callable[[], bool]) -> Iterator[None]:
    """Inside, `permission` decides and counts."""
    token = _permission.set(permission)
    try:
        yield
    finally:
        _permission.reset(token)
