"""How calls fail: the same for every adapter that speaks HTTP, against a real upstream."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from pydantic import ValidationError

from emerge_core.errors import ConfigError
from emerge_core.providers.errors import Scrubber, retry_after
from emerge_core.providers.rate_limits import rate_limits
from emerge_core.types import CallError, ChatRequest, UpstreamError

KINDS = ("openai", "anthropic", "ollama")
HELLO = ChatRequest(messages=({"role": "user", "content": "Hello"},))
ANSWER = {
    "choices": [{"message": {"content": "Hi"}}],
    "content": [{"type": "text", "text": "Hi"}],
    "message": {"content": "Hi"},
}


def openai_error(message: str, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "some_error", "param": None, "code": code}}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("status", "expected", "retryable"),
    [
        (400, "invalid_request", False),
        (401, "auth", False),
        (402, "auth", False),
        (403, "auth", False),
        (404, "not_found", False),
        (408, "timeout", True),
        (409, "invalid_request", True),
        (413, "invalid_request", False),
        (422, "invalid_request", False),
        (429, "rate_limit", True),
        (500, "server", True),
        (502, "server", True),
        (503, "server", True),
        (529, "server", True),
        (307, "bad_response", False),
        (204, "bad_response", False),
    ],
)
def test_every_status_has_its_kind(
    exchange: Any, reply: Any, kind: str, status: int, expected: str, retryable: bool
) -> None:
    body = b"" if status == 204 else openai_error("Told so.")
    done = exchange(kind, reply(body, status, {"location": "/elsewhere"}))
    assert (done.error.kind, done.error.status, done.error.retryable) == (expected, status, retryable)
    assert len(done.upstream.sent) == 1  # the SDKs' own retries are off
    if status >= 400:
        assert done.error.message == "Told so."


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        (openai_error("Told so.", "some_code"), "Told so.", "some_code"),
        ({"type": "error", "error": {"type": "invalid_request_error", "message": "Told."}}, "Told.", None),
        ({"error": "model 'x' not found"}, "model 'x' not found", None),
        ({"detail": "Not that."}, "Not that.", None),
        ({"message": "Plainly."}, "Plainly.", None),
        ({"error": {"weird": 1}}, '{"weird": 1}', None),
        ("plain text", "plain text", None),
        ("<html><body>Bad gateway</body></html>", "HTTP 400 without a message (application/json)", None),
        ("", "HTTP 400 without a message (application/json)", None),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_the_upstreams_own_message(
    exchange: Any, reply: Any, kind: str, body: Any, message: str, code: str | None
) -> None:
    error = exchange(kind, reply(body, 400)).error
    assert (error.message, error.code) == (message, code)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, openai_error("Too long.", "context_length_exceeded"), "context_length"),
        (400, openai_error("This model's maximum context length is 8192 tokens."), "context_length"),
        (400, {"error": {"message": "prompt is too long: 210000 tokens > 200000 maximum"}}, "context_length"),
        (400, {"error": "the request exceeds the available context size"}, "context_length"),
        (413, openai_error("Please reduce the length of the messages or completion."), "context_length"),
        (400, openai_error("context is a required field"), "invalid_request"),
        (429, openai_error("You exceeded your current quota.", "insufficient_quota"), "auth"),
        (400, {"error": {"message": "Your credit balance is too low to access the API."}}, "auth"),
        (400, openai_error("Invalid 'stop': 'insufficient_quota!' is not allowed."), "invalid_request"),
        (400, openai_error("Invalid model name passed in model=x. Call /v1/models."), "not_found"),
        (500, openai_error("image input is not supported - hint: provide the mmproj"), "invalid_request"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_kinds_that_only_the_text_tells(
    exchange: Any, reply: Any, kind: str, status: int, body: Any, expected: str
) -> None:
    assert exchange(kind, reply(body, status)).error.kind == expected


@pytest.mark.parametrize("kind", KINDS)
def test_retry_after_arrives(exchange: Any, reply: Any, kind: str) -> None:
    assert exchange(kind, reply(openai_error("Slow."), 429, {"Retry-After": "7"})).error.retry_after_s == 7.0
    assert exchange(kind, reply(openai_error("Slow."), 429)).error.retry_after_s is None


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "x", "retry-after": "9"}, 9.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:10 GMT"}, 10.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:10 GMT"}, 0.0),
    ],
)
def test_retry_after(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after(headers, now=60.0) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_the_key_is_never_shown(exchange: Any, reply: Any, kind: str) -> None:
    body = openai_error("Incorrect API key sk-very-secret-key and token hush-hush. " + "x" * 2000)
    error = exchange(kind, reply(body, 401), headers={"X-Token": "Bearer hush-hush"}).error
    assert error.message.startswith("Incorrect API key [redacted] and token [redacted]. xxx")
    assert len(error.message) == 500


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", ["sk-very\nsecret-key", "sk-very-secret-k\u00e9y"])
def test_a_key_that_no_header_can_carry_is_a_config_error(exchange: Any, kind: str, key: str) -> None:
    with pytest.raises(ConfigError, match="api_key") as caught:
        exchange(kind, ANSWER, api_key=key)
    assert "secret" not in str(caught.value)
    printable = key.isprintable()  # what is not, the config refuses already
    with pytest.raises(ConfigError if printable else ValidationError, match="X-Team" if printable else "headers"):
        exchange(kind, ANSWER, headers={"X-Team": key})
    assert exchange(kind, ANSWER, api_key=" sk-x\n").sent.headers["authorization"] == "Bearer sk-x"


def test_a_short_header_value_is_no_secret() -> None:
    assert Scrubber(None, {"x-stage": "on"})("only on\n  Monday") == "only on Monday"


@pytest.mark.parametrize("kind", KINDS)
def test_a_slow_upstream_is_a_timeout(exchange: Any, reply: Any, kind: str) -> None:
    done = exchange(kind, reply(does="hang"), timeout_s=0.1)
    assert (done.error.kind, done.error.retryable) == ("timeout", False)
    assert "0.1 s" in done.error.message


@pytest.mark.parametrize("kind", KINDS)
def test_a_connection_that_breaks(exchange: Any, reply: Any, kind: str) -> None:
    assert exchange(kind, reply(does="close")).error.kind == "connection"


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_listens(adapter_of: Any, kind: str) -> None:
    with socket.socket() as taken:  # bound, not listening: nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"

        async def main() -> UpstreamError:
            async with adapter_of(kind, url) as provider:
                with pytest.raises(UpstreamError) as caught:
                    await provider.complete("m", HELLO, timeout_s=5)
            return caught.value

        error = asyncio.run(main()).error
    assert error.kind == "connection"
    assert error.retryable
    assert error.line.startswith("connection failed: ")


def test_an_error_in_one_line_names_its_kind_once() -> None:
    refused = CallError(kind="connection", message="connection failed: refused")
    skipped = CallError(kind="connection", message="not asked for 10 s")
    down = CallError(kind="server", message="server down", status=503)
    assert refused.line == "connection failed: refused"
    assert skipped.line == "connection: not asked for 10 s"
    assert down.line == "server 503: server down"


@pytest.mark.parametrize("kind", KINDS)
def test_cancelling_closes_the_connection(upstream_of: Any, adapter_of: Any, reply: Any, kind: str) -> None:
    async def main() -> int:
        async with upstream_of(reply(does="hang")) as upstream, adapter_of(kind, upstream.url) as provider:
            call = asyncio.create_task(provider.complete("m", HELLO, timeout_s=30))
            while not upstream.sent:
                await asyncio.sleep(0.01)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            for _ in range(200):
                if upstream.hung_up:
                    break
                await asyncio.sleep(0.01)
            return int(upstream.hung_up)

    assert asyncio.run(main()) == 1


LIMITS = {
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-remaining-tokens": "149984",
    "x-ratelimit-reset-requests": "1s",
}
THEIRS = {
    "anthropic-ratelimit-requests-limit": "60",
    "anthropic-ratelimit-tokens-remaining": "149984",
    "anthropic-ratelimit-requests-reset": "2026-01-01T00:00:01Z",
    "anthropic-ratelimit-input-tokens-limit": "9",
}


def test_rate_limits_are_told_in_one_way() -> None:
    now = 1767225600.0  # 2026-01-01T00:00:00Z
    assert dict(rate_limits({name.title(): value for name, value in LIMITS.items()})) == LIMITS
    assert dict(rate_limits(THEIRS, now=now)) == LIMITS
    assert rate_limits({"anthropic-ratelimit-tokens-reset": "soon", "x-ratelimit-limit-tokens": "a\nb"}) == ()


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
@pytest.mark.parametrize("status", [200, 429])
def test_rate_limits_come_with_replies_and_errors(exchange: Any, reply: Any, kind: str, status: int) -> None:
    headers = LIMITS if kind == "openai" else THEIRS
    done = exchange(kind, reply(ANSWER, status, headers))
    found = done.completion.rate_limits if status == 200 else done.error.rate_limits
    assert ("x-ratelimit-limit-requests", "60") in found


@pytest.mark.parametrize("kind", KINDS)
def test_arguments_nested_too_deep_in_a_conversation_are_sent_all_the_same(exchange: Any, kind: str) -> None:
    deep = "[" * 20_000 + "]" * 20_000
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": deep}}
    turns: Any = (
        {"role": "user", "content": "Go."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "3"},
    )
    assert exchange(kind, ANSWER, ChatRequest(messages=turns)).completion.text == "Hi"
