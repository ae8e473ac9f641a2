"""From what an upstream sends or does when a call fails to a `CallError` that is safe to show."""

from __future__ import annotations

import base64
import json
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from emerge_core.providers.rate_limits import rate_limits
from emerge_core.types import CallError, ErrorKind, UpstreamError

MAX_MESSAGE = 500
REQUEST_STATUSES = frozenset({400, 403, 413, 422})  # the request's fault, or may be: a 403 is often the prompt's

_CONTEXT_LENGTH = re.compile(
    r"context_length_exceeded|exceed_context_size|maximum context length|prompt is too long|"
    r"exceeds? (the )?(available |maximum |model'?s )*context|context (window|length|size) (is )?exceeded|"
    r"input token count .{0,40}exceeds|reduce the length of the (messages|prompt)|input length exceeds",
    re.IGNORECASE,
)
_OUT_OF_CREDIT = re.compile(  # a 400 must begin with it: it may quote the request
    r"(\w+_error )?(your )?(insufficient_quota|credit balance is too low|billing_)", re.IGNORECASE
)
_NO_MODEL = re.compile(r"invalid model name passed in", re.IGNORECASE)  # LiteLLM
_NO_IMAGES = re.compile(r"image input is not supported", re.IGNORECASE)


REDACTED = "[redacted]"
MAX_READ = 20_000  # characters of an upstream's message that are looked at
MAX_ERROR = 200_000  # bytes of an error body that is parsed
CUT = 12  # characters of a secret that give it away


class Scrubber:
    """Cuts what must not be seen (our key, values of configured headers, what else a base URL holds than a
    place) out of upstream texts, in whichever spelling they come back."""

    def __init__(self, api_key: str | None, headers: Mapping[str, str], base_url: str | None = None) -> None:
        secrets = [api_key or "", *headers.values(), *_secrets_of(base_url or "")]
        secrets += [secret.split(" ", 1)[1] for secret in secrets if " " in secret]  # Bearer …
        spelt = {spelling for secret in secrets if len(secret) >= 6 for spelling in _spellings(secret)}
        self._secrets = sorted(spelt, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        text = text[:MAX_READ]
        for secret in self._secrets:
            text = _redacted(text, secret)
        text = " ".join(text.split())
        return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"


def _redacted(text: str, secret: str) -> str:
    """The text without the secret in any case, and without its beginning or end of `CUT` characters or more."""
    text = re.sub(re.escape(secret), REDACTED, text, flags=re.IGNORECASE)
    if len(secret) <= CUT:
        return text
    text = _without_beginnings(text, secret, REDACTED)
    return _without_beginnings(text[::-1], secret[::-1], REDACTED[::-1])[::-1]


def _without_beginnings(text: str, secret: str, instead: str) -> str:
    beginning, wanted = re.compile(re.escape(secret[:CUT]), re.IGNORECASE), secret.lower()
    parts, at = [], 0
    while found := beginning.search(text, at):
        end, known = found.end(), CUT
        while end < len(text) and known < len(wanted) and text[end].lower() == wanted[known]:
            end, known = end + 1, known + 1
        parts += [text[at : found.start()], instead]
        at = end
    return "".join([*parts, text[at:]])


def _secrets_of(url: str) -> list[str]:
    """The password and the query's values, as they stand there and as they are sent."""
    parts = urlsplit(url)
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    plain = f"{unquote(user)}:{unquote(password)}"
    values = [value for _, value in parse_qsl(parts.query)]
    return [password, unquote(password), base64.b64encode(plain.encode()).decode(), *values] if password else values


def _spellings(secret: str) -> set[str]:
    return {secret, quote(secret, safe=""), quote(secret), json.dumps(secret)[1:-1], repr(secret)[1:-1]}


def http_failure(
    status: int, headers: Mapping[str, str], body: bytes | str, *, scrub: Scrubber, now: float | None = None
) -> UpstreamError:
    """The error for a reply whose status is not 2xx, with the upstream's own message."""
    message, code, kind, param = _error_fields(body)
    return UpstreamError(
        CallError(
            kind=_kind(status, " ".join(filter(None, [code, kind, message]))[:MAX_READ]),
            message=scrub(message) or scrub(_status_line(status, headers)),
            status=status,
            retry_after_s=retry_after(headers, now=now),
            param=scrub(param) if param else None,
            code=scrub(code) if code else None,
            rate_limits=rate_limits(headers, now=now),
        )
    )


def timed_out(timeout_s: float) -> UpstreamError:
    return UpstreamError(CallError(kind="timeout", message=f"no complete reply within {timeout_s:g} s"))


def connection_failed(what: str, *, sent: bool, scrub: Scrubber) -> UpstreamError:
    """`sent` says that the upstream may have taken the request, and bill it."""
    return UpstreamError(CallError(kind="connection", message=f"connection failed: {scrub(what)}", sent=sent))


def bad_response(what: str, *, status: int | None = 200, provoked: bool = False) -> UpstreamError:
    """`provoked` says that the fault is in what the model wrote, so a request can ask for it."""
    return UpstreamError(CallError(kind="bad_response", message=what, status=status, provoked=provoked))


def sent_in_stream(failure: UpstreamError) -> UpstreamError:
    """An error that an upstream sent inside a stream: the status of the reply was a good one."""
    provoked = failure.error.provoked or failure.error.status in REQUEST_STATUSES
    return UpstreamError(replace(failure.error, status=None, provoked=provoked))


def unsupported(what: str, *, param: str | None = None) -> UpstreamError:
    return UpstreamError(CallError(kind="unsupported", message=what, param=param))


def not_encodable(error: Exception) -> UpstreamError:
    return UpstreamError(CallError(kind="invalid_request", message=f"the request is not valid JSON text: {error}"))


def json_object(content: bytes, decode: Callable[[str], Any] = json.loads) -> dict[str, Any]:
    """The object in a 2xx reply; anything else is not what the API promises."""
    try:
        reply = decode(content.decode("utf-8-sig", "surrogatepass"))
    except RecursionError as error:  # which a model can be asked for
        raise bad_response("the upstream's reply is nested too deeply", provoked=True) from error
    except ValueError as error:
        what = "HTML" if content.lstrip()[:1] == b"<" else "no JSON"
        raise bad_response(f"the upstream answered 200 with {what}") from error
    if not isinstance(reply, dict):
        raise bad_response(f"the upstream answered 200 with a JSON {type(reply).__name__}, not an object")
    return reply


def retry_after(headers: Mapping[str, str], *, now: float | None = None) -> float | None:
    """Seconds to wait as the upstream asks: `retry-after-ms`, or Retry-After in seconds or as a date."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return max(0.0, milliseconds / 1000)
    text = headers.get("retry-after")
    seconds = _number(text)
    if seconds is not None or text is None:
        return None if seconds is None else max(0.0, seconds)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - (time.time() if now is None else now))
    except (ValueError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _kind(status: int, text: str) -> ErrorKind:
    if _OUT_OF_CREDIT.match(text) if status == 400 else _OUT_OF_CREDIT.search(text):
        return "auth"  # our account, and asking again does not help
    if _NO_MODEL.search(text[:120]) and status == 400:
        return "not_found"
    if _NO_IMAGES.search(text) and status == 500:
        return "invalid_request"  # llama.cpp's words for a request that this model cannot take
    if status in (400, 413, 422) and _CONTEXT_LENGTH.search(text):
        return "context_length"
    by_status: dict[int, ErrorKind] = {
        401: "auth",
        402: "auth",
        403: "auth",
        404: "not_found",
        408: "timeout",
        425: "server",
        429: "rate_limit",
    }
    if status in by_status:
        return by_status[status]
    if status >= 500:
        return "server"
    return "invalid_request" if status >= 400 else "bad_response"


def _error_fields(body: bytes | str) -> tuple[str, str | None, str | None, str | None]:
    """(message, code, type, param) of an error body, in any of the shapes that upstreams use."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    if len(text) > MAX_ERROR:
        return ("" if text.lstrip()[:1] == "<" else text[:MAX_READ]), None, None, None
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return ("" if text.lstrip()[:1] == "<" else text), None, None, None
    error = parsed.get("error", parsed) if isinstance(parsed, dict) else parsed
    if not isinstance(error, dict):
        return (error if isinstance(error, str) else json.dumps(parsed)), None, None, None
    message = error.get("message", error.get("detail"))
    code, kind, param = error.get("code"), error.get("type"), error.get("param")
    return (
        message if isinstance(message, str) else json.dumps(error if message is None else message),
        str(code) if isinstance(code, (str, int)) else None,
        kind if isinstance(kind, str) else None,
        param if isinstance(param, str) else None,
    )


def _status_line(status: int, headers: Mapping[str, str]) -> str:
    if 300 <= status < 400:
        return f"HTTP {status}: the base_url redirects elsewhere"
    return f"HTTP {status} without a message ({headers.get('content-type', 'no content type')})"
