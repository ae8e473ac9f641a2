"""One conversation in the wire formats that the providers send, and others that must not be taken for it."""

from __future__ import annotations

from typing import Any

import pytest

from emerge_core.evals.recordings.recording import Question
from emerge_core.evals.replay.fingerprint import demands_of, fingerprint, system_of
from emerge_core.evals.replay.matching import AmbiguousError, Matcher, NoMatchError
from emerge_core.providers.anthropic import adapter as anthropic
from emerge_core.providers.ollama import adapter as ollama
from emerge_core.providers.openai import adapter as openai
from emerge_core.types import ChatRequest

PICTURE = "data:image/png;base64,aGVsbG8="
CALL = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"b": 1, "a": 2}'}}
CONVERSATION: tuple[dict[str, Any], ...] = (
    {"role": "system", "content": "Be  brief."},
    {"role": "user", "content": "First."},
    {
        "role": "user",
        "content": [{"type": "text", "text": "Look:"}, {"type": "image_url", "image_url": {"url": PICTURE}}],
    },
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "Found nothing."},
    {"role": "developer", "content": "And be kind."},
    {"role": "user", "content": "Go on."},
)


def wires(messages: tuple[dict[str, Any], ...]) -> list[list[dict[str, Any]]]:
    """The messages as each provider's adapter sends them."""
    request = ChatRequest(messages=messages)
    to_openai, _ = openai.to_wire("m", request)
    to_ollama, _ = ollama.to_wire("m", request)
    to_anthropic = anthropic.to_wire("m", request).body
    system = [{"role": "system", "content": to_anthropic["system"]}] if "system" in to_anthropic else []
    return [to_openai["messages"], to_ollama["messages"], [*system, *to_anthropic["messages"]]]


def test_every_wire_format_has_the_same_fingerprint() -> None:
    found = wires(CONVERSATION)
    assert len({fingerprint(messages) for messages in found}) == 1
    assert {system_of(messages) for messages in found} == {"Be brief."}


@pytest.mark.parametrize(
    "changed",
    [
        CONVERSATION[:-1],
        (*CONVERSATION[:-1], {"role": "user", "content": "Stop."}),
        tuple(m for m in CONVERSATION if m["role"] != "tool"),
        tuple(
            {**m, "tool_calls": [{**CALL, "function": {"name": "find", "arguments": "{}"}}]} if "tool_calls" in m else m
            for m in CONVERSATION
        ),
        tuple({**m, "content": "Look:"} if isinstance(m["content"], list) else m for m in CONVERSATION),
        (*CONVERSATION[:-1], {"role": "assistant", "content": "Go on."}),
    ],
)
def test_other_conversations_have_others(changed: tuple[dict[str, Any], ...]) -> None:
    assert fingerprint(changed) != fingerprint(CONVERSATION)


def test_a_request_is_found_by_nothing_less_than_all_of_it() -> None:
    other = ({"role": "system", "content": "Be long."}, *CONVERSATION[1:5], CONVERSATION[6])
    wants: dict[str, Any] = {
        "messages": [{"role": "user", "content": "Give JSON."}],
        "response_format": {"type": "json_object"},
    }
    matcher = Matcher(
        [
            Question("whole", "Go on.", request={"messages": list(CONVERSATION)}),
            Question("other", "Go on.", request={"messages": list(other)}),
            Question("json", "Give JSON.", request=wants),
        ]
    )
    assert [matcher.find(messages) for messages in wires(CONVERSATION)] == ["whole"] * 3
    assert [matcher.find(messages) for messages in wires(other)] == ["other"] * 3
    with pytest.raises(NoMatchError):
        matcher.find([{"role": "user", "content": "Go on."}])
    with pytest.raises(NoMatchError):  # another system prompt is another request
        matcher.find([{"role": "system", "content": "Be rude."}, *CONVERSATION[1:5], CONVERSATION[6]])
    without_mode = [{"role": "system", "content": "Reply with JSON and nothing else."}, *wants["messages"]]
    assert matcher.find(without_mode) == "json"


def test_one_request_twice_is_ambiguous() -> None:
    asked = {"messages": [{"role": "user", "content": "Hi"}]}
    with pytest.raises(AmbiguousError):
        Matcher([Question("a", "Hi", request=asked), Question("b", "Hi", request=asked)]).find(asked["messages"])


def tool(name: str, about: str = "Finds.", **properties: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {key: {"type": kind} for key, kind in properties.items()}}
    return {"type": "function", "function": {"name": name, "description": about, "parameters": parameters}}


ASKED = [{"role": "user", "content": "Find it."}]
SCHEMA = {"type": "object", "properties": {"place": {"type": "string"}}, "additionalProperties": False}
FORMAT = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"messages": ASKED},
    "one tool": {"messages": ASKED, "tools": [tool("find", what="string")]},
    "another description": {"messages": ASKED, "tools": [tool("find", "Finds more.", what="string")]},
    "another parameter": {"messages": ASKED, "tools": [tool("find", where="string")]},
    "two tools": {"messages": ASKED, "tools": [tool("find", what="string"), tool("lose", what="string")]},
    "a schema": {"messages": ASKED, "response_format": FORMAT},
}


def bodies(request: dict[str, Any]) -> list[dict[str, Any]]:
    """The request as each provider's adapter sends it, the messages in one shape."""
    chat = ChatRequest(
        messages=tuple(request["messages"]),
        tools=tuple(request.get("tools", ())),
        response_format=request.get("response_format"),
    )
    to_anthropic = anthropic.to_wire("claude-3-5-haiku-latest", chat).body
    system = [{"role": "system", "content": to_anthropic["system"]}] if "system" in to_anthropic else []
    return [
        openai.to_wire("m", chat)[0],
        ollama.to_wire("m", chat)[0],
        {**to_anthropic, "messages": [*system, *to_anthropic["messages"]]},
    ]


@pytest.mark.parametrize("asked", VARIANTS)
def test_one_text_with_different_tools_or_formats_is_several_questions(asked: str) -> None:
    matcher = Matcher(Question(name, "Find it.", (), request) for name, request in VARIANTS.items())
    for body in bodies(VARIANTS[asked]):
        assert matcher.find(body["messages"], demands_of(body)) == asked


@pytest.mark.parametrize("asked", [name for name in VARIANTS if name != "plain"])
def test_a_request_is_not_answered_by_one_with_other_tools(asked: str) -> None:
    matcher = Matcher([Question("plain", "Find it.", (), VARIANTS["plain"])])
    for body in bodies(VARIANTS[asked])[:2]:
        with pytest.raises(NoMatchError):
            matcher.find(body["messages"], demands_of(body))
