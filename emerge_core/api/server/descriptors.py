"""How many requests and connections fit into the file descriptors that the system allows a process."""

from __future__ import annotations

from typing import NamedTuple

FILES = 64  # descriptors for everything that is no connection


class Capacity(NamedTuple):
    """`requests` at once are answered. While more than `served` connections are open, each is closed after its reply;
    beyond `accepted` they wait in the kernel's queue, so that descriptors for upstreams remain."""

    requests: int
    served: int
    accepted: int


def capacity(descriptors: int, *, panel: int, max_requests: int | None = None) -> Capacity:
    """`panel` is the number of upstream calls that one request may have open at once."""
    spare = max(descriptors - FILES, 16)
    requests = max_requests or max(spare // (2 + panel), 1)
    upstream = min(requests * panel, spare * panel // (2 + panel))
    accepted = spare - upstream
    return Capacity(requests=requests, served=max(accepted * 3 // 4, 1), accepted=accepted)
