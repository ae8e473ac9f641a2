"""Name resolution that blocks nobody else.

`loop.getaddrinfo` runs in the event loop's shared thread pool, where one name server that hangs keeps every
other user of the pool waiting. Each provider has a resolver of its own, with at most one thread at work.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from contextlib import suppress
from typing import Any

Address = tuple[socket.AddressFamily, Any]  # the family and the address as `sock_connect` takes it


class Resolver:
    """Looks names up one at a time; callers who ask for the same name meanwhile share the answer."""

    def __init__(self) -> None:
        self._lookups: dict[tuple[str, int], asyncio.Future[list[Address]]] = {}

    async def resolve(self, host: str, port: int) -> list[Address]:
        """The addresses of a host, IPv4 first: every provider has it, while a route for IPv6 is often announced
        and not there. Raises OSError. Cancelling a caller leaves the lookup to the others."""
        with suppress(ValueError):
            version = ipaddress.ip_address(host).version
            return [(socket.AF_INET, (host, port)) if version == 4 else (socket.AF_INET6, (host, port, 0, 0))]
        lookup = self._lookups.get((host, port))
        if lookup is None or lookup.done() or lookup.get_loop() is not asyncio.get_running_loop():
            lookup = self._start(host, port)
        return await asyncio.shield(lookup)

    def _start(self, host: str, port: int) -> asyncio.Future[list[Address]]:
        loop = asyncio.get_running_loop()
        lookup: asyncio.Future[list[Address]] = loop.create_future()
        lookup.add_done_callback(lambda done: done.cancelled() or done.exception())  # it may have lost its callers
        self._lookups[(host, port)] = lookup

        def look_up() -> None:
            found: list[Address] | None = None
            fault: Exception = OSError(f"{host} has no address")
            try:
                found = _addresses(host, port)
            except (OSError, UnicodeError) as error:
                fault = error if isinstance(error, OSError) else OSError(f"{host} is no host name")
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(_settle, lookup, found, fault)

        threading.Thread(target=look_up, name=f"resolve-{host}", daemon=True).start()
        return lookup


def _addresses(host: str, port: int) -> list[Address] | None:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in sorted(found, key=lambda each: each[0] != socket.AF_INET)]


def _settle(lookup: asyncio.Future[list[Address]], found: list[Address] | None, fault: Exception) -> None:
    if lookup.done():
        return
    if found:
        lookup.set_result(found)
    else:
        lookup.set_exception(fault)
