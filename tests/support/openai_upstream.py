"""A real HTTP upstream on loopback that speaks OpenAI's wire format and answers each model's calls from a script,
whole or streamed word by word."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.support.server import Server


@dataclass
class Says:
    """What the upstream answers for one model: text, tool calls or an error, after a delay in seconds."""

    text: str | None = None
    tool_calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    finish_reason: str | None = None
    status: int = 200
    error: str = "scripted"
    code: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    pause: float = 0.0  # before each word of a stream
    breaks_after: int | None = None  # words of a stream, then the connection is cut
    waits_after: int | None = None  # words of a stream, then the upstream's gate must open
    prompt_tokens: int = 100
    completion_tokens: int = 10


@dataclass
class Upstream:
    """`script[model]` is one `Says`, or a list of them for successive calls (the last one repeats)."""

    script: dict[str, Says | list[Says]] = field(default_factory=dict)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)  # of the same requests
    gate: threading.Event = field(default_factory=threading.Event)
    open: int = 0
    url: str = ""

    def asked(self, model: str) -> list[dict[str, Any]]:
        return [body for body in self.bodies if body["model"] == model]

    async def chat(self, request: Request) -> Response:
        body = await request.json()
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        said = self.script[body["model"]]
        if isinstance(said, list):
            said = said[min(len(self.asked(body["model"])), len(said)) - 1]
        self.open += 1
        try:
            if said.delay:
                await asyncio.sleep(said.delay)
        finally:
            self.open -= 1
        if said.status != 200:
            error = {"message": said.error, "type": "scripted", "param": None, "code": said.code}
            return JSONResponse({"error": error}, status_code=said.status, headers=said.headers)
        calls = [
            {"id": f"call_{i}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
            for i, (name, arguments) in enumerate(said.tool_calls)
        ]
        message: dict[str, Any] = {"role": "assistant", "content": said.text, "refusal": None}
        if calls:
            message["tool_calls"] = calls
        reason = said.finish_reason or ("tool_calls" if calls else "stop")
        usage = {
            "prompt_tokens": said.prompt_tokens,
            "completion_tokens": said.completion_tokens,
            "total_tokens": said.prompt_tokens + said.completion_tokens,
        }
        choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}
        if body.get("stream"):
            words = self._words(body, said, choice, usage)
            return StreamingResponse(words, media_type="text/event-stream", headers=said.headers)
        reply = {"id": "x", "object": "chat.completion", "created": 1, "model": body["model"], "choices": [choice]}
        return JSONResponse({**reply, "usage": usage}, headers=said.headers)

    async def _words(
        self, body: dict[str, Any], said: Says, choice: dict[str, Any], usage: dict[str, int]
    ) -> AsyncIterator[str]:
        def event(delta: dict[str, Any], finish: str | None = None, **more: Any) -> str:
            choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
            return f"data: {json.dumps({'model': body['model'], 'choices': choices, **more})}\n\n"

        self.open += 1
        try:
            yield event({"role": "assistant", "content": ""})
            for number, word in enumerate(re.findall(r"\S+\s*", said.text or "")):
                if number == said.breaks_after:
                    raise ConnectionResetError("scripted")
                while number == said.waits_after and not self.gate.is_set():
                    await asyncio.sleep(0.005)
                await asyncio.sleep(said.pause)
                yield event({"content": word})
            for index, call in enumerate(choice["message"].get("tool_calls", ())):
                arguments = call["function"]["arguments"]
                middle = len(arguments) // 2  # as OpenAI does: id and name first, the arguments in fragments
                begun = {**call, "function": {**call["function"], "arguments": ""}}
                yield event({"tool_calls": [{"index": index, **begun}]})
                for fragment in (arguments[:middle], arguments[middle:]):
                    yield event({"tool_calls": [{"index": index, "function": {"arguments": fragment}}]})
            yield event({}, choice["finish_reason"])
            if body.get("stream_options", {}).get("include_usage"):
                yield f"data: {json.dumps({'choices': [], 'usage': usage})}\n\n"
            yield "data: [DONE]\n\n"
        finally:
            self.open -= 1

    async def embed(self, request: Request) -> Response:
        """A vector per text: its length, then ones."""
        body = await request.json()
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        said = self.script.get(body["model"], Says())
        assert isinstance(said, Says)
        await asyncio.sleep(said.delay)
        if said.status != 200:
            error = {"message": said.error, "type": "scripted", "param": None, "code": said.code}
            return JSONResponse({"error": error}, status_code=said.status, headers=said.headers)
        ones = [1.0] * (body.get("dimensions", 3) - 1)
        rows = [{"index": i, "embedding": [len(text), *ones]} for i, text in enumerate(body["input"])]
        usage = {"prompt_tokens": 7, "total_tokens": 7}
        return JSONResponse({"data": rows, "usage": usage}, headers=said.headers)


@contextmanager
def scripted_upstream() -> Iterator[Upstream]:
    """A running upstream with an empty script."""
    scripted = Upstream()
    chat = Route("/v1/chat/completions", scripted.chat, methods=["POST"])
    app = Starlette(routes=[chat, Route("/v1/embeddings", scripted.embed, methods=["POST"])])
    with Server(app) as url:
        scripted.url = f"{url}/v1"
        yield scripted
