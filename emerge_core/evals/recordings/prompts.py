"""A question as the request that asks it: the prompt that the contract names, or the recorded request itself."""

from __future__ import annotations

from typing import Any

from emerge_core.api.chat.parse import read_chat
from emerge_core.evals.recordings.rows import Question, prompt_of
from emerge_core.types import ChatRequest


def body_of(question: Question) -> dict[str, Any]:
    """The body of a chat completion, without `model`."""
    if question.request is not None:
        return dict(question.request)
    return {"messages": [{"role": "user", "content": prompt_of(question)}]}


def request_of(question: Question) -> ChatRequest:
    """Raises RequestError where a recorded request is not one that the product takes."""
    if question.request is None:
        return ChatRequest(messages=({"role": "user", "content": prompt_of(question)},))
    return read_chat({**question.request, "model": "any"}).request
