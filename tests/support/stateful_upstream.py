"""An upstream whose models want their own state back, and refuse what the real ones refuse.

Every model calls the tool `look`, and attaches a piece of state to the call: Gemini a thought signature, DeepSeek and
Kimi their reasoning, Claude a signed thinking block. State is opaque and good for one model alone; Claude's is bound to
all that was sent before it. Each counts the messages of a request that it was sent before, as prompt caches do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

STAND_IN = "skip_thought_signature_validator"
MODELS = {
    "gemini": "gemini-3-flash",
    "deepseek": "deepseek-reasoner",
    "kimi": "kimi-k2-thinking",
    "claude": "claude-3-7-sonnet",
}

Json = dict[str, Any]


class RefusedError(Exception):
    """What the real API answers with a 400."""


@dataclass
class Model:
    name: str
    made: dict[str, Any] = field(default_factory=dict)  # its state → what had been sent when it was made
    sent: list[list[Any]] = field(default_factory=list)  # the parts of each request
    hits: int = 0  # requests that begin with all of an earlier one
    refusals: list[str] = field(default_factory=list)

    def take(self, parts: list[Any]) -> str:
        """A new piece of state. Refuses marks of the proxy."""
        shown = json.dumps(parts)
        if "_emg" in shown or "emg." in shown or "emerge" in shown:
            raise RefusedError("the proxy's marks are no part of this API")
        self.hits += any(parts[: len(earlier)] == earlier for earlier in self.sent)
        self.sent.append(parts)
        state = f"{self.name}-{len(self.sent)}-opaque"
        self.made[state] = parts
        return state


class Upstream:
    """`models` by name; `app` serves them all, told apart by the request's `model`."""

    def __init__(self) -> None:
        self.models = {name: Model(name) for name in MODELS}
        routes = [
            Route("/v1/chat/completions", self._openai, methods=["POST"]),
            Route("/v1/messages", self._anthropic, methods=["POST"]),
        ]
        self.app = Starlette(routes=routes)

    @property
    def refusals(self) -> list[str]:
        return [refusal for model in self.models.values() for refusal in model.refusals]

    async def _openai(self, request: Request) -> Response:
        body = await request.json()
        model = self._model(body)
        try:
            reply = _gemini(model, body) if model.name == "gemini" else _thinking(model, body)
        except RefusedError as refusal:
            return _refused(model, {"error": {"message": str(refusal), "type": "invalid_request_error"}})
        return _streamed(_chunks(reply)) if body.get("stream") else JSONResponse(reply)

    async def _anthropic(self, request: Request) -> Response:
        body = await request.json()
        model = self._model(body)
        try:
            reply = _claude(model, body)
        except RefusedError as refusal:
            error = {"type": "invalid_request_error", "message": str(refusal)}
            return _refused(model, {"type": "error", "error": error})
        return _streamed(_events(reply)) if body.get("stream") else JSONResponse(reply)

    @property
    def call_ids(self) -> list[str]:
        """The ids of the calls in the longest conversation that was sent."""
        longest = max((sent for model in self.models.values() for sent in model.sent), key=len)
        calls = [call for message in longest if isinstance(message, dict) for call in message.get("tool_calls") or ()]
        blocks = [block for turn in longest if isinstance(turn, dict) for block in turn.get("content") or ()]
        uses = [block for block in blocks if isinstance(block, dict) and block.get("type") == "tool_use"]
        return [each["id"] for each in (*calls, *uses)]

    def _model(self, body: Json) -> Model:
        return self.models[next(name for name, model in MODELS.items() if model == body["model"])]


def _gemini(model: Model, body: Json) -> Json:
    """As Google says of Gemini 3: the first call of a step carries a signature of its own or the stand-in."""
    for message in body["messages"]:
        calls = message.get("tool_calls") or []
        signatures = [call.get("extra_content", {}).get("google", {}).get("thought_signature") for call in calls]
        if signatures and signatures[0] not in {STAND_IN, *model.made}:
            raise RefusedError("Function call is missing a thought_signature in functionCall parts.")
        if any(signatures[1:]):
            raise RefusedError("a parallel call has a signature")
    state = model.take([body["tools"], *body["messages"]])
    return _chat_reply(model, {}, {"extra_content": {"google": {"thought_signature": state}}})


def _thinking(model: Model, body: Json) -> Json:
    """As DeepSeek and Kimi do in thinking mode: every call stands beside the reasoning before it."""
    thoughts = [message.get("reasoning_content") for message in body["messages"] if message.get("tool_calls")]
    if not all(thoughts):
        raise RefusedError("Missing reasoning_content field in the assistant message at message index 1.")
    if len(set(thoughts)) < len(thoughts):
        raise RefusedError("the same reasoning stands at two turns")
    if foreign := [each for each in thoughts if each not in model.made and "was not kept" not in each]:
        raise RefusedError(f"another model's reasoning: {foreign}")
    return _chat_reply(model, {"reasoning_content": model.take([body["tools"], *body["messages"]])}, {})


def _claude(model: Model, body: Json) -> Json:
    """As Anthropic does with manual thinking, and with the newest models' bound signatures."""
    head = [body.get("system"), body["tools"]]
    turns = _unmarked(body["messages"])
    thinks = "thinking" in body
    for place, turn in enumerate(turns):
        content = turn["content"] if isinstance(turn["content"], list) else []
        for block in content:
            if block["type"] != "thinking":
                continue
            if block["signature"] not in model.made:
                raise RefusedError("Invalid `signature` in `thinking` block")
            if model.made[block["signature"]] != [*head, *turns[:place]]:
                raise RefusedError("The `thinking` block is bound to a different conversation")
        acts = any(block["type"] == "tool_use" for block in content)
        if thinks and acts and content[0]["type"] != "thinking":
            raise RefusedError("Expected `thinking`, but found `tool_use`: a final turn must start with thinking")
    state = model.take([*head, *turns])
    thinking = [{"type": "thinking", "thinking": "Hm.", "signature": state}] if thinks else []
    use = {"type": "tool_use", "id": f"toolu_{len(model.sent)}", "name": "look", "input": {"depth": 1}}
    usage = {"input_tokens": 9, "output_tokens": 3, "cache_read_input_tokens": 7 * bool(model.hits)}
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [*thinking, use],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": usage,
    }


def _unmarked(turns: list[Json]) -> list[Json]:
    """The turns without marks for the cache, which clients move, and with every content as blocks."""
    return [
        {
            "role": turn["role"],
            "content": [{"type": "text", "text": turn["content"]}]
            if isinstance(turn["content"], str)
            else [
                {name: value for name, value in block.items() if name != "cache_control"} for block in turn["content"]
            ],
        }
        for turn in turns
    ]


def _chat_reply(model: Model, message: Json, call: Json) -> Json:
    """`call_0` every time, as some servers number calls."""
    function = {"name": "look", "arguments": '{"depth": 1}'}
    made = {"id": "call_0", "type": "function", "function": function, **call}
    details = {"cached_tokens": 7 * bool(model.hits)}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": None, "tool_calls": [made], **message},
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12, "prompt_tokens_details": details},
    }


def _chunks(reply: Json) -> Iterator[str]:
    message = reply["choices"][0]["message"]
    (call,) = message["tool_calls"]
    arguments = call["function"]["arguments"]
    deltas: list[Json] = [{"role": "assistant", "content": ""}]
    if reasoning := message.get("reasoning_content"):
        deltas += [{"reasoning_content": reasoning[:4]}, {"reasoning_content": reasoning[4:]}]
    deltas.append({"tool_calls": [{"index": 0, **call, "function": {"name": "look", "arguments": ""}}]})
    deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": p}}]} for p in (arguments[:5], arguments[5:])]
    frame = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "m"}
    for delta in deltas:
        yield _data({**frame, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    yield _data({**frame, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    yield _data({**frame, "choices": [], "usage": reply["usage"]})
    yield "data: [DONE]\n\n"


def _events(reply: Json) -> Iterator[str]:
    opening = {**reply, "content": [], "stop_reason": None}
    yield _data({"type": "message_start", "message": opening})
    for index, block in enumerate(reply["content"]):
        deltas: list[Json]
        if block["type"] == "thinking":
            empty: Json = {"type": "thinking", "thinking": "", "signature": ""}
            deltas = [{"type": "thinking_delta", "thinking": block["thinking"]}]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        else:
            empty = {**block, "input": {}}
            text = json.dumps(block["input"])
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", text[:4], text[4:])]
        yield _data({"type": "content_block_start", "index": index, "content_block": empty})
        for delta in deltas:
            yield _data({"type": "content_block_delta", "index": index, "delta": delta})
        yield _data({"type": "content_block_stop", "index": index})
    yield _data({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": reply["usage"]})
    yield _data({"type": "message_stop"})


def _data(value: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(value)}\n\n"


def _streamed(events: Iterator[str]) -> Response:
    return StreamingResponse(events, media_type="text/event-stream")


def _refused(model: Model, body: Json) -> Response:
    model.refusals.append(json.dumps(body))
    return JSONResponse(body, 400)
