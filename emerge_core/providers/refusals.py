"""Optional parameters that a model refused by name, and the requests without them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TypeVar

from emerge_core.providers.errors import refused_param
from emerge_core.providers.transport.exchange import Reply
from emerge_core.providers.transport.resend import may_send_again
from emerge_core.types import UpstreamError

REMEMBERED_S = 3600.0  # of a refusal: one wasted request an hour

Wire = TypeVar("Wire")


class Refusals:
    """Optional parameters that a model refused by name: left out for an hour, because the answer is worth
    more than they are, and not for ever, because an upstream may learn and a refusal may be misread.
    `parts` names what goes when a parameter of several parts is refused. The clock is the wall's: others
    stand still while a Lambda environment is frozen."""

    def __init__(
        self, parts: Mapping[str, frozenset[str]] | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._parts = parts or {}
        self._clock = clock
        self._until: dict[str, dict[str, float]] = {}  # by model and parameter

    async def ask(
        self,
        model: str,
        prepare: Callable[[frozenset[str]], tuple[Wire, Collection[str]]],
        send: Callable[[Wire], Awaitable[Reply]],
    ) -> tuple[Wire, Reply, int]:
        """What was sent, the reply, and how often was asked. `prepare` builds the request without
        the refused parameters and says which optional ones are in it."""
        attempts = 0
        while True:
            attempts += 1
            refused = self._known(model)
            wire, sent = prepare(refused)
            try:
                return wire, await send(wire), attempts
            except UpstreamError as failure:
                param = refused_param(failure.error, sent)
                if param is None or param in refused or not may_send_again():
                    raise
                until = self._clock() + REMEMBERED_S
                self._until.setdefault(model, {}).update(dict.fromkeys(self._parts.get(param, (param,)), until))

    def _known(self, model: str) -> frozenset[str]:
        now = self._clock()
        return frozenset(param for param, until in self._until.get(model, {}).items() if until > now)
