"""Candidates as data for a model that judges or merges them.

Anonymous, in an order and between delimiters that follow from a hash of the request: a candidate
can neither know its number nor forge the end of its frame.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from emerge_core.aggregators.consensus import content
from emerge_core.types import Candidate, ChatRequest, JsonObject, text_of

ALL_CHARACTERS = 400_000  # of all candidates together, as a reader is shown them
LEAST_CHARACTERS = 20_000  # that each of them may have

# Writing directions, word joiners and the like, and the "tags" that spell hidden ASCII.
_UNSEEN = re.compile("[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]")


def digest(request: ChatRequest) -> str:
    """A hash of what is asked, equal in every process."""
    said = [request.messages, request.tools, request.tool_choice, request.response_format]
    return sha256(json.dumps(said, sort_keys=True, default=dict).encode()).hexdigest()


def mark(request: ChatRequest) -> str:
    """The part of the delimiters that no candidate can guess."""
    return sha256(f"frame {digest(request)}".encode()).hexdigest()[:12]


def arranged(candidates: Sequence[Candidate], request: ChatRequest) -> list[Candidate]:
    """The candidates in an order that favours no member over many requests."""
    base = digest(request)

    def place(candidate: Candidate) -> str:
        member = candidate.member
        return sha256(f"{base} {member.position} {member.model} {candidate.call.id}".encode()).hexdigest()

    return sorted(candidates, key=place)


def framed(name: str, text: str, frame: str) -> str:
    return f"<{name}-{frame}>\n{text}\n</{name}-{frame}>"


def escaped(text: str) -> str:
    """Without anything that looks like a tag, and without characters that nobody sees but a model reads.
    For readers whose own words are never returned."""
    return _UNSEEN.sub("", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def unmarked(text: str, frame: str) -> str:
    """Verbatim (code stays code), but for our mark: for a reader whose words become the answer. What stands
    for the mark keeps its surroundings apart: they could make up another one."""
    return text.replace(frame, "-")


def words_of(candidate: Candidate, *, among: int) -> str:
    """What one of `among` candidates says. Of a very long one the middle is left out, so that nobody can
    fill the reader's context, or the bill."""
    said = content(candidate.completion)
    most = max(ALL_CHARACTERS // among, LEAST_CHARACTERS)
    if len(said) <= most:
        return said
    head, tail = most * 2 // 3, most // 3
    return f"{said[:head]}\n[{len(said) - head - tail} characters left out]\n{said[-tail:]}"


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
