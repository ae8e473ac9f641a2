"""What the adapters on official SDKs share. Both SDKs are made by one generator, so their transports
and their faults have one shape."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import aclosing
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

import httpx2

from emerge_core.providers.errors import (
    Scrubber,
    http_failure,
    json_object,
    not_connected,
    not_encodable,
    refused_param,
    timed_out,
)
from emerge_core.providers.rate_limits import rate_limits
from emerge_core.providers.transport.resend import may_send_again
from emerge_core.providers.transport.sse import drain, events
from emerge_core.types import JsonObject, RateLimits, UpstreamError

REMEMBERED_S = 3600.0  # of a refusal: one wasted request an hour

Wire = TypeVar("Wire")


class Told(NamedTuple):
    """An upstream's whole reply, and what it says of its rate limits."""

    reply: dict[str, Any]
    rate_limits: RateLimits


async def post(
    sdk: ModuleType,
    client: Any,
    path: str,
    body: JsonObject,
    *,
    timeout_s: float,
    scrub: Scrubber,
    headers: Mapping[str, str] | None = None,
) -> Told:
    """A reply's JSON object. The SDK authenticates and sends; building its types takes longer than
    the rest of a call, and compatible servers stray from them. Raises UpstreamError."""
    response = await _send(
        sdk, client, path, body, timeout_s=timeout_s, scrub=scrub, headers=headers or {}, stream=False
    )
    return Told(json_object(response.content), rate_limits(response.headers))


async def stream(
    sdk: ModuleType,
    client: Any,
    path: str,
    body: JsonObject,
    *,
    timeout_s: float,
    scrub: Scrubber,
    take: Callable[[bytes], bool],
    headers: Mapping[str, str] | None = None,
) -> RateLimits:
    """Hands the data of each server-sent event to `take`, until that says that it was the last. A reply
    that does not stream is one event. Raises UpstreamError."""
    response = await _send(
        sdk, client, path, body, timeout_s=timeout_s, scrub=scrub, headers=headers or {}, stream=True
    )
    try:
        if "event-stream" not in response.headers.get("content-type", ""):
            take(await response.aread())
            return rate_limits(response.headers)
        received = response.aiter_bytes()
        async with aclosing(events(received)) as found:
            async for data in found:
                if take(data):
                    break
        await drain(received)
        return rate_limits(response.headers)
    except httpx2.TimeoutException:
        raise timed_out(timeout_s) from None
    except httpx2.HTTPError as error:
        raise not_connected(error, scrub=scrub) from None
    finally:
        await response.aclose()


async def _send(
    sdk: ModuleType,
    client: Any,
    path: str,
    body: JsonObject,
    *,
    timeout_s: float,
    scrub: Scrubber,
    headers: Mapping[str, str],
    stream: bool,
) -> httpx2.Response:
    """A reply of status 200. Raises UpstreamError."""
    options = {"timeout": timeout_s, "headers": dict(headers)}
    try:
        response: httpx2.Response = await client.post(
            path, cast_to=httpx2.Response, body=body, options=options, stream=stream
        )
    except sdk.APIStatusError as error:
        response = error.response
    except sdk.APITimeoutError:
        raise timed_out(timeout_s) from None
    except (sdk.APIError, httpx2.HTTPError) as error:
        raise not_connected(error, scrub=scrub) from None
    except (ValueError, TypeError, RecursionError) as error:
        raise not_encodable(error) from None
    if response.status_code != 200:
        content = await response.aread()
        await response.aclose()
        raise http_failure(response.status_code, response.headers, content, scrub=scrub)
    return response


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
        send: Callable[[Wire], Awaitable[Told]],
    ) -> tuple[Wire, Told, int]:
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
