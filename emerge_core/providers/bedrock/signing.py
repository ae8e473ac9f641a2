"""Signature Version 4 with credentials from botocore's own chain.

The chain may read files and ask a metadata or token service, so it runs in a thread of its own with a
time limit, and never on the event loop. Credentials that expire are renewed before they do, and once
more when Bedrock says that they have. Nothing is looked up before the first request: a snapshot of the
process holds no credentials.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as StaticCredentials

from emerge_core.errors import ConfigError

SERVICE = "bedrock"
LOOKUP_S = 10.0

Chain = Callable[[], Any]  # botocore's credentials, or None if there are none; may block


def default_chain() -> Any:
    from botocore.session import Session

    return Session().get_credentials()


class Signer:
    """Signs requests for one Region."""

    def __init__(self, region: str, *, chain: Chain = default_chain, lookup_s: float = LOOKUP_S) -> None:
        self._region = region
        self._chain = chain
        self._lookup_s = lookup_s
        self._found: Any = None
        self._lookup: asyncio.Future[Any] | None = None

    async def headers(self, url: str, body: bytes, headers: Mapping[str, str]) -> dict[str, str]:
        """The headers to send with this POST, signature included. `url` is signed as it stands.

        Raises ConfigError if there are no credentials, or if they cannot be had in time.
        """
        frozen = await self._credentials()
        request = AWSRequest(method="POST", url=url, data=body, headers=dict(headers))
        SigV4Auth(
            StaticCredentials(frozen.access_key, frozen.secret_key, frozen.token), SERVICE, self._region
        ).add_auth(request)
        return dict(request.headers.items())

    def forget(self) -> None:
        """Looks the credentials up again for the next request: those in hand were refused as expired."""
        self._found = None

    async def _credentials(self) -> Any:
        found = self._found
        if found is None or (hasattr(found, "refresh_needed") and found.refresh_needed()):
            found = await self._looked_up()
        return found.get_frozen_credentials()

    async def _looked_up(self) -> Any:
        """One look-up for all requests that wait for it; it goes on if one of them is cancelled."""
        if self._lookup is None or self._lookup.done():
            self._lookup = _in_a_thread(self._look_up)
        try:
            self._found = await asyncio.wait_for(asyncio.shield(self._lookup), self._lookup_s)
        except TimeoutError:
            raise ConfigError(f"the AWS credentials could not be had within {self._lookup_s:g} s") from None
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(f"the AWS credentials could not be had ({type(error).__name__})") from None
        return self._found

    def _look_up(self) -> Any:
        found = self._found or self._chain()
        if found is None:
            raise ConfigError(
                "there are no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, "
                "or run with a role"
            )
        found.get_frozen_credentials()  # renews them if they are about to expire
        return found


def _in_a_thread(work: Callable[[], Any]) -> asyncio.Future[Any]:
    """The result of `work`, done in a thread of its own: a look-up that hangs holds up no other thread pool."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if not future.done():
            future.set_exception(error) if error else future.set_result(result)

    def run() -> None:
        result, failed = None, None
        try:
            result = work()
        except BaseException as error:
            failed = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, failed)

    threading.Thread(target=run, name="aws-credentials", daemon=True).start()
    future.add_done_callback(
        lambda done: done.cancelled() or done.exception()
    )  # marks its error as read: every waiter may have been cancelled
    return future
