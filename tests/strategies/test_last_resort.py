"""Where no reply is usable: one repair, the reply as it is, or an error; never JSON that is none."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from emerge_core.engine.engine import Engine, Limits
from emerge_core.types import ChatRequest, Trace

USER: Any = {"role": "user", "content": "Which year?"}
SCHEMA: Any = {
    "type": "object",
    "properties": {"year": {"type": "integer"}},
    "required": ["year"],
    "additionalProperties": False,
}
JSON: Any = {"type": "json_schema", "json_schema": {"name": "year", "strict": True, "schema": SCHEMA}}
TOOL: Any = {"type": "function", "function": {"name": "look", "parameters": SCHEMA}}
PANEL = "{emerge: {members: [a, {model: b, weight: 2}], aggregator: vote}}"


def run(config: Any, name: str = "emerge", limits: Limits | None = None, **fields: Any) -> Trace:
    async def once() -> Trace:
        engine = Engine(config, environ={})
        try:
            return await engine.run(ChatRequest(messages=(USER,), **fields), name, limits=limits)
        finally:
            await engine.aclose()

    return asyncio.run(once())


def roles(trace: Trace) -> list[tuple[str, str, str]]:
    return [(call.role, call.model, call.status) for call in trace.calls]


def test_one_repair_of_the_weightiest_invalid_reply(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("1969"), "b": [says('{"year": "1969"}'), says('{"year": 1969}')]}
    trace = run(panels(PANEL), response_format=JSON)
    assert trace.decision
    assert (trace.decision.message.text, trace.decision.rule) == ('{"year": 1969}', "repair")
    assert trace.decision.selected == ("3",)
    assert roles(trace)[2:] == [("repair", "b", "ok")]
    assert trace.usage.output_tokens == 30
    assert trace.degraded
    question, said, told = upstream.bodies[-1]["messages"]
    assert (question, said) == (USER, {"role": "assistant", "content": '{"year": "1969"}'})
    assert "/year: '1969' is not of type 'integer'" in told["content"]
    assert upstream.bodies[-1]["response_format"] == JSON


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        *((kind, said) for kind in ("json_schema", "json_object") for said in ("1969", "", '{"year": ', "[]")),
        *(("json_schema", said) for said in ("{}", '{"year": 1.5}', '{"year": 1, "x": 2}')),
    ],
)
@pytest.mark.parametrize("strategy", ["ensemble", "cascade"])
def test_never_more_than_one_and_then_an_error(
    upstream: Any, says: Any, panels: Any, said: str, kind: str, strategy: str
) -> None:
    upstream.script = {name: says(said) for name in "ab"}
    wanted = JSON if kind == "json_schema" else {"type": "json_object"}
    trace = run(panels(PANEL.replace("members", f"strategy: {strategy}, members")), response_format=wanted)
    assert trace.decision is None
    assert [role for role, _, _ in roles(trace)] == ["member", "member", "repair"]
    assert trace.failure
    assert (trace.failure.status, trace.failure.code) == (502, "no_usable_answer")


def test_one_valid_member_needs_no_repair(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says('{"year": 1969}'), "b": says("1969")}
    trace = run(panels(PANEL), response_format=JSON)
    assert trace.decision
    assert trace.decision.message.text == '{"year": 1969}'
    assert len(trace.calls) == 2


def test_an_invalid_tool_call_is_told_so_as_its_result(upstream: Any, says: Any, panels: Any) -> None:
    wrong, right = says(tool_calls=[("look", {"year": "x"})]), says(tool_calls=[("look", {"year": 1969})])
    upstream.script = {"a": [wrong, right]}
    trace = run(panels(PANEL), "a", tools=(TOOL,))
    assert trace.decision
    assert trace.decision.message.tool_calls[0].arguments == '{"year": 1969}'
    _, said, told = upstream.bodies[-1]["messages"]
    assert said["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"year": "x"}'}
    assert (told["role"], told["tool_call_id"]) == ("tool", said["tool_calls"][0]["id"])
    assert "/year: 'x' is not of type 'integer'" in told["content"]


def test_text_where_a_call_is_demanded_is_repaired(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": [says("1969."), says(tool_calls=[("look", {"year": 1969})])]}
    trace = run(panels(PANEL), "a", tools=(TOOL,), tool_choice="required")
    assert trace.decision
    assert trace.decision.message.tool_calls[0].name == "look"


def test_the_stronger_models_reply_is_repaired_before_the_panels(upstream: Any, says: Any, panels: Any) -> None:
    escalating = PANEL.replace("vote", "vote, escalate: {to: frontier}")
    upstream.script = {"a": says("x"), "b": says("y"), "frontier": [says("z"), says('{"year": 1969}')]}
    trace = run(panels(escalating), response_format=JSON)
    assert trace.decision
    assert trace.decision.message.text == '{"year": 1969}'
    assert roles(trace)[2:] == [("escalation", "frontier", "ok"), ("repair", "frontier", "ok")]


def test_a_repair_keeps_to_the_requests_ceilings(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("x", prompt_tokens=400), "b": says("y", prompt_tokens=400)}
    trace = run(panels(PANEL), response_format=JSON, max_tokens=10, limits=Limits(max_cost_usd=0.0009))
    assert roles(trace)[2:] == [("repair", "b", "skipped")]
    assert trace.decision is None


def test_no_repair_where_one_answer_is_not_enough(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("x"), "b": says("y")}
    trace = run(panels(PANEL.replace("vote", "vote, min_answers: 2")), response_format=JSON)
    assert [role for role, _, _ in roles(trace)] == ["member", "member"]
    assert trace.decision is None


def test_json_that_is_cut_off_is_an_error(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says('{"year": 19', finish_reason="length")}
    trace = run(panels(PANEL), "a", response_format=JSON)
    assert (trace.decision, len(trace.calls)) == (None, 1)
    assert trace.failure
    assert "truncated" in trace.failure.message


def test_a_refusal_in_words_stands_in_its_own_field_where_json_was_asked_for(
    upstream: Any, says: Any, panels: Any
) -> None:
    words = "I'm sorry, but I can't help with that."
    upstream.script = {"a": says(words)}
    trace = run(panels(PANEL), "a", response_format=JSON)
    assert trace.decision
    message = trace.decision.message
    assert (message.text, message.refusal, len(trace.calls)) == (None, words, 1)


@pytest.mark.parametrize(("reason", "text"), [("length", "Once upon"), ("length", ""), ("content_filter", "Once")])
def test_text_comes_back_as_it_is(upstream: Any, says: Any, panels: Any, reason: str, text: str) -> None:
    upstream.script = {"a": says(text, finish_reason=reason)}
    trace = run(panels(PANEL), "a")
    assert trace.decision
    assert (trace.decision.message.text, trace.decision.message.finish_reason) == (text, reason)


def test_a_single_models_empty_reply_comes_back_as_it_is_a_panels_does_not(
    upstream: Any, says: Any, panels: Any
) -> None:
    upstream.script = {"a": says(""), "b": says("")}
    alone = run(panels(PANEL), "a")
    assert alone.decision
    assert alone.decision.message.text == ""
    assert run(panels(PANEL)).decision is None


def test_a_schema_refused_by_a_server_is_told_in_words_and_still_checked(upstream: Any, says: Any, panels: Any) -> None:
    refused = says(status=400, error="response_format json_schema is not supported by this model")
    upstream.script = {"a": [refused, says('```json\n{"year": 1969}\n```')]}
    trace = run(panels(PANEL), "a", response_format=JSON)
    assert trace.decision
    assert trace.decision.message.text == '{"year": 1969}'
    assert trace.decision.message.dropped_params == ("response_format",)
    assert json.dumps(SCHEMA) in upstream.bodies[-1]["messages"][0]["content"]
    assert "response_format" not in upstream.bodies[-1]
