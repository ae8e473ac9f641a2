"""Whether a message is more than a question.

Benchmark prompts wrap instructions and worked examples around a question, and the recorded answers
still answer them. A judge's, merger's or reviewer's prompt shows candidate answers beside the
question: to serve the question's recorded answer there would be to invent a verdict.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# How much may stand around a question, in characters. Instructions are short; only worked examples
# before the question, each with a "Question:" of its own, may be long.
AROUND = 1_500
EXAMPLES = 24_000
QUOTE = 24  # characters from which a recorded reply in the middle of a text is a quotation, not chance

_EXAMPLE = re.compile(r"\b(?:question|problem|q)\s*\d*\s*:", re.IGNORECASE)
_JUDGING = re.compile(
    r"\bcandidates?\b|\bverdict\b|\bsynthesi[sz]e\b"
    r"|\b(?:impartial|fair|expert) judge\b|\b(?:are|as) (?:a|an|the)(?: \w+)? judge\b"
    r"|\b(?:following|these|those|two|three|four|five|\d|several|other|different|proposed) (?:\w+ )?"
    r"(?:responses|replies|drafts|solutions)\b"
    r"|\b(?:proposed|suggested|submitted|student'?s|previous|assistant'?s|model'?s) (?:answer|solution|response|reply)"
    r"|\bis (?:this|the) (?:answer|solution|response|reply) (?:right|correct)\b"
    r"|<(?:answer|response|reply|solution|candidate)\b",
    re.IGNORECASE,
)
_WORDS = r"(?:answer|response|reply|solution|assistant|model|draft|expert|agent)"
_LABELS = (
    re.compile(rf"^\W*(?i:{_WORDS})\s*[#(\[]?([A-Z]|\d{{1,2}})\b", re.MULTILINE),
    re.compile(rf"\b(?i:{_WORDS})\s+[#(\[]?([A-Z]|\d{{1,2}})[)\]]?\s*:"),
)
_LINE_LABEL = re.compile(r"^\W*(?:[^:]{0,40}:|[A-Za-z0-9]{1,2}[.)])?\s*")


def normalised(text: str) -> str:
    """The text with single spaces: white space does not distinguish prompts."""
    return " ".join(text.split())


def surplus(before: str, after: str, choices: Sequence[str], replies: Iterable[str]) -> str | None:
    """What makes a message more than a question, or None.

    `before` and `after` are what stands around the question, as written; `choices` are expected
    there; `replies` are the recorded answers to it.
    """
    whole, after = normalised(after), _without_choices(after, choices)
    for text, allowed in ((before, EXAMPLES if len(_EXAMPLE.findall(before)) > 1 else AROUND), (after, AROUND)):
        if len(text) > allowed:
            return f"{len(text)} more characters stand around it"
    if shows_answers(before) or shows_answers(after):
        return "it shows answers to be judged"
    plain = [reply for reply in map(normalised, replies) if not any(reply in choice for choice in choices)]
    if any(_quotes(text, plain) for text in (normalised(before), whole)):
        return "it quotes a recorded answer"
    # A short answer is quoted where a whole line says it; worked examples may say one by chance.
    short = {reply for reply in plain if reply}
    if _lines_in(after, short) > 0 or _lines_in(before, short) > 1:
        return "it quotes recorded answers"
    return None


def shows_answers(text: str) -> bool:
    """Whether the text presents answers to be judged, compared or merged."""
    return _JUDGING.search(text) is not None or _labels(text) > 1


def system_surplus(system: str, replies: Iterable[str]) -> str | None:
    """What makes a system prompt more than instructions, or None: it may say anything but show answers."""
    if _labels(system) > 1 or re.search(r"\bcandidates?\b|\b(?:impartial|fair) judge\b", system, re.IGNORECASE):
        return "its system prompt shows or announces answers to be judged"
    if _quotes(normalised(system), [normalised(reply) for reply in replies]):
        return "its system prompt quotes a recorded answer"
    return None


def _labels(text: str) -> int:
    return len({label for pattern in _LABELS for label in pattern.findall(text)})


def _quotes(text: str, replies: Sequence[str]) -> bool:
    """Whether the text holds a reply, or the end of a long one, which usually states the answer."""
    if len(text) < QUOTE:
        return False
    return any(
        len(reply) >= QUOTE and (reply in text or (len(reply) > 200 and reply[-160:] in text)) for reply in replies
    )


def _lines_in(text: str, replies: set[str]) -> int:
    lines = (normalised(_LINE_LABEL.sub("", line, count=1)).strip("\"'`*<>") for line in text.splitlines())
    return sum(1 for line in lines if line in replies)


def _without_choices(text: str, choices: Sequence[str]) -> str:
    """The text without its option lines, and without options in running text."""
    left = []
    wanted = {choice for choice in choices if choice}
    for line in text.splitlines():
        plain = normalised(line)
        choice = next((choice for choice in wanted if plain.endswith(choice) and len(plain) <= len(choice) + 8), None)
        if choice is None:
            left.append(line)
    rest = "\n".join(left)
    for choice in sorted(wanted, key=len, reverse=True):
        if len(choice) > 3:
            rest = rest.replace(choice, "", 1)
    return rest
