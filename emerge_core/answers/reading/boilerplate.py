"""Boilerplate around an answer: reasoning blocks, greetings, offers of help, notes, end-of-turn tokens, code fences.

These functions return positions in the reply, so that a found answer can be located among its tokens.
"""

from __future__ import annotations

import re

_THINKING = r"(?:think|thinking|thought|reasoning|scratchpad|analysis)"
_THINKING_OPENS = re.compile(rf"\s*<{_THINKING}>", re.I)
_THINKING_ENDS = re.compile(rf"</{_THINKING}>", re.I)
_STOP_TOKEN = re.compile(r"(?:</s>|<\|[a-z_]{3,20}\|>|<end_of_turn>|\[/INST\])\s*\Z")
_GREETING = re.compile(
    r"(?:sure(?: thing)?|certainly|of course|absolutely|okay|ok|alright|(?:great|good) question|happy to help)"
    r"\s?[!.,:]\s+(?=\S)",
    re.I,
)
_COURTESY = (
    r"(?:(?:please )?(?:let me know|feel free|don['’]t hesitate|note that)|please (?:verify|consult|double-check)"
    r"|(?:I )?hope (?:this|that|it)|if you (?:have any|need (?:any|more|further)|would like|['’]d like)"
    r"|is there anything|would you like|do you (?:want|need|have)|(?:note|disclaimer|important)\b\s*[:*])"
)
_LAST_PARAGRAPH = re.compile(rf"\n\s{{0,9}}\n[\s*_>(-]{{0,6}}{_COURTESY}", re.I)
_LAST_SENTENCE = re.compile(rf"(?<=[.!?)*\n])[ \n]{{0,3}}[*_(]{{0,3}}{_COURTESY}[^\n]*\Z", re.I)
_LIST_MARK = re.compile(r"[-•>]\s+(?=\S)")
_MAX_COURTESY = 600  # characters
# One character for one character, so that positions in the text do not change.
_FULL_WIDTH = str.maketrans(
    {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3002: ".", 0x3001: ",", 0x3000: " "}
)


def without_end_token(text: str) -> str:
    """Remove an end-of-turn token, and turn full-width letters, digits and punctuation into ASCII.

    Positions in the text do not change.
    """
    if match := _STOP_TOKEN.search(text, max(0, len(text) - 40)):
        text = text[: match.start()]
    return text if text.isascii() else text.translate(_FULL_WIDTH)


def reasoning_end(text: str) -> int:
    """The position after the last reasoning block, or 0 if the reply has none.

    A reply that was cut off inside its reasoning block has nothing after it: its length is returned.
    """
    last = 0
    for match in _THINKING_ENDS.finditer(text):
        last = match.end()
    if last:
        return last if text[last:].strip() else 0
    return len(text) if _THINKING_OPENS.match(text) else 0


def body_span(text: str) -> tuple[int, int]:
    """Start and end of the reply without boilerplate. The span is empty only if the reply has no text."""
    start, end = _stripped(text, reasoning_end(text), len(text))
    for pattern in (_GREETING, _LIST_MARK):
        if match := pattern.match(text, start, end):
            start = match.end()
    near = max(start + 1, end - _MAX_COURTESY)
    if match := _LAST_PARAGRAPH.search(text, near, end):
        start, end = _stripped(text, start, match.start())
    if match := _LAST_SENTENCE.search(text, max(start + 1, end - _MAX_COURTESY), end):
        start, end = _stripped(text, start, match.start())
    return start, end


def fence_content(text: str, start: int, end: int) -> tuple[int, int, str] | None:
    """Start and end of the content and the language, if a code fence encloses the whole of `text[start:end]`."""
    if not text.startswith("```", start) or not text.endswith("```", start + 3, end):
        return None
    line_end = text.find("\n", start, end)
    if line_end < 0 or text.find("```", line_end, end) != end - 3:
        return None
    return *_stripped(text, line_end, end - 3), text[start + 3 : line_end].strip()


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end
