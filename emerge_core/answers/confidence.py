"""Confidence: the probability of the tokens that state the answer, through the member's calibration."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import exp, fsum

from emerge_core.answers.forms import numbers
from emerge_core.types import AnswerKey, Member, TokenLogprob

_NUMBER = re.compile(r"[-−–]?[$€£]?\d[\d,.]*(?:/\d+)?")
_BOOLEAN = re.compile(r"\b(?:yes|no|true|false)\b", re.I)


def answer_span(text: str, start: int, end: int, key: AnswerKey) -> tuple[int, int]:
    """The part of a statement that is the answer itself.

    What follows ("B, because …") does not count, so that confidence does not depend on the length of a reply.
    """
    found: re.Match[str] | None = None
    if key.kind == "letter":
        found = re.compile(rf"(?<![^\W_]){key.value}(?![^\W_])").search(text, start, end)
        found = found or re.compile(rf"(?<![^\W_]){key.value.lower()}(?![^\W_])").search(text, start, end)
    elif key.kind == "boolean":
        found = _BOOLEAN.search(text, start, end)
    elif key.kind == "number":
        for match in _NUMBER.finditer(text, start, end):
            value = numbers.parse(match.group())
            found = match if value is not None and numbers.canonical(value) == key.value else found
    elif key.kind == "text":
        words = r"[\W_]+(?:(?:a|an|the)[\W_]+)?".join(map(re.escape, key.value.split()))
        found = re.compile(words, re.I).search(text, start, end)
    return found.span() if found else (start, end)


def span_probability(tokens: Sequence[TokenLogprob], text: str, start: int, end: int) -> float | None:
    """The joint probability of the tokens that overlap `text[start:end]`, or None if they cannot be found.

    If the provider trimmed the text, the span is searched in the text of the tokens.
    """
    whole = "".join(token.token for token in tokens)
    shift = 0 if whole.startswith(text) else whole.find(text)
    if shift < 0:
        value = text[start:end]
        found = whole.rfind(value) if value else -1
        if found < 0:
            return None
        shift = found - start
    first, last = start + shift, end + shift
    overlapping, at = [], 0
    for token in tokens:
        after = at + len(token.token)
        if at < last and after > first:
            overlapping.append(token.logprob)
        at = after
    return min(1.0, exp(fsum(overlapping))) if overlapping else None


def calibrated(member: Member, probability: float) -> float | None:
    """The accuracy of the first calibration bin whose upper bound is at least the probability."""
    for bound, accuracy in member.calibration:
        if bound >= probability:
            return accuracy
    return member.calibration[-1][1] if member.calibration else None
