"""Confidence: the probability of the tokens that state the answer, through the member's calibration."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, fsum

from emerge_core.types import Member, TokenLogprob


def span_probability(tokens: Sequence[TokenLogprob], text: str, start: int, end: int) -> float | None:
    """The joint probability of the tokens that overlap `text[start:end]`, or None where they cannot be found.

    A provider may have trimmed the text: it is then looked up in the tokens' own text.
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
    """The accuracy of the first bin that reaches up to the probability."""
    for bound, accuracy in member.calibration:
        if bound >= probability:
            return accuracy
    return member.calibration[-1][1] if member.calibration else None
