"""An upstream on loopback that gives one answer in four wire formats, whole or streamed, and that is as strict
about conversations as the real APIs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from tests.support.aws.event_stream import events_of

Json = dict[str, Any]
PANEL = ("openai", "anthropic", "ollama")
KINDS = (*PANEL, "bedrock")


@dataclass(frozen=True)
class Call:
    name: str
    arguments: Mapping[str, Any]
    id: str = ""


@dataclass(frozen=True)
class ModelReply:
    """A reply before it is put into a wire format."""

    text: str | None = "Hello there."
    calls: tuple[Call, ...] = ()
    refusal: str | None = None
    finish: str = "stop"  # stop, length, tool_calls, content_filter
    tokens: tuple[int, int] = (100, 10)
    cached: int = 0
    reasoning: int = 0
    logprobs: tuple[tuple[str, float], ...] = ()

    @property
    def pieces(self) -> list[str]:
        return re.findall(r"\s*\S+|\s+$", self.text or "") or [self.text or ""]


class RefusedError(Exception):
    """What the real API would answer 400 to."""


def _demand(holds: object, why: str) -> None:
    if not holds:
        raise RefusedError(why)


HEADERS = ("host", "authorization", "x-api-key", "anthropic-version", "anthropic-beta", "content-type")  # that matter


class SentRequest(NamedTuple):
    """A request as it arrived, with the headers that matter."""

    method: str
    url: str
    headers: Mapping[str, str | None]
    body: Json


@dataclass
class Upstream:
    """`says[model]` is a `ModelReply`, or a status to fail with. Bodies and requests are kept by model."""

    says: dict[str, ModelReply | int] = field(default_factory=dict)
    bodies: dict[str, list[Json]] = field(default_factory=dict)
    requests: dict[str, list[SentRequest]] = field(default_factory=dict)
    url: str = ""

    async def _said(self, request: Request, check: Callable[[Json], None]) -> tuple[Json, ModelReply]:
        body: Json = {"model": request.path_params.get("model"), **await request.json()}
        self.bodies.setdefault(body["model"], []).append(body)
        self.requests.setdefault(body["model"], []).append(
            SentRequest(request.method, str(request.url), {name: request.headers.get(name) for name in HEADERS}, body)
        )
        check(body)
        said = self.says[body["model"]]
        if isinstance(said, int):
            raise RefusedError(f"scripted {said}")
        return body, said

    # OpenAI

    async def openai(self, request: Request) -> Response:
        try:
            body, said = await self._said(request, _check_openai)
        except RefusedError as why:
            return JSONResponse({"error": {"message": str(why), "type": "invalid_request_error"}}, status_code=400)
        usage = {
            "prompt_tokens": said.tokens[0],
            "completion_tokens": said.tokens[1],
            "total_tokens": sum(said.tokens),
            "prompt_tokens_details": {"cached_tokens": said.cached, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": said.reasoning},
        }
        calls = [_openai_call(call) for call in said.calls]
        wanted = body.get("logprobs") and said.logprobs
        logprobs = {"content": [_token(*each) for each in said.logprobs], "refusal": None} if wanted else None
        head = {"id": "chatcmpl-1", "created": 1, "model": body["model"]}
        if not body.get("stream"):
            message: Json = {"role": "assistant", "content": said.text, "refusal": said.refusal}
            message |= {"tool_calls": calls} if calls else {}
            choice = {"index": 0, "message": message, "finish_reason": said.finish, "logprobs": logprobs}
            return JSONResponse({**head, "object": "chat.completion", "choices": [choice], "usage": usage})

        def events() -> Iterator[str]:
            def chunk(delta: Json, finish: str | None = None, logprobs: Any = None) -> str:
                choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": logprobs}
                return _event({**head, "object": "chat.completion.chunk", "choices": [choice], "usage": None})

            yield chunk({"role": "assistant", "content": None if said.text is None else "", "refusal": None})
            if logprobs:
                for token, logprob in said.logprobs:
                    yield chunk({"content": token}, logprobs={"content": [_token(token, logprob)], "refusal": None})
            elif said.text:
                yield from (chunk({"content": piece}) for piece in said.pieces)
            if said.refusal:
                yield chunk({"refusal": said.refusal})
            for index, call in enumerate(calls):
                function = call["function"]
                yield chunk({"tool_calls": [{"index": index, **call, "function": {**function, "arguments": ""}}]})
                for part in re.findall(r".{1,5}", function["arguments"], re.S):
                    yield chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
            yield chunk({}, said.finish)
            if (body.get("stream_options") or {}).get("include_usage"):
                yield _event({**head, "object": "chat.completion.chunk", "choices": [], "usage": usage})
            yield "data: [DONE]\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    # Anthropic

    async def anthropic(self, request: Request) -> Response:
        try:
            body, said = await self._said(request, _check_anthropic)
        except RefusedError as why:
            error = {"type": "invalid_request_error", "message": str(why)}
            return JSONResponse({"type": "error", "error": error}, status_code=400)
        blocks: list[Json] = []
        forced = (body.get("tool_choice") or {}).get("name") == "reply"
        if forced:
            blocks.append({"type": "tool_use", "id": "toolu_r", "name": "reply", "input": json.loads(said.text or "")})
        elif said.text:
            blocks.append({"type": "text", "text": said.text})
        blocks += [
            {"type": "tool_use", "id": call.id, "name": call.name, "input": dict(call.arguments)} for call in said.calls
        ]
        reason = "tool_use" if forced else _ANTHROPIC_REASON[said.finish]
        usage = {
            "input_tokens": said.tokens[0] - said.cached,
            "cache_read_input_tokens": said.cached,
            "cache_creation_input_tokens": 0,
            "output_tokens": said.tokens[1],
        }
        head = {"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "stop_sequence": None}
        if not body.get("stream"):
            return JSONResponse({**head, "content": blocks, "stop_reason": reason, "usage": usage})

        def events() -> Iterator[str]:
            def event(kind: str, **fields: Any) -> str:
                return f"event: {kind}\n{_event({'type': kind, **fields})}"

            begun = {**head, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
            yield event("message_start", message=begun)
            yield event("ping")
            for index, block in enumerate(blocks):
                empty = {**block, "text": ""} if block["type"] == "text" else {**block, "input": {}}
                yield event("content_block_start", index=index, content_block=empty)
                if block["type"] == "text":
                    parts = [{"type": "text_delta", "text": piece} for piece in said.pieces]
                else:
                    found = re.findall(r".{1,7}", json.dumps(block["input"]), re.S)
                    parts = [{"type": "input_json_delta", "partial_json": part} for part in ["", *found]]
                yield from (event("content_block_delta", index=index, delta=part) for part in parts)
                yield event("content_block_stop", index=index)
            yield event("message_delta", delta={"stop_reason": reason}, usage={"output_tokens": said.tokens[1]})
            yield event("message_stop")

        return StreamingResponse(events(), media_type="text/event-stream")

    # Ollama

    async def ollama(self, request: Request) -> Response:
        try:
            body, said = await self._said(request, _check_ollama)
        except RefusedError as why:
            return JSONResponse({"error": str(why)}, status_code=400)
        calls = [{"function": {"name": call.name, "arguments": dict(call.arguments)}} for call in said.calls]
        end = {
            "done": True,
            "done_reason": "length" if said.finish == "length" else "stop",
            "prompt_eval_count": said.tokens[0],
            "eval_count": said.tokens[1],
        }
        shown = [_token(*each) for each in said.logprobs] if body.get("logprobs") else []

        def row(content: str, **fields: Any) -> Json:
            message = {"role": "assistant", "content": content, **fields.pop("message", {})}
            return {"model": body["model"], "created_at": "2026-01-01T00:00:00Z", "message": message, **fields}

        if body.get("stream") is False:
            message: Json = {"tool_calls": calls} if calls else {}
            return JSONResponse(row(said.text or "", message=message, **end, **({"logprobs": shown} if shown else {})))

        def lines() -> Iterator[str]:
            if shown:
                rows = [row(token["token"], done=False, logprobs=[token]) for token in shown]
            else:
                rows = [row(piece, done=False) for piece in said.pieces if piece]
            rows += [row("", done=False, message={"tool_calls": [call]}) for call in calls]
            yield from (json.dumps(each) + "\n" for each in [*rows, row("", **end)])

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    # Bedrock

    async def bedrock(self, request: Request) -> Response:
        try:
            body, said = await self._said(request, _check_bedrock)
        except RefusedError as why:
            headers = {"x-amzn-ErrorType": "ValidationException"}
            return JSONResponse({"message": str(why)}, status_code=400, headers=headers)
        content: list[Json] = []
        forced = "reply" in str(body.get("toolConfig", {}).get("toolChoice"))
        if forced:
            use = {"toolUseId": "tooluse_r", "name": "reply", "input": json.loads(said.text or "")}
            content.append({"toolUse": use})
        elif said.text:
            content.append({"text": said.text})
        content += [
            {"toolUse": {"toolUseId": call.id, "name": call.name, "input": dict(call.arguments)}} for call in said.calls
        ]
        usage = {"inputTokens": said.tokens[0] - said.cached, "outputTokens": said.tokens[1]}
        reply = {
            "output": {"message": {"role": "assistant", "content": content}},
            "stopReason": "tool_use" if forced else _BEDROCK_REASON[said.finish],
            "usage": {**usage, "totalTokens": sum(said.tokens), "cacheReadInputTokens": said.cached},
            "metrics": {"latencyMs": 1},
        }
        if not request.url.path.endswith("/converse-stream"):
            return JSONResponse(reply)
        return StreamingResponse(iter(events_of(reply)), media_type="application/vnd.amazon.eventstream")


_BEDROCK_REASON = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_ANTHROPIC_REASON = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


def _openai_call(call: Call) -> Json:
    function = {"name": call.name, "arguments": json.dumps(call.arguments)}
    return {"id": call.id, "type": "function", "function": function}


def _event(body: Json) -> str:
    return f"data: {json.dumps(body)}\n\n"


def _token(token: str, logprob: float) -> Json:
    top = [{"token": token, "logprob": logprob, "bytes": list(token.encode())}]
    return {"token": token, "logprob": logprob, "bytes": list(token.encode()), "top_logprobs": top}


def _check_openai(body: Json) -> None:
    waiting: set[str] = set()
    for message in body["messages"]:
        if message["role"] == "tool":
            _demand(message["tool_call_id"] in waiting, "messages with role 'tool' must follow their 'tool_calls'")
            waiting.discard(message["tool_call_id"])
            continue
        _demand(not waiting, f"tool_call_ids did not have response messages: {sorted(waiting)}")
        for call in message.get("tool_calls") or ():
            _demand(len(call["id"]) <= 40, "tool call id: string too long, maximum length 40")
            _demand(isinstance(call["function"]["arguments"], str), "arguments must be a string")
            waiting.add(call["id"])
    _demand(not waiting, "tool_calls without results")


def _check_anthropic(body: Json) -> None:
    _demand(isinstance(body.get("max_tokens"), int), "max_tokens: field required")
    roles = [turn["role"] for turn in body["messages"]]
    _demand(roles[0] == "user" and all(a != b for a, b in pairwise(roles)), "roles must alternate")
    used: set[str] = set()
    waiting: list[str] = []
    for turn in body["messages"]:
        blocks = [{"type": "text"}] if isinstance(turn["content"], str) else turn["content"]
        answered = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        _demand(sorted(answered) == sorted(waiting), "tool_use ids were found without tool_result blocks")
        _demand(all(b["type"] == "tool_result" for b in blocks[: len(answered)]), "results come first")
        waiting = [block["id"] for block in blocks if block["type"] == "tool_use"]
        for call_id in waiting:
            _demand(re.fullmatch(r"[a-zA-Z0-9_-]+", call_id), "tool_use.id: string should match pattern")
            _demand(call_id not in used, "`tool_use` ids must be unique")
            used.add(call_id)
    _demand(not used or body.get("tools"), "requests which have tool_use in messages must define tools")


def _check_bedrock(body: Json) -> None:
    roles = [turn["role"] for turn in body["messages"]]
    _demand(roles[0] == "user" and all(a != b for a, b in pairwise(roles)), "roles must alternate")
    waiting: list[str] = []
    for turn in body["messages"]:
        blocks = turn["content"]
        _demand(all(block.get("text", "x").strip() for block in blocks), "The text field in the content is blank")
        answered = [block["toolResult"]["toolUseId"] for block in blocks if "toolResult" in block]
        _demand(sorted(answered) == sorted(waiting), "toolUse blocks were found without toolResult blocks")
        waiting = [block["toolUse"]["toolUseId"] for block in blocks if "toolUse" in block]
        _demand(not waiting or body.get("toolConfig"), "The toolConfig field must be defined")


def _check_ollama(body: Json) -> None:
    for message in body["messages"]:
        _demand(isinstance(message["content"], str), "content must be a string")
        for call in message.get("tool_calls") or ():
            _demand(isinstance(call["function"]["arguments"], dict), "arguments must be an object")
