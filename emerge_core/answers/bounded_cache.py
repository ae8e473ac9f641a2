"""A cache of what was derived from texts that clients send, bounded in bytes."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from threading import Lock
from typing import Generic, TypeVar

V = TypeVar("V")
_ENTRY = 300  # bytes of an entry beside its value: digest, node, size


class BoundedCache(Generic[V]):
    """Values by the digest of a text, least recently used first out. Thread-safe.

    The texts themselves are not kept. The caller states the size of each value in bytes; a value larger than
    `max_bytes` is not kept at all.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._entries: OrderedDict[bytes, tuple[V, int]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, text: str) -> tuple[V] | None:
        """The value in a tuple of one, or None if there is none."""
        key = _digest(text)
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return (entry[0],)

    def put(self, text: str, value: V, size: int) -> None:
        size += _ENTRY
        if size > self.max_bytes:
            return
        key = _digest(text)
        with self._lock:
            if (old := self._entries.pop(key, None)) is not None:
                self.bytes -= old[1]
            self._entries[key] = (value, size)
            self.bytes += size
            while self.bytes > self.max_bytes:
                self.bytes -= self._entries.popitem(last=False)[1][1]

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()
            self.bytes = 0


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=20).digest()
