"""A streamed reply is bounded by what it says, not by the bytes that say it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from emerge_core.providers.transport import content
from emerge_core.types import ChatRequest
from tests.support.socket_upstream import Reply

TOP = [{"token": f" token{n}", "logprob": -1.5, "bytes": [32, 116, 111]} for n in range(20)]
TOKEN = {"token": " word", "logprob": -0.1, "bytes": [32, 119, 111, 114, 100], "top_logprobs": TOP}
END = [b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\n', b"data: [DONE]\n\n"]
FRAME = {"id": "chatcmpl-" + "x" * 30, "object": "chat.completion.chunk", "created": 1, "model": "m" * 60}


def event(delta: dict[str, Any], **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": None, **more}
    return b"data: " + json.dumps({**FRAME, "choices": [choice]}).encode() + b"\n\n"


def streamed(exchange: Any, events: list[bytes], request: ChatRequest | None = None) -> Any:
    reply = Reply(reads=[b"".join(events[at : at + 2_000]) for at in range(0, len(events), 2_000)])
    asked = request or ChatRequest.of("Hello")
    return exchange(
        "openai", reply, call=lambda provider: provider.stream("m", asked, timeout_s=60, emit=lambda delta: None)
    )


@pytest.fixture(autouse=True)
def _a_twentieth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the bytes: the tests take a twentieth of the time."""
    monkeypatch.setattr(content, "FRAMING", content.FRAMING // 20)


def test_a_long_answer_is_not_cut_by_its_framing(exchange: Any) -> None:
    one = event({"content": " w"}, padding="x" * 120)
    count = 2 * content.FRAMING // len(one)
    done = streamed(exchange, [*[one] * count, *END])
    assert len(done.completion.text) == 2 * count


def test_probabilities_of_a_long_answer_are_not_cut(exchange: Any) -> None:
    one = event({"content": " word"}, logprobs={"content": [TOKEN]})
    count = content.FRAMING // len(one) + 500
    request = ChatRequest.of("Hello", logprobs=True, top_logprobs=20)
    done = streamed(exchange, [*[one] * count, *END], request)
    assert len(done.completion.logprobs) == count


@pytest.mark.parametrize("delta", [{}, {"content": ""}, {"role": "assistant"}, {"unknown": "x" * 5_000}])
def test_framing_alone_ends_it(exchange: Any, delta: dict[str, Any]) -> None:
    one = event(delta, padding="x" * 5_000)
    error = streamed(exchange, [*[one] * (content.FRAMING // len(one) + 9), *END]).error
    assert error.kind == "bad_response"
    assert "next to no content" in error.message
