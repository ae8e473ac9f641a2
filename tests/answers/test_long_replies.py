"""Replies of an upstream that has lost its measure: read beside the event loop, and not at all beyond a bound."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from emerge_core.answers import Extractor, extractor, read_candidate
from emerge_core.answers.forms import json_keys
from emerge_core.types import Call, ChatRequest, Completion, Member, ToolCall

MEMBER = Member(model="m", position=0)
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
TOO_MANY = {
    "objects": '{"a": [' + ",".join(["{}"] * 30_000) + "]}",
    "numbers": json.dumps({"a": list(range(60_000))}),
    "names": json.dumps({str(n): "" for n in range(60_000)}),
    "millions": '{"a": [' + ",".join(["{}"] * 1_000_000) + "]}",
}


def call(completion: Completion) -> Call:
    return Call(id="1", role="member", model="m", provider="p", status="ok", completion=completion)


@pytest.mark.parametrize("text", TOO_MANY.values(), ids=TOO_MANY)
@pytest.mark.parametrize("form", ["text", "schema", "tool"])
def test_json_of_too_many_parts_is_not_parsed(text: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    monkeypatch.setattr(json_keys._DECODER, "decode", parsed.append)
    wanted: dict[str, Any] = {"response_format": {"type": "json_object"}}
    if form == "schema":
        wanted["response_format"] = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}
    if form == "tool":
        wanted = {"tools": (TOOL,), "tool_choice": "required"}
    reply = Completion(text=text, finish_reason="stop")
    if form == "tool":
        reply = Completion(tool_calls=(ToolCall(id="c", name="f", arguments=text),), finish_reason="tool_calls")
    reader = Extractor.of(ChatRequest.of("Reply.", **wanted))
    assert "more than 50,000 parts" in str(reader.why_unusable(reply))
    assert reader.key(reply) is None
    assert parsed == []


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"code": "f(a[0], {b})," * 20_000}),
        json.dumps({"text": '"\\[,' * 40_000}),
        json.dumps([0] * (json_keys.MAX_VALUES - 1)),
    ],
)
def test_what_stands_in_strings_does_not_count(text: str) -> None:
    assert json_keys.parse(text) == (json.loads(text),)


@pytest.mark.parametrize("unit", ['"', '\\"', '"\\', "\\", '",'])
def test_counting_is_linear_in_broken_texts(unit: str) -> None:
    """A hang, not a failure, if it is not: the first of these took a minute by a pattern that demands an end quote."""
    json_keys.exceeds_values("," * 60_000 + unit * (1_000_000 // len(unit)))


def test_long_replies_are_read_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    inner = extractor.candidate

    def watched(*given: Any) -> Any:
        seen.append(threading.get_ident())
        return inner(*given)

    monkeypatch.setattr(extractor, "candidate", watched)

    async def main() -> None:
        short, long = Completion(text="42", finish_reason="stop"), Completion(text="42 " * 9_000, finish_reason="stop")
        tool = Completion(tool_calls=(ToolCall(id="c", name="f", arguments='{"a": "' + "x" * 30_000 + '"}'),))
        reader = Extractor.of(ChatRequest.of("What is 6 times 7?"))
        for reply in (short, long, tool):
            await read_candidate(reader, call(reply), MEMBER)
        asked_at_length = Extractor.of(ChatRequest.of("A. x\nB. y\n" * 9_000))
        await read_candidate(asked_at_length, call(short), MEMBER)

    asyncio.run(main())
    assert [ident == threading.get_ident() for ident in seen] == [True, False, False, False]


def test_one_reader_can_be_used_from_several_threads() -> None:
    """A member that was cut off may still be read in its thread while another one is."""
    reader = Extractor.of(ChatRequest.of("How many?"))
    replies = [Completion(text=f"The answer is {n}. " + "x " * 200, finish_reason="stop") for n in range(4)]
    wrong: list[str] = []

    def read(number: int) -> None:
        for _ in range(200):
            key = reader.key(replies[number])
            if key is None or key.value != str(number):
                wrong.append(f"{number}: {key}")

    threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
