"""What makes a reply unusable, what a refusal is, and what a hedge is."""

from __future__ import annotations

from typing import Any

import pytest

from emerge_core.answers import Extractor, candidate, hedges, is_refusal
from emerge_core.answers.json_schema import schema_fault
from emerge_core.types import Call, CallError, ChatRequest, Completion, Member, ToolCall, Unusable

REFUSALS = [
    "I'm sorry, but I can't help with that.",
    "I’m sorry, but I can’t assist with that request.",
    "I cannot assist with this.",
    "I can't provide instructions for that.",
    "Sorry, I can't do that.",
    "I apologize, but I cannot fulfill this request.",
    "I am unable to answer this question.",
    "I'm not able to help with that.",
    "As an AI language model, I cannot provide medical advice.",
    "As an AI assistant, I am not able to discuss this topic.",
    "Unfortunately, I cannot comply with that.",
    "I must decline to write this.",
    "I won't help with that.",
    "I'm not comfortable writing that.",
    "This goes against my guidelines.",
    "**I'm sorry, but I can't help with that.**",
    "I'm sorry, but I can't help with that. " + "There are many reasons why such a request is harmful. " * 40,
]
ANSWERS = [
    "B",
    "42",
    "No.",
    "I",
    "Paris.",
    "The clerk said \"I'm sorry, but I can't help with that\" and closed the window.",
    "> I cannot assist with this.\n\nThat is what the bot replied; the fix is to retry.",
    "`I cannot help with that` is the string to match.",
    "You can't divide by zero, so the expression is undefined.",
    "The function cannot provide a result for negative input, and raises ValueError.",
    "I can help with that! First, open the file.",
    "Translation: « Je ne peux pas vous aider » means that the speaker cannot help.",
    "It can't be helped.",
    "The company refused to comply with the order.",
    "Sorry for the long explanation that follows.\n\nThe answer is 5.",
    "I cannot find an error in your code.",
    "I cannot provide real-time data, but here is a table of long-term averages.",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_refusals(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize("text", ANSWERS)
def test_answers_are_no_refusals(text: str) -> None:
    assert not is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "I'm not sure, but it might be Paris.",
        "I am not entirely sure.",
        "It might be Paris.",
        "It could be 42.",
        "Perhaps B.",
        "Possibly Rome",
        "Maybe 12?",
        "I don't know.",
        "I don't remember the exact year.",
        "My best guess is 12.",
        "I would guess B.",
        "It is hard to say.",
        "There is not enough information to tell.",
        "It's probably Canberra.",
        "The sum is 12. " * 30 + "I'm not certain about this, though.",
        "If I recall correctly, it was 1912.",
        "The total is 72. However, this may be wrong: it could be 96.",
    ],
)
def test_hedges(text: str) -> None:
    assert hedges(text)


@pytest.mark.parametrize(
    "text",
    [
        "B",
        "42",
        "Paris.",
        "The answer is 72.",
        'The witness said "I\'m not sure", so the answer is B.',
        "`maybe` is the name of the type.",
        "Natalia sold 48 clips in April. In May she sold half as many. It might be tempting to double that. "
        "But half of 48 is 24. Together that makes 72. The answer is 72.",
    ],
)
def test_what_is_no_hedge(text: str) -> None:
    assert not hedges(text)


def user(text: str = "Which city is the capital of Australia?", **fields: Any) -> ChatRequest:
    return ChatRequest(messages=({"role": "user", "content": text},), **fields)


MCQ = user("Which?\nA. London\nB. Paris")
SCHEMA = {
    "type": "object",
    "properties": {"label": {"enum": ["spam", "ham"]}, "score": {"type": "number"}},
    "required": ["label"],
    "additionalProperties": False,
}
JSON = user("Classify.", response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}})
OBJECT = user("Classify.", response_format={"type": "json_object"})
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": "string", "default": "C"}},
            "required": ["city"],
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}
TOOLS = user("Weather?", tools=(WEATHER, CLOCK))
REQUIRED = user("Weather?", tools=(WEATHER, CLOCK), tool_choice="required")
NAMED = user("Weather?", tools=(WEATHER, CLOCK), tool_choice={"type": "function", "function": {"name": "weather"}})
NONE = user("Weather?", tools=(WEATHER, CLOCK), tool_choice="none")
ONE = user("Weather?", tools=(WEATHER, CLOCK), parallel_tool_calls=False)


def call(name: str = "weather", arguments: str = '{"city": "Bern"}') -> ToolCall:
    return ToolCall(id="1", name=name, arguments=arguments)


def said(text: str | None, reason: str = "stop") -> Completion:
    return Completion(text=text, finish_reason=reason)


def called(*calls: ToolCall) -> Completion:
    return Completion(tool_calls=calls, finish_reason="tool_calls")


NO_OBJECT = "invalid tool call: the arguments of 'weather' are not a JSON object"

CASES: list[tuple[ChatRequest, Completion, str | None]] = [
    (user(), said("Canberra"), None),
    (user(), said("A long text about Australia. " * 50), None),
    (MCQ, said("B"), None),
    (user(), Completion(error=CallError(kind="timeout", message="too late")), "error: timeout"),
    (user(), said(""), "empty"),
    (user(), said(" \n"), "empty"),
    (user(), said(None), "empty"),
    (user(), said("Can", "content_filter"), "content filter"),
    (user(), Completion(text=None, refusal="I can't.", finish_reason="stop"), "refusal"),
    (user(), said("I'm sorry, but I can't help with that."), "refusal"),
    (MCQ, said("I'm sorry, but I can't look at the image. The answer is (B)."), None),
    (user(), said("The capital of Australia is", "length"), "truncated"),
    (user(), said("The answer is Canberra. It was founded", "length"), None),
    (MCQ, said("B", "length"), None),
    (MCQ, said("Let us look at", "length"), "truncated"),
    # JSON
    (JSON, said('{"label": "spam"}'), None),
    (JSON, said('{"label": "spam", "score": 0.4}'), None),
    (JSON, said('{"label": "eggs"}'), "invalid against the schema: /label: 'eggs' is not one of ['spam', 'ham']"),
    (JSON, said('{"score": 1}'), "invalid against the schema: /: 'label' is a required property"),
    (JSON, said('{"label": "spam", "score": "1"}'), "invalid against the schema: /score: '1' is not of type 'number'"),
    (JSON, said("spam"), "invalid JSON"),
    (JSON, said('```json\n{"label": "spam"}\n```'), "invalid JSON"),
    (JSON, said('{"label": "spam", "score": NaN}'), "invalid JSON"),
    (JSON, said('{"label": "spam", "score": 1e999}'), "invalid JSON"),
    (JSON, said('{"label": "spam", "score": -1e999}'), "invalid JSON"),
    (JSON, said('{"label": "spam", "label": "ham"}'), "invalid JSON"),
    (JSON, said('{"label": "spam", "score": 1e300}'), None),
    (OBJECT, said('{"a": {"b": 1, "c": 2, "b": 1}}'), "invalid JSON"),
    (TOOLS, called(call(arguments='{"city": "Bern", "city": "Rome"}')), NO_OBJECT),
    (TOOLS, called(call(arguments='{"city": "Bern", "days": 1e999}')), NO_OBJECT),
    (JSON, said('{"label": "spam"', "length"), "truncated"),
    (JSON, said("I'm sorry, but I can't help with that."), "refusal"),
    (OBJECT, said('{"anything": 1}'), None),
    (OBJECT, said("[1]"), "invalid JSON: not an object"),
    # tools
    (TOOLS, called(call()), None),
    (TOOLS, called(call(), call("clock", "{}")), None),
    (TOOLS, called(call("clock", "")), None),
    (TOOLS, said("It is sunny."), None),
    (TOOLS, called(call("rocket")), "invalid tool call: 'rocket' is not one of the offered tools"),
    (
        TOOLS,
        called(call(arguments="{city: Bern}")),
        "invalid tool call: the arguments of 'weather' are not a JSON object",
    ),
    (TOOLS, called(call(arguments="[1]")), "invalid tool call: the arguments of 'weather' are not a JSON object"),
    (TOOLS, called(call(arguments="{}")), "invalid tool call: weather: /: 'city' is a required property"),
    (TOOLS, called(call(arguments='{"city": 1}')), "invalid tool call: weather: /city: 1 is not of type 'string'"),
    (REQUIRED, called(call("clock", "{}")), None),
    (REQUIRED, said("Sunny."), "invalid tool call: none was made, and the request demands one"),
    (NAMED, called(call()), None),
    (NAMED, said("Sunny."), "invalid tool call: none was made, and the request demands one"),
    (NAMED, called(call("clock", "{}")), "invalid tool call: 'clock' was called, 'weather' was demanded"),
    (NONE, said("Sunny."), None),
    (NONE, called(call()), "invalid tool call: no tools were offered"),
    (user(), called(call()), "invalid tool call: no tools were offered"),
    (ONE, called(call(), call()), "invalid tool call: several calls at once, which the request forbids"),
]


@pytest.mark.parametrize(("request_", "completion", "expected"), CASES)
def test_why_a_reply_is_unusable(request_: ChatRequest, completion: Completion, expected: str | None) -> None:
    reason = Extractor.of(request_).why_unusable(completion)
    assert (reason and str(reason)) == expected


def test_a_broken_schema_faults_nothing() -> None:
    for schema in ({"type": "nonsense"}, {"$ref": "https://example.invalid/schema.json"}, {"$ref": "#/$defs/none"}):
        request = user("x", response_format={"type": "json_schema", "json_schema": {"schema": schema}})
        assert Extractor.of(request).why_unusable(said("{}")) is None


def test_a_schema_is_read_in_its_own_dialect() -> None:
    """`items` with a list is a tuple in draft 7, and no schema at all in 2020-12."""
    pair = {"type": "array", "items": [{"type": "integer"}, {"type": "string"}]}
    draft_7 = {"$schema": "http://json-schema.org/draft-07/schema#", **pair}
    assert schema_fault([1, 2], draft_7) == "/1: 2 is not of type 'string'"
    assert schema_fault([1, "two"], draft_7) is None
    assert schema_fault([1, 2], pair) is None


def test_a_candidate_of_an_unusable_call_has_no_key_and_no_confidence() -> None:
    member = Member(model="m", reliability=0.8)
    extractor = Extractor.of(MCQ)

    def of(completion: Completion, status: Any = "ok") -> Any:
        made = Call(id="1", role="member", model="m", provider="p", status=status, completion=completion, member=member)
        return candidate(extractor, made, member)

    good = of(said("The answer is B."))
    assert (good.usable, good.key, good.confidence) == (True, ("letter", "B"), 0.8)
    bad = of(said("I'm sorry, but I can't help with that."))
    assert (bad.usable, bad.why_unusable, bad.key, bad.confidence) == (False, Unusable("refusal"), None, None)
    failed = of(Completion(error=CallError(kind="server", message="500")), "error")
    assert (failed.usable, failed.why_unusable) == (False, Unusable("error", "server"))
    cancelled = of(Completion(error=CallError(kind="cancelled", message="decided")), "cancelled")
    assert not cancelled.usable
