"""What a prompt can make a model or a gateway say is no fault of the provider's: no breaker opens by it, and so one
client cannot take a member away from the others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from emerge_core.config.schema import BreakerConfig
from emerge_core.fanout.breaker import Breakers
from emerge_core.types import ChatRequest, Sink
from tests.support.aws import event_stream
from tests.support.provider_exchange import Exchange, run
from tests.support.socket_upstream import Reply

DEEP = '{"a":' * 20_000 + "1" + "}" * 20_000
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
ASKED = ChatRequest(messages=({"role": "user", "content": "Call f."},), tools=(TOOL,))
QUOTED = "Invalid value 'insufficient_quota!': try again."


def sse(*events: dict[str, Any]) -> Reply:
    return Reply(reads=[f"event: {event.get('type')}\ndata: {json.dumps(event)}\n\n".encode() for event in events])


def openai_calls(*functions: dict[str, Any]) -> dict[str, Any]:
    calls = [{"index": n, "id": f"c{n}", "function": function} for n, function in enumerate(functions)]
    return {"choices": [{"index": 0, "message": {"content": None, "tool_calls": calls}, "finish_reason": "tool_calls"}]}


def anthropic_call(arguments: str) -> Reply:
    block = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    return sse(
        {"type": "message_start", "message": {"role": "assistant", "content": [], "usage": {"input_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": arguments}},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    )


def bedrock(*content: dict[str, Any], stop: str = "tool_use") -> dict[str, Any]:
    return {"output": {"message": {"role": "assistant", "content": list(content)}}, "stopReason": stop}


def bedrock_call(arguments: str) -> Reply:
    at = {"contentBlockIndex": 0}
    events = [
        event_stream.event("contentBlockStart", {**at, "start": {"toolUse": {"toolUseId": "t", "name": "f"}}}),
        event_stream.event("contentBlockDelta", {**at, "delta": {"toolUse": {"input": arguments}}}),
        event_stream.event("messageStop", {"stopReason": "tool_use"}),
        event_stream.event("metadata", {"usage": {"inputTokens": 1, "outputTokens": 1}}),
    ]
    return Reply(reads=events, headers={"content-type": "application/vnd.amazon.eventstream"})


CASES: dict[str, tuple[str, bool, Any]] = {
    "openai: a call without a name": ("openai", False, openai_calls({"name": None, "arguments": "{}"})),
    "openai: very many calls": ("openai", False, openai_calls(*[{"name": "f", "arguments": "{}"}] * 20_000)),
    "openai: 200 with an invalid request": (
        "openai",
        False,
        {"error": {"message": QUOTED, "type": "invalid_request_error", "code": "invalid_value"}},
    ),
    "openai: 200 with a status as text": ("openai", False, {"error": {"message": QUOTED, "code": "400"}}),
    "openai: an invalid request in a stream": (
        "openai",
        True,
        sse({"error": {"message": QUOTED, "type": "invalid_request_error", "code": None}}),
    ),
    "openai: moderation in a stream": ("openai", True, sse({"error": {"message": "Flagged.", "code": 403}})),
    "openai: a long reply": ("openai", True, sse(*[{"choices": [{"delta": {"content": "x" * 900_000}}]}] * 10)),
    "anthropic: a call without a name": (
        "anthropic",
        False,
        {"content": [{"type": "tool_use", "id": "t", "input": {}}], "stop_reason": "tool_use"},
    ),
    "anthropic: arguments that are no JSON": ("anthropic", True, anthropic_call('{"a": ')),
    "anthropic: arguments without an end": ("anthropic", True, anthropic_call(DEEP)),
    "anthropic: moderation in a stream": (
        "anthropic",
        True,
        sse({"type": "error", "error": {"type": "permission_error", "message": "Flagged."}}),
    ),
    "ollama: a call without a name": (
        "ollama",
        False,
        {"message": {"content": "", "tool_calls": [{"function": {"arguments": {}}}]}, "done": True},
    ),
    "bedrock: a call without a name": ("bedrock", False, bedrock({"toolUse": {"toolUseId": "t", "input": {}}})),
    "bedrock: a malformed call": ("bedrock", False, bedrock({"text": "f("}, stop="malformed_tool_use")),
    "bedrock: malformed output": ("bedrock", False, bedrock({"text": "f("}, stop="malformed_model_output")),
    "bedrock: arguments that are no JSON": ("bedrock", True, bedrock_call('{"a": ')),
    "bedrock: arguments without an end": ("bedrock", True, bedrock_call(DEEP)),
    "bedrock: a refusal in a stream": (
        "bedrock",
        True,
        Reply(
            reads=[event_stream.exception("accessDeniedException", "Flagged.")],
            headers={"content-type": "application/vnd.amazon.eventstream"},
        ),
    ),
}


def ask(kind: str, streams: bool, reply: Any) -> Exchange:
    ignored: Sink = lambda delta: None  # noqa: E731

    async def stream(provider: Any) -> Any:
        return await provider.stream("m", ASKED, timeout_s=20, emit=ignored)

    return run(kind, reply, ASKED, timeout_s=20, call=stream if streams else None)


@pytest.mark.parametrize("name", CASES)
def test_what_a_request_can_provoke_opens_no_breaker(name: str) -> None:
    error = ask(*CASES[name]).error
    breakers = Breakers()
    breakers.failed("m", error, BreakerConfig(failures=1), trial=False)
    assert breakers.status() == {}, error


def test_what_the_provider_does_by_itself_opens_one() -> None:
    """The counterpart: else the test above would pass if nothing were ever counted."""
    for reply in (b"<html>", {"hello": 1}, Reply({"error": {"message": "down"}}, status=503), {"error": "overloaded"}):
        error = ask("openai", False, reply).error
        breakers = Breakers()
        breakers.failed("m", error, BreakerConfig(failures=1), trial=False)
        assert list(breakers.status()) == ["m"], error


def test_an_error_body_of_megabytes_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []
    inner = json.loads

    def watched(text: Any) -> Any:
        parsed.append(len(text))
        return inner(text)

    monkeypatch.setattr("emerge_core.providers.errors.json.loads", watched)
    body = b'{"error": {"message": "no", "more": [' + b"{}," * 2_000_000 + b"{}]}}"
    error = ask("openai", False, Reply(body, status=500)).error
    assert (error.kind, error.status) == ("server", 500)
    assert max(parsed, default=0) < 100_000
    assert error.message.startswith('{"error": {"message": "no"')
    assert len(error.message) <= 500
