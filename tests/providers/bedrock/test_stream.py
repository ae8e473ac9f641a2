"""Event streams: what is put together equals the whole reply, and damage is seen."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer

from emerge_core.providers.bedrock.stream import Assembly
from emerge_core.providers.errors import Scrubber
from emerge_core.types import CallError, Delta, UpstreamError
from tests.support.aws.event_stream import error, event, events_of, exception, frame

SCRUB = Scrubber(None, {})
USAGE = {"inputTokens": 3, "outputTokens": 5, "totalTokens": 8}


def reply(*blocks: dict[str, Any], stop: str = "end_turn") -> dict[str, Any]:
    return {"output": {"message": {"content": list(blocks)}}, "stopReason": stop, "usage": USAGE}


REPLIES = {
    "text": reply({"text": "The answer is 42."}),
    "calls": reply(
        {"text": "Both."},
        {"toolUse": {"toolUseId": "a", "name": "add", "input": {"a": 1}}},
        {"toolUse": {"toolUseId": "b", "name": "now", "input": {}}},
        stop="tool_use",
    ),
    "reasoning": reply(
        {"reasoningContent": {"reasoningText": {"text": "Hm, 6 * 7.", "signature": "c2ln"}}}, {"text": "42"}
    ),
    "redacted reasoning": reply({"reasoningContent": {"redactedContent": "c2VjcmV0"}}, {"text": "42"}),
    "nothing": reply(),
}


def assembled(data: bytes, step: int | None = None) -> tuple[dict[str, Any], str]:
    texts: list[str] = []

    def emit(delta: Delta) -> None:
        texts.append(delta.text)

    assembly = Assembly(emit, SCRUB)
    for start in range(0, len(data), step or len(data)):
        assembly.feed(data[start : start + (step or len(data))])
    return assembly.reply(), "".join(texts)


@pytest.mark.parametrize("name", REPLIES)
@pytest.mark.parametrize("step", [None, 1, 7, 100])
def test_a_stream_is_the_whole_reply(name: str, step: int | None) -> None:
    whole = REPLIES[name]
    made, told = assembled(b"".join(events_of(whole)), step)
    assert made == whole
    assert told == "".join(block.get("text", "") for block in whole["output"]["message"]["content"])


def test_the_encoder_of_these_tests_is_read_by_botocore() -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(event("messageStop", {"stopReason": "end_turn"}))
    (made,) = list(buffer)
    assert made.headers[":event-type"] == "messageStop" and made.payload == b'{"stopReason": "end_turn"}'


def fault(data: bytes) -> CallError:
    with pytest.raises(UpstreamError) as caught:
        assembled(data)
    return caught.value.error


WHOLE = b"".join(events_of(REPLIES["text"]))
START = event("messageStart", {"role": "assistant"})


def test_what_follows_the_end_is_no_matter_but_a_part_of_an_event_is() -> None:
    assert assembled(WHOLE + event("somethingNew", {}))[0] == REPLIES["text"]
    assert fault(WHOLE + event("somethingNew", {})[:-3]).kind == "bad_response"


@pytest.mark.parametrize(
    "data",
    [
        START,
        b"".join(events_of(REPLIES["text"])[:-2]),
        WHOLE[:-1] + bytes([WHOLE[-1] ^ 1]),
        WHOLE[:8] + b"\x00\x00\x00\x00" + WHOLE[12:],
        b"\xff" * 16,
        START + frame({":event-type": "contentBlockDelta", ":message-type": "event"}, b"{"),
        START + frame({":event-type": "contentBlockDelta", ":message-type": "event"}, b"[1]"),
        START + event("contentBlockDelta", {"delta": {"text": "x"}}),
        START + event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"toolUse": {"input": "{}"}}}),
    ],
    ids=[
        "only a start", "no messageStop", "a checksum that does not match", "a prelude that does not match",
        "no frame", "no JSON", "a list", "no index", "a call that did not start",
    ],
)  # fmt: skip
def test_a_damaged_stream_is_a_bad_response(data: bytes) -> None:
    assert fault(data).kind == "bad_response"


def test_without_metadata_the_reply_stands_and_its_usage_is_unknown() -> None:
    made, _ = assembled(b"".join(events_of(REPLIES["text"])[:-1]))
    assert made["usage"] is None and made["stopReason"] == "end_turn"


def test_arguments_that_were_cut_off_are_no_call_and_broken_ones_a_fault() -> None:
    def stream(stop: str) -> bytes:
        at = {"contentBlockIndex": 0}
        start = {"toolUse": {"toolUseId": "a", "name": "add"}}
        return b"".join(
            [
                event("contentBlockStart", {**at, "start": start}),
                event("contentBlockDelta", {**at, "delta": {"toolUse": {"input": '{"a": '}}}),
                event("messageStop", {"stopReason": stop}),
                event("metadata", {"usage": USAGE}),
            ]
        )

    made, _ = assembled(stream("max_tokens"))
    assert made["output"]["message"]["content"][0]["toolUse"]["input"] == '{"a": '
    assert fault(stream("tool_use")).kind == "bad_response"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (exception("throttlingException", "Too many requests"), "rate_limit"),
        (exception("modelStreamErrorException", "The model failed"), "server"),
        (exception("internalServerException", "Oops"), "server"),
        (exception("serviceUnavailableException", "Later"), "server"),
        (exception("validationException", "Input is too long for requested model."), "context_length"),
        (exception("validationException", "Bad field"), "invalid_request"),
        (error("InternalFailure", "Oops"), "server"),
    ],
)
def test_an_exception_inside_the_stream(data: bytes, kind: str) -> None:
    told = fault(START + data)
    assert told.kind == kind and told.status is None
