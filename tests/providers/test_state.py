"""A loop of tool calls over models that want their own state back: the upstreams refuse what the real ones refuse."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from emerge_core.api.choices import message_of
from emerge_core.config import parse_config
from emerge_core.engine.engine import Engine
from emerge_core.providers import state
from emerge_core.providers.state import DeltaMarks
from emerge_core.types import ChatRequest, Completion, Delta, ToolCall, Trace

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
STAND_IN = "skip_thought_signature_validator"


class RefusedError(Exception):
    pass


@dataclass
class Model:
    """What an upstream has made and been sent. Its state is opaque, and good for this model alone."""

    name: str
    turns: list[list[Any]] = field(default_factory=list)
    own: set[str] = field(default_factory=set)

    def take(self, messages: list[Any]) -> str:
        """A new piece of state. Refuses marks of the proxy, and a history that does not continue the one before."""
        assert "emg" not in json.dumps(messages)
        assert "emerge" not in json.dumps(messages)
        if self.turns and messages[: len(self.turns[-1])] != self.turns[-1]:
            raise RefusedError("the cached prefix has changed")
        self.turns.append(messages)
        self.own.add(made := f"{self.name}-{len(self.turns)}-opaque")
        return made


def gemini(model: Model, body: Any) -> Any:
    for message in body["messages"]:
        signatures = [c.get("extra_content", {}).get("google", {}).get("thought_signature") for c in calls_of(message)]
        if signatures and signatures[0] not in {STAND_IN, *model.own}:
            raise RefusedError("Function call is missing a thought_signature in functionCall parts.")
        assert not any(signatures[1:])
    extra = {"extra_content": {"google": {"thought_signature": model.take(body["messages"])}}}
    return openai_reply({}, extra)


def deepseek(model: Model, body: Any) -> Any:
    thoughts = [message.get("reasoning_content") for message in body["messages"] if calls_of(message)]
    if not all(thoughts):
        raise RefusedError("Missing reasoning_content field in the assistant message at message index 1.")
    assert len(set(thoughts)) == len(thoughts)
    assert all(each in model.own or "was not kept" in each for each in thoughts)
    return openai_reply({"reasoning_content": model.take(body["messages"])}, {})


def claude(model: Model, body: Any) -> Any:
    turns = body["messages"]
    for turn in turns:
        thoughts = [block for block in turn["content"] if block["type"] == "thinking"]
        if not {block["signature"] for block in thoughts} <= model.own:
            raise RefusedError("Invalid `signature` in `thinking` block")
        acts = [block for block in turn["content"] if block["type"] == "tool_use"]
        if "thinking" in body and acts and turn["content"][0]["type"] != "thinking":
            raise RefusedError(
                "Expected `thinking`. When thinking is enabled, a final turn must start with a thinking block"
            )
    made = model.take(turns)
    thinking = [{"type": "thinking", "thinking": "Hm.", "signature": made}] if "thinking" in body else []
    use = {"type": "tool_use", "id": f"toolu_{made}", "name": "look", "input": {}}
    usage = {"input_tokens": 9, "output_tokens": 3}
    return {"content": [*thinking, use], "stop_reason": "tool_use", "model": "m", "usage": usage}


def calls_of(message: Any) -> list[Any]:
    return message.get("tool_calls") or []


def openai_reply(message: Any, call: Any) -> Any:
    made = {"id": "call_0", "type": "function", "function": {"name": "look", "arguments": "{}"}, **call}
    reply = {"role": "assistant", "content": None, "tool_calls": [made], **message}
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    return {"choices": [{"message": reply, "finish_reason": "tool_calls"}], "model": "m", "usage": usage}


@asynccontextmanager
async def serving(answer: Callable[[Any], Any]) -> AsyncIterator[str]:
    open_ = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_
        open_ += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                size = int(head.split("content-length: ")[1].split("\r\n")[0])
                status, reply = 200, None
                try:
                    reply = answer(json.loads(await reader.readexactly(size)))
                except RefusedError as fault:
                    status, reply = 400, {"error": {"message": str(fault), "type": "invalid_request_error"}}
                content = json.dumps(reply).encode()
                kind = "content-type: application/json"
                writer.write(
                    f"HTTP/1.1 {status} X\r\n{kind}\r\ncontent-length: {len(content)}\r\n\r\n".encode() + content
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            open_ -= 1

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield "http://{}:{}".format(*server.sockets[0].getsockname())
    finally:
        server.close()
        async with asyncio.timeout(10):
            while open_:
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)


def config_of(urls: dict[str, str]) -> Any:
    names = list(urls)
    kinds = {"gemini": "openai", "deepseek": "openai", "claude": "anthropic"}
    models = {"gemini": "gemini-3-flash", "deepseek": "deepseek-reasoner", "claude": "claude-3-7-sonnet"}
    price = {"input": 1, "output": 1}
    return parse_config(
        json.dumps(
            {
                "providers": {name: {"kind": kinds[name], "base_url": url} for name, url in urls.items()},
                "models": {
                    name: {"provider": name, "model": models[name], "price": price, "max_retries": 0} for name in names
                },
                "ensembles": {
                    f"led-by-{leader}": {
                        "members": [{"model": name, "weight": 1.5 if name == leader else 1} for name in names],
                        "aggregator": "vote",
                        "early_decision": False,
                    }
                    for leader in names
                },
            }
        ),
        source="test",
    )


def kept_by_a_client(message: Any, kept: str) -> Any:
    if kept == "all":
        return json.loads(json.dumps(message))
    calls = [{name: call[name] for name in ("id", "type", "function")} for call in message["tool_calls"]]
    return {"role": "assistant", "content": message["content"], "tool_calls": calls}


async def loop(kept: str, turns: int) -> tuple[list[Trace], dict[str, Model]]:
    models = {name: Model(name) for name in ("gemini", "deepseek", "claude")}
    answers = {"gemini": gemini, "deepseek": deepseek, "claude": claude}

    def answering(name: str) -> Callable[[Any], Any]:
        return lambda body: answers[name](models[name], body)

    traces: list[Trace] = []
    async with (
        serving(answering("gemini")) as a,
        serving(answering("deepseek")) as b,
        serving(answering("claude")) as c,
    ):
        engine = Engine(config_of({"gemini": a, "deepseek": b, "claude": c}))
        messages: list[Any] = [{"role": "user", "content": "Look until you find it."}]
        for turn in range(turns):
            request = ChatRequest(
                messages=tuple(messages),
                tools=(TOOL,),
                max_tokens=4000,
                extra={"thinking": {"type": "enabled", "budget_tokens": 1024}},
            )
            trace = await engine.run(request, f"led-by-{list(models)[turn % 3]}")
            traces.append(trace)
            assert trace.decision is not None, trace.failure
            message = kept_by_a_client(message_of(trace.decision.message), kept)
            messages.append(message)
            results = [{"role": "tool", "tool_call_id": call["id"], "content": "No."} for call in message["tool_calls"]]
            messages += results
        await engine.aclose()
    return traces, models


@pytest.mark.parametrize("kept", ["all", "id, type and function"])
def test_state_survives_ten_turns_with_another_winner_each(kept: str) -> None:
    traces, models = asyncio.run(loop(kept, 10))
    failed = [call.completion.error.line for trace in traces for call in trace.calls if call.completion.error]
    assert failed == []
    assert [call.completion.attempts for trace in traces for call in trace.calls] == [1] * 30
    last = models["gemini"].turns[-1]
    signatures = [c["extra_content"]["google"]["thought_signature"] for message in last for c in calls_of(message)]
    assert [each in models["gemini"].own for each in signatures] == [turn % 3 == 0 for turn in range(9)]
    thoughts = [message["reasoning_content"] for message in models["deepseek"].turns[-1] if calls_of(message)]
    expected = [kept == "all" and turn % 3 == 1 for turn in range(9)]
    assert [each in models["deepseek"].own for each in thoughts] == expected


def test_what_stands_in_for_state_is_named() -> None:
    traces, _ = asyncio.run(loop("all", 3))
    dropped = {call.model: call.completion.dropped_params for call in traces[-1].calls}
    assert "reasoning_content" in dropped["deepseek"]
    assert "thinking" in dropped["claude"]


def test_a_single_model_is_passed_on_as_it_is() -> None:
    model = Model("gemini")

    async def main() -> None:
        async with serving(lambda body: gemini(model, body)) as url:
            engine = Engine(config_of({"gemini": url}))
            messages: list[Any] = [{"role": "user", "content": "Look."}]
            for _ in range(3):
                trace = await engine.run(ChatRequest(messages=tuple(messages), tools=(TOOL,)), "gemini")
                assert trace.decision is not None, trace.failure
                message = message_of(trace.decision.message)
                (call,) = message["tool_calls"]
                assert call["extra_content"]["google"]["thought_signature"] in model.own
                assert set(call["extra_content"]) == {"google"}
                messages += [message, {"role": "tool", "tool_call_id": call["id"], "content": "No."}]
            await engine.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("unit", ["_emg0a1b2c3d_", "_emg0a1b2c3d", "_emg", "_", "emg.0a1b2c3d.", "é_emg0a1b2c3d_"])
@pytest.mark.parametrize("end", ["!", "", "_emg0a1b2c3d", "_emg0a1b2c3d_c2lnbg"])
def test_ids_that_clients_make_up_are_read_in_linear_time(unit: str, end: str) -> None:
    """A hang, not a failure, if the time is not linear: 100 KB took a minute by one pattern over the whole id."""
    made = state.read_id(unit * (1_000_000 // len(unit)) + end)
    if end.startswith("_emg"):
        assert made == (unit * (1_000_000 // len(unit)), "0a1b2c3d", "c2lnbg" if end.endswith("g") else None)


def test_the_longest_signature_rides_in_an_id() -> None:
    signature = "\U0001f600" * state.LONGEST_IN_ID
    call = ToolCall(id="call_1", name="f", arguments="{}", extra_content={"google": {"thought_signature": signature}})
    (marked,) = state.marked(Completion(tool_calls=(call,)), "0a1b2c3d").tool_calls
    found = state.read_id(marked.id)
    assert found is not None and found[:2] == ("call_1", "0a1b2c3d")
    assert found.signature is not None
    assert state.signature_of(state._from_id(found.signature)) == signature


@pytest.mark.parametrize(
    "event",
    [
        {"type": "content_block_start", "index": 0, "content_block": {"type": ["thinking"]}},
        {"type": "content_block_start", "index": 0, "content_block": 3},
        {"type": "content_block_delta", "index": 0, "delta": ["signature_delta"]},
        {"type": "content_block_stop", "index": 0},
    ],
)
def test_an_event_without_state_is_passed_on_as_it_is(event: Any) -> None:
    assert DeltaMarks("0a1b2c3d").of(Delta(native=event)).native == event


def test_live_state_is_marked_once() -> None:
    marks = DeltaMarks("0a1b2c3d")
    parts = [{"type": "signature_delta", "signature": piece} for piece in ("ab", "cd")]
    events = [{"type": "content_block_delta", "index": 0, "delta": part} for part in parts]
    sent: list[Any] = [marks.of(Delta(native=event)).native for event in events]
    assert "".join(event["delta"]["signature"] for event in sent) == "emg.0a1b2c3d.abcd"
