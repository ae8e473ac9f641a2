"""The errors that callers of this package see.

EmergeError              base of all; its text is written for the user and safe to show
├── ConfigError          the config is missing, malformed or inconsistent (HTTP 503 when serving)
├── MissingExtraError    a package that only some features need is not installed
└── RequestError         this request cannot be answered; carries the HTTP status and OpenAI's fields
"""

from __future__ import annotations

from emerge_core.about import DISTRIBUTION

CLIENT_LEFT = 499  # never sent: the client has closed the connection


class EmergeError(Exception):
    """Base of all errors whose message is written for the user and holds no secret."""


class ConfigError(EmergeError):
    """Names the place (`ensembles.emerge.members[1]`), the fault and the fix."""


class MissingExtraError(EmergeError):
    """`needs` says what needs which package, `extra` is the extra of the distribution that brings it."""

    def __init__(self, needs: str, *, extra: str) -> None:
        super().__init__(f"{needs}: pip install '{DISTRIBUTION}[{extra}]'")


class RequestError(EmergeError):
    """An error reply: `{"error": {"message", "type", "param", "code"}}` with `status`.

    `retry_after_s` becomes the Retry-After header. `should_retry` False tells OpenAI's clients not
    to ask again, because upstreams were billed and the same would happen again.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        type: str = "invalid_request_error",  # noqa: A002  (the field's name on the wire)
        code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
        should_retry: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.type = type
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s
        self.should_retry = should_retry


INTERNAL = RequestError(
    "The server had an error while processing this request. It is logged under the request's id.",
    status=500,
    type="server_error",
    code="internal_error",
)
