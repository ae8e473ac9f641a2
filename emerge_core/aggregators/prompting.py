"""Candidates as data for a model that judges, merges or adjudicates them.

Candidates are anonymous and stand in an order that follows from a hash of the request, between delimiters with
a random mark. So no candidate can know its number or forge the end of its frame. The mark alone is random:
nothing that is decided depends on it.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

from emerge_core.aggregators.consensus import content
from emerge_core.types import Candidate, ChatRequest, JsonObject, text_of

ALL_CHARACTERS = 400_000  # of all candidates together, as a reader is shown them
LEAST_CHARACTERS = 20_000  # that each of them may have

# Characters that people do not see but models read: controls, writing directions, word joiners, fillers, and the
# "tags" and variation selectors that can spell hidden text. Single joiners and emoji selectors stay.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0e\ufeff\uffa0\ufff0-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
    "|(?<=[\u200c\u200d\ufe0f])[\u200c\u200d\ufe0f]+"
)


def digest(request: ChatRequest) -> str:
    """A hash of what is asked, equal in every process."""
    said = [request.messages, request.tools, request.tool_choice, request.response_format]
    return sha256(json.dumps(said, sort_keys=True, default=dict).encode()).hexdigest()


def random_mark(texts: Iterable[str]) -> str:
    """The part of the delimiters that no model can predict, and that none of the texts contains."""
    shown = list(texts)
    while True:
        mark = secrets.token_hex(6)
        if not any(mark in text for text in shown):
            return mark


def arranged(candidates: Sequence[Candidate], request: ChatRequest) -> list[Candidate]:
    """The candidates in an order that favours no member over many requests."""
    base = digest(request)

    def place(candidate: Candidate) -> str:
        member = candidate.member
        return sha256(f"{base} {member.position} {member.model} {candidate.call.id}".encode()).hexdigest()

    return sorted(candidates, key=place)


def framed(name: str, text: str, mark: str) -> str:
    return f"<{name}-{mark}>\n{text}\n</{name}-{mark}>"


def escaped(text: str) -> str:
    """The text without anything that looks like a tag, and without invisible characters. For readers whose own
    words are never returned: code need not stay as it is."""
    return visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def visible(text: str) -> str:
    """The text without characters that people do not see but models read."""
    return _INVISIBLE.sub("", text)


def words_of(candidate: Candidate, *, among: int) -> str:
    """What one of `among` candidates says, without invisible characters. The middle of a very long one is left
    out, so that no candidate can fill the reader's context, or run up the bill."""
    return shortened(content(candidate.completion), among=among)


def shortened(text: str, *, among: int) -> str:
    """As `words_of`, for a text."""
    text = visible(text)
    limit = max(ALL_CHARACTERS // among, LEAST_CHARACTERS)
    if len(text) <= limit:
        return text
    head, tail = limit * 2 // 3, limit // 3
    return f"{text[:head]}\n[{len(text) - head - tail} characters left out]\n{text[-tail:]}"


def conversation(request: ChatRequest) -> str:
    """The caller's messages as escaped lines, images as numbered places."""
    lines, images = [], 0
    for message in request.messages:
        parts = message.get("content")
        text = text_of(parts)
        if isinstance(parts, (list, tuple)):
            for part in parts:
                if isinstance(part, Mapping) and part.get("type") == "image_url":
                    images += 1
                    text += f"\n[image {images}, attached]"
        for call in message.get("tool_calls") or ():
            function = call.get("function") or {}
            text += f"\n{function.get('name')}({function.get('arguments')})"
        lines.append(f"[{escaped(str(message.get('role')))}]\n{escaped(text.strip())}")
    if request.offers_tools:
        lines.append(f"[tools on offer]\n{escaped(json.dumps(request.tools, default=dict))}")
    return "\n\n".join(lines)


def image_parts(request: ChatRequest) -> list[JsonObject]:
    """The caller's images, in the order in which `conversation` numbers them."""
    found: list[Any] = []
    for message in request.messages:
        parts = message.get("content")
        if isinstance(parts, (list, tuple)):
            found += [part for part in parts if isinstance(part, Mapping) and part.get("type") == "image_url"]
    return found
