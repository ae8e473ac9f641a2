"""An agent of ten turns through a panel of three kinds, another member winning at each turn: the official
client, and upstreams that refuse a conversation as the real APIs would."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessage

TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "look",
            "parameters": {
                "type": "object",
                "properties": {"place": {"type": "string"}, "depth": {"type": "integer", "default": 1}},
                "required": ["place"],
                "additionalProperties": False,
            },
        },
    },
    {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
]
IDS = {"openai": "call_{}", "anthropic": "toolu_{}", "ollama": ""}
TURNS = 10


def script(turn: int, winner: str, said: Any, call: Any) -> dict[str, Any]:
    """What each member says: the winner and whoever comes after it in the panel agree, the others call what
    the schema forbids, or nothing at all."""
    order = list(IDS)
    says: dict[str, Any] = {}
    for place, member in enumerate(order):
        number = IDS[member].format(f"{turn}{place}") if member == winner else IDS[member].format(turn)
        if place < order.index(winner):
            wrong = call("look", {"place": 7}) if turn % 2 else call("fly", {})
            says[member] = said(text=None, calls=(wrong,), finish="tool_calls")
        elif turn % 4 == 3:
            parallel = (call("look", {"place": "über"}, number), call("now", {}, number and f"{number}b"))
            says[member] = said(text="Both.", calls=parallel, finish="tool_calls")
        else:
            says[member] = said(text=None, calls=(call("look", {"place": "sea"}, number),), finish="tool_calls")
    return says


@pytest.mark.parametrize("streamed", [False, True])
def test_ten_turns_with_the_winner_changing(
    emerge: openai.OpenAI, upstream: Any, said: Any, call: Any, streamed: bool
) -> None:
    messages: list[Any] = [{"role": "system", "content": "Explore."}, {"role": "user", "content": "Where are we?"}]
    winners, ids = [], []
    for turn in range(TURNS):
        winner = list(IDS)[turn % 3]
        upstream.says = script(turn, winner, said, call)
        message, emerge_object = ask(emerge, messages, streamed)
        calls = {each["id"]: each for each in emerge_object["calls"]}
        winners.append(calls[emerge_object["selected"][0]]["model"])
        assert {each["status"] for each in calls.values()} == {"ok"}, calls
        assert message.tool_calls
        if winner != "ollama":
            assert [made.id for made in message.tool_calls] == [c.id for c in upstream.says[winner].calls]
        ids += [made.id for made in message.tool_calls]
        messages.append(message.model_dump(exclude_unset=True))
        for made in message.tool_calls:
            assert json.loads(made.function.arguments) in ({"place": "sea"}, {"place": "über"}, {})
            messages.append({"role": "tool", "tool_call_id": made.id, "content": f"{made.function.name}: water"})
    upstream.says = {member: said(text="We are at sea.") for member in IDS}
    message, _ = ask(emerge, messages, streamed)
    assert message.content == "We are at sea."
    assert winners == ["openai", "anthropic", "ollama"] * 3 + ["openai"]
    assert len(set(ids)) == len(ids) == TURNS + sum(turn % 4 == 3 for turn in range(TURNS))


def ask(emerge: openai.OpenAI, messages: Any, streamed: bool) -> tuple[Any, Any]:
    if not streamed:
        completion = emerge.chat.completions.create(model="panel", messages=messages, tools=TOOLS)
        return completion.choices[0].message, completion.model_extra and completion.model_extra["emerge"]
    with emerge.chat.completions.stream(model="panel", messages=messages, tools=TOOLS) as events:
        told: Any = None
        for event in events:
            if event.type == "chunk" and "emerge" in (event.chunk.model_extra or {}):
                told = event.chunk.model_extra["emerge"]  # type: ignore[index]
        message = events.get_final_completion().choices[0].message
    calls = [call.model_dump(exclude={"function": {"parsed_arguments"}}) for call in message.tool_calls or ()]
    fields = {"role": "assistant", "content": message.content, **({"tool_calls": calls} if calls else {})}
    return ChatCompletionMessage.model_validate(fields), told


def test_a_conversation_goes_on_without_its_tools(emerge: openai.OpenAI, upstream: Any, said: Any, call: Any) -> None:
    messages: list[Any] = [
        {"role": "user", "content": "Where are we?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "x.1", "type": "function", "function": {"name": "now", "arguments": ""}}],
        },
        {"role": "tool", "tool_call_id": "x.1", "content": "noon"},
    ]
    upstream.says = {member: said(text="At sea.") for member in IDS}
    completion = emerge.chat.completions.create(model="panel", messages=messages)
    assert completion.choices[0].message.content == "At sea."
    calls: Any = (completion.model_extra or {})["emerge"]["calls"]
    assert [each["status"] for each in calls] == ["ok"] * 3


AUDIO: Any = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}


def test_sound_goes_to_those_who_may_hear_it(emerge: openai.OpenAI, upstream: Any, said: Any) -> None:
    messages: Any = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, AUDIO]}]
    upstream.says = {member: said(text="A bell.") for member in IDS}
    completion = emerge.chat.completions.create(model="panel", messages=messages)
    assert completion.choices[0].message.content == "A bell."
    calls: Any = (completion.model_extra or {})["emerge"]["calls"]
    assert [each["status"] for each in calls] == ["ok", "error", "error"]
    for model in ("only-anthropic", "only-ollama"):
        with pytest.raises(openai.BadRequestError, match="takes no content part of type 'input_audio'"):
            emerge.chat.completions.create(model=model, messages=messages)
