"""Which `Host` headers a server accepts.

A server on a loopback address that asks for no key trusts everything on its machine, web pages in a browser included:
a page whose name resolves to 127.0.0.1 (DNS rebinding) could ask it and read the replies. The browser names that page
in `Host`, so such a server accepts loopback names only.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from emerge_core.errors import RequestError

ANY = "*"


class HostCheck:
    """Accepts loopback hosts and the names in `allowed`; `*` among them accepts every host."""

    def __init__(self, allowed: Sequence[str] = ()) -> None:
        self._allowed = frozenset(name.strip().lower() for name in allowed)

    def refusal(self, host: bytes | None) -> RequestError | None:
        """Why a request with this `Host` header is refused, or None. One without the header comes from no browser."""
        if host is None or ANY in self._allowed:
            return None
        name = _without_port(host.decode("latin-1").strip().lower())
        if name in self._allowed or _is_loopback(name):
            return None
        return RequestError(
            f"The host {name[:100]!r} is not accepted: start the server with --allowed-hosts, or with keys.",
            status=403,
            code="host_not_allowed",
            should_retry=False,
        )


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name, _, port = host.rpartition(":")
    return name if name and port.isdecimal() else host


def _is_loopback(name: str) -> bool:
    name = name.removesuffix(".")
    if name in ("127.0.0.1", "localhost") or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
