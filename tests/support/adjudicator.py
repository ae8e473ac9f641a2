"""An upstream on loopback that settles disputes about the simulated recording's questions.

It answers only requests that show a dispute, in OpenAI's wire format. What it says depends on the model and the
question alone: it is mostly right on sums; elsewhere it takes one of the candidates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from emerge_core.strategies.adjudication import texts_shown_in
from emerge_core.types import ChatRequest
from tests.support.server import Server


@dataclass
class Adjudicator:
    bodies: list[dict[str, Any]] = field(default_factory=list)
    fails: set[str] = field(default_factory=set)  # models that refuse every request
    url: str = ""

    def asked(self, model: str) -> list[dict[str, Any]]:
        return [body for body in self.bodies if body["model"] == model]

    async def chat(self, request: Request) -> Response:
        body = await request.json()
        self.bodies.append(body)
        shown = texts_shown_in(ChatRequest(messages=tuple(body["messages"])))
        if shown is None or body["model"] in self.fails:
            return JSONResponse({"error": {"message": "no dispute", "type": "scripted"}}, status_code=400)
        message = _settled(body["model"], body["messages"][-2]["content"], shown)
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if "tool_calls" in message else "stop"}
        usage = {"prompt_tokens": 300, "completion_tokens": 20, "total_tokens": 320}
        return JSONResponse({"id": "x", "object": "chat.completion", "model": body["model"], "created": 1,
                             "choices": [choice], "usage": usage})  # fmt: skip


def _settled(model: str, question: str, shown: tuple[str, ...]) -> dict[str, Any]:
    chance = int(sha256(f"{model} {question}".encode()).hexdigest(), 16)
    if sums := re.match(r"What is (\d+) plus (\d+)\?", question):
        right = int(sums[1]) + int(sums[2]) + (chance % 5 == 0)
        return {"role": "assistant", "content": f"I checked each sum.\n\nThe answer is {right}."}
    taken = shown[chance % len(shown)]
    if call := re.fullmatch(r"(\w+)\((\{.*\})\)", taken):
        calls = [{"id": "call_0", "type": "function", "function": {"name": call[1], "arguments": call[2]}}]
        return {"role": "assistant", "content": None, "tool_calls": calls}
    return {"role": "assistant", "content": taken}


@contextmanager
def adjudicator() -> Iterator[Adjudicator]:
    """A running upstream."""
    found = Adjudicator()
    with Server(Starlette(routes=[Route("/v1/chat/completions", found.chat, methods=["POST"])])) as url:
        found.url = f"{url}/v1"
        yield found


def config_of(url: str) -> dict[str, Any]:
    """The simulated recording's models at this address, in ensembles that adjudicate in every way."""
    models = {
        name: {"provider": "up", "model": name, "price": {"input": cost[0], "output": cost[1]}}
        for name, cost in {"amber": (0.15, 0.6), "birch": (0.1, 0.4), "cedar": (0.25, 1.25), "titan": (2.5, 10)}.items()
    }
    panel = {"members": ["amber", "birch", "cedar"], "aggregator": "vote"}
    return {
        "providers": {"up": {"kind": "openai", "base_url": url}},
        "models": models,
        "ensembles": {
            "adjudicated": {**panel, "escalate": {"to": "titan", "below_agreement": 1.0, "final": "adjudicate"}},
            "settled": {
                **panel,
                "escalate": [
                    {"to": "panel", "below_agreement": 1.0, "final": "adjudicate"},
                    {"to": "titan", "below_agreement": 1.0, "final": "adjudicate"},
                ],
            },
        },
    }
