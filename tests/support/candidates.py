"""Hand-made candidates and a scripted asker: aggregators are tested without a network."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from emerge_core.aggregators import get_aggregator
from emerge_core.answers import Extractor
from emerge_core.config.schema import AggregatorConfig
from emerge_core.types import (
    AnswerKey,
    Call,
    CallError,
    Candidate,
    ChatRequest,
    Completion,
    Decision,
    Member,
    Role,
    ToolCall,
    Unusable,
    UnusableKind,
)

ASKED = ChatRequest(messages=({"role": "user", "content": "Which one?"},))


def build(
    position: int,
    says: str | None = None,
    *,
    text: str | None = None,
    kind: str = "letter",
    calls: Sequence[str] = (),
    weight: float = 1.0,
    confidence: float | None = None,
    why: UnusableKind | None = None,
    status: Any = "ok",
) -> Candidate:
    """`says` is the answer, None for prose; `calls` are written like "search:paris"; `why` makes it unusable."""
    name = f"m{position}"
    member = Member(model=name, position=position, weight=weight)
    error = None
    if status != "ok":
        why = why or "error"
        error = CallError(kind="timeout" if status == "timeout" else "server", message=f"{name} {status}")
    tools = tuple(
        ToolCall(id=f"{name}-{i}", name=call.split(":")[0], arguments=call.split(":")[1])
        for i, call in enumerate(calls)
    )
    key = AnswerKey(kind, says) if says is not None else None
    if tools:
        key = AnswerKey("tools", " ".join(sorted(calls)))
    words = text if text is not None else f"{name} says {says}"
    completion = Completion(
        text=None if error or tools else words,
        tool_calls=tools,
        finish_reason="tool_calls" if tools else "stop",
        error=error,
    )
    return Candidate(
        call=Call(
            id=f"c{position}",
            role="member",
            model=name,
            provider="p",
            status=status,
            completion=completion,
            member=member,
        ),
        member=member,
        why_unusable=Unusable(why, status if why == "error" else "") if why else None,
        key=None if why else key,
        confidence=None if why else confidence,
    )


class Scripted:
    """An asker that answers from a script: a text, a completion, or a function of the request."""

    def __init__(self, *replies: Any, vectors: list[list[float]] | None = None) -> None:
        self.replies = list(replies)
        self.vectors = vectors
        self.asked: list[tuple[Role, str, ChatRequest]] = []
        self.embedded: list[tuple[str, list[str]]] = []

    async def ask(self, role: Role, model: str, request: ChatRequest, *, live: bool = False) -> Call:
        self.asked.append((role, model, request))
        reply = self.replies.pop(0)
        if callable(reply):
            reply = reply(request)
        return self._call(
            role, model, Completion(text=reply, finish_reason="stop") if isinstance(reply, str) else reply
        )

    async def embed(self, embedder: str, texts: Sequence[str]) -> tuple[Call, list[list[float]] | None]:
        self.embedded.append((embedder, list(texts)))
        error = None if self.vectors else CallError(kind="server", message="embedder is down")
        return self._call("embed", embedder, Completion(error=error)), self.vectors

    def _call(self, role: Role, model: str, completion: Completion) -> Call:
        status: Any = "ok" if completion.ok else "error"
        return Call(
            id=f"x{len(self.asked)}", role=role, model=model, provider="p", status=status, completion=completion
        )


def decide(
    candidates: Sequence[Candidate],
    name: str,
    *,
    asker: Scripted | None = None,
    request: ChatRequest = ASKED,
    answer_key: Sequence[str] = (),
    **options: Any,
) -> Decision:
    config = AggregatorConfig.model_validate({"name": name, **options})
    key_of = Extractor.of(request, answer_key).key
    aggregate = get_aggregator(name)
    return asyncio.run(aggregate(candidates, request=request, options=config, asker=asker or Scripted(), key_of=key_of))
