"""The keys that clients must show, where any are configured."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from emerge_core.errors import ConfigError, RequestError


class Keyring:
    """Holds digests only. Every key is compared, in constant time, whether or not one matched before."""

    def __init__(self, keys: Sequence[str]) -> None:
        if any(not key.strip() for key in keys):
            # An empty entry must not silently turn into "anyone", nor into "no keys, so no check".
            raise ConfigError("EMERGE_API_KEYS holds an empty key: separate keys by single commas, or unset it")
        self._digests = tuple(_digest(key.strip().encode()) for key in keys)

    def refusal(self, authorization: bytes | None) -> RequestError | None:
        """Why this `Authorization` header opens nothing, or None where it does."""
        if not self._digests:
            return None
        scheme, _, token = (authorization or b"").partition(b" ")
        if scheme.lower() != b"bearer" or not token.strip():
            return _unauthorized("No API key was given. Send it as `Authorization: Bearer <key>`.")
        shown = _digest(token.strip())
        matches = sum(hmac.compare_digest(shown, digest) for digest in self._digests)
        return None if matches else _unauthorized("The API key is not valid. Use one of the server's own keys.")


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _unauthorized(message: str) -> RequestError:
    return RequestError(message, status=401, code="invalid_api_key", should_retry=False)
