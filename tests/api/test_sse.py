"""The bytes of a stream."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from emerge_core.api.sse import pieces
from emerge_core.errors import RequestError

BODY = {"model": "emerge", "messages": [{"role": "user", "content": "6 x 7?"}], "stream": True}


def test_the_stream_byte_by_byte(http: httpx.Client, engine: Any, make: Any) -> None:
    engine.result = make.trace(make.reply("42"))
    reply = http.post("/v1/chat/completions", json=BODY, headers={"x-emerge-trace": "off"})
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert reply.headers["cache-control"] == "no-cache"
    assert reply.headers["x-accel-buffering"] == "no"
    assert reply.headers["x-emerge-ensemble"] == "emerge"
    assert "x-request-id" in reply.headers
    assert "content-length" not in reply.headers
    found = re.search(r'"id":"(chatcmpl-[0-9a-f]{32})","object":"chat.completion.chunk","created":(\d+)', reply.text)
    assert found

    def chunk(delta: str, finish: str = "null") -> str:
        return (
            f'data: {{"id":"{found[1]}","object":"chat.completion.chunk","created":{found[2]},"model":"emerge",'
            f'"system_fingerprint":null,"choices":[{{"index":0,"delta":{delta},"logprobs":null,'
            f'"finish_reason":{finish}}}]}}\n\n'
        )

    assert reply.text == (
        chunk('{"role":"assistant","content":"","refusal":null}')
        + chunk('{"content":"42"}')
        + chunk("{}", '"stop"')
        + "data: [DONE]\n\n"
    )


def test_comments_flow_while_the_panel_works(serve: Callable[..., str], engine: Any) -> None:
    engine.delay_s = 0.3
    with httpx.stream("POST", f"{serve(keepalive_s=0.05)}/v1/chat/completions", json=BODY) as reply:
        parts = list(reply.iter_text())
    assert parts[0] == ": keepalive\n\n"
    assert 3 <= "".join(parts).count(": keepalive\n\n") <= 10
    assert parts[-1].endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("name", ["x-emerge-trace", "x-emerge-deadline", "x-emerge-max-cost"])
def test_what_is_known_before_the_first_byte_is_an_ordinary_error(http: httpx.Client, name: str) -> None:
    reply = http.post("/v1/chat/completions", json=BODY, headers={name: "much"})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, name)


def test_what_fails_at_once_is_an_ordinary_error_too(http: httpx.Client, engine: Any, make: Any) -> None:
    failure = RequestError("all are busy", status=429, type="rate_limit_error", retry_after_s=7)
    engine.result = make.trace(make.failed(), decision=None, failure=failure)
    reply = http.post("/v1/chat/completions", json=BODY)
    assert (reply.status_code, reply.headers["content-type"]) == (429, "application/json")
    assert (reply.headers["retry-after"], reply.headers["x-emerge-degraded"]) == ("7", "true")
    assert reply.json()["error"]["emerge"]["calls"]


def test_a_crash_inside_a_stream_is_told_there_without_its_details(
    serve: Callable[..., str], engine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    engine.result, engine.delay_s = ValueError("secret"), 0.05
    text = httpx.post(f"{serve(keepalive_s=0.04)}/v1/chat/completions", json=BODY).text
    comment, event = text.split("\n\n", 1)
    error = json.loads(event.removeprefix("data: "))["error"]
    assert (comment, error["type"], error["code"]) == (": keepalive", "server_error", "internal_error")
    assert "secret" not in text
    assert "[DONE]" not in text
    assert "secret" in caplog.text


def test_a_client_that_leaves_cancels_the_work(url: str, engine: Any, until: Any) -> None:
    engine.delay_s = 60
    address = urlsplit(url)
    body = json.dumps(BODY).encode()
    with socket.create_connection((address.hostname or "", address.port or 0)) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        assert b"200 OK" in connection.recv(4096)
        until(lambda: len(engine.requests) == 1)
        assert engine.cancelled == 0
    until(lambda: engine.cancelled == 1)


@pytest.mark.parametrize("text", ["", "a", "ab cd", "x" * 100, "word " * 1000, "日本語のテキスト" * 20, " \n\t" * 9])
def test_pieces_add_up(text: str) -> None:
    parts = list(pieces(text))
    assert "".join(parts) == text
    assert len(parts) <= 8
    assert all(parts)
