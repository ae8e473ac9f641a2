"""The keys that clients must send, if any are configured."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence

from emerge_core.config.variables import API_KEYS
from emerge_core.errors import ConfigError, RequestError


def read_api_keys(environ: Mapping[str, str]) -> list[str]:
    """The keys in EMERGE_API_KEYS, separated by commas. An empty list means that no key is needed, so a variable that
    is set but holds no key raises ConfigError."""
    text = environ.get(API_KEYS, "").strip()
    keys = [key.strip() for key in text.split(",") if key.strip()]
    if text and not keys:
        raise ConfigError(f"{API_KEYS} is set but holds no key")
    return keys


class Keyring:
    """Holds digests of the keys only. A presented key is compared with each of them in constant time."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Raises ConfigError for an empty key, which must mean neither "any key" nor "no key needed"."""
        if any(not key.strip() for key in keys):
            raise ConfigError(f"{API_KEYS} holds an empty key: separate keys by single commas, or unset it")
        self._digests = tuple(_digest(key.strip().encode()) for key in keys)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def refusal(self, authorization: bytes | None, api_key: bytes | None = None) -> RequestError | None:
        """Why a request with these `Authorization` and `x-api-key` headers is refused, or None if it is accepted.
        One valid key is enough: Anthropic's clients may send another one beside it."""
        if not self._digests:
            return None
        scheme, _, token = (authorization or b"").partition(b" ")
        bearer = token.strip() if scheme.lower() == b"bearer" else b""
        presented = [key for key in (bearer, (api_key or b"").strip()) if key]
        if not presented:
            return _unauthorized("No API key was given. Send it as `Authorization: Bearer <key>` or `x-api-key`.")
        if sum(self._holds(key) for key in presented):
            return None
        return _unauthorized("The API key is not valid. Use one of the server's own keys.")

    def _holds(self, key: bytes) -> bool:
        digest = _digest(key)
        return bool(sum(hmac.compare_digest(digest, each) for each in self._digests))


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _unauthorized(message: str) -> RequestError:
    return RequestError(message, status=401, code="invalid_api_key", should_retry=False)
