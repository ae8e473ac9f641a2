"""Recognises a request that shows an adjudicator the answers in dispute, in the wire format of any provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from emerge_core.strategies.adjudication import INSTRUCTIONS, texts_shown_in
from emerge_core.types import ChatRequest, text_of

_START = INSTRUCTIONS.split("{mark}")[0]

Messages = Sequence[Mapping[str, Any]]


class Adjudication(NamedTuple):
    """The conversation that was asked, without the dispute, and the texts shown, sorted."""

    asked: list[Mapping[str, Any]]
    texts: tuple[str, ...]


def adjudication_in(messages: Messages) -> Adjudication | None:
    """None for a request that shows no dispute. Some APIs want turns to alternate, so that the dispute is in one
    message with the question before it."""
    last = messages[-1] if messages else {}
    text = text_of(last.get("content")) if last.get("role") == "user" else ""
    start = text.find(_START)
    if start < 0:
        return None
    texts = texts_shown_in(ChatRequest(messages=({"role": "user", "content": text[start:]},)))
    if texts is None:
        return None
    before = _parts_before(last.get("content"))
    return Adjudication([*messages[:-1], *([{**last, "content": before}] if before else [])], texts)


def _parts_before(content: Any) -> Any:
    """A message's content up to the dispute."""
    if isinstance(content, str):
        return content[: content.find(_START)].rstrip()
    kept: list[Any] = []
    for part in content if isinstance(content, (list, tuple)) else ():
        text = part.get("text") if isinstance(part, Mapping) else None
        if isinstance(text, str) and _START in text:
            words = text[: text.find(_START)].rstrip()
            return [*kept, {**part, "text": words}] if words else kept
        kept.append(part)
    return kept
