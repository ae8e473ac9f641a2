"""The probability of the stated answer, through the member's calibration."""

from __future__ import annotations

import re
from math import log

import pytest

from emerge_core.answers import Extractor
from emerge_core.types import ChatRequest, Completion, Member, TokenLogprob

BINS = tuple((bound / 100, bound / 100) for bound in range(1, 101))  # the identity, in steps of a hundredth


def tokens(text: str, sure: dict[str, float]) -> tuple[TokenLogprob, ...]:
    pieces = re.findall(r"\s*\w+|\s*[^\w\s]|\s+$", text)
    assert "".join(pieces) == text
    return tuple(TokenLogprob(token=piece, logprob=log(sure.get(piece.strip(), 0.999))) for piece in pieces)


def confidence(
    text: str, sure: dict[str, float], question: str = "How many?", member: Member | None = None, json: bool = False
) -> float | None:
    request = ChatRequest(
        messages=({"role": "user", "content": question},), response_format={"type": "json_object"} if json else None
    )
    completion = Completion(text=text, finish_reason="stop", logprobs=tokens(text, sure))
    return Extractor.of(request).confidence(completion, member or Member(model="m", calibration=BINS))


MCQ = "Which?\nA. London\nB. Paris"


@pytest.mark.parametrize(
    ("question", "text", "sure", "expected"),
    [
        (MCQ, "B", {"B": 0.8}, 0.8),
        (MCQ, "The answer is (B).", {"B": 0.8, "answer": 0.1}, 0.8),
        (MCQ, "A is wrong. The answer is B.", {"A": 0.1, "B": 0.7}, 0.7),
        (MCQ, "The answer is B because it is so.", {"B": 0.7, "because": 0.1, "so": 0.1}, 0.7),
        (MCQ, "B. Paris, since London is elsewhere.", {"B": 0.7, "London": 0.1}, 0.7),
        ("Is it?", "Yes, because it is.", {"Yes": 0.7, "because": 0.1}, 0.7),
        ("Who?", "The answer is Ada Lovelace, as is known.", {"Ada": 0.9, "Lovelace": 0.5, "known": 0.1}, 0.45),
        ("How many?", "The answer is 72 clips since 48 + 24 = 72.", {"48": 0.1, "72": 0.7}, 0.7),
        ("How many?", "48 and 24. The answer is 72.", {"48": 0.1, "72": 0.6}, 0.6),
        ("How many?", "So \\boxed{1,000}", {"1": 0.9, "000": 0.5}, 0.45),
        ("How many?", '{"reasoning": "48", "answer": "72"}', {"48": 0.1, "72": 0.4}, 0.4),
        ("How many?", '{"answer": 72, "reasoning": "48"}', {"48": 0.1, "72": 0.4}, 0.4),
    ],
)
def test_only_the_answer_itself_counts(question: str, text: str, sure: dict[str, float], expected: float) -> None:
    assert confidence(text, sure, question) == pytest.approx(expected, abs=0.011)


def test_of_a_json_answer_the_voted_leaves_count() -> None:
    text = '{"why": "' + "because " * 12 + '", "label": "spam", "score": 3}'
    assert confidence(text, {"because": 0.1, "spam": 0.8, "3": 0.5}, json=True) == pytest.approx(0.4, abs=0.011)


def test_length_does_not_enter() -> None:
    short, long = "72", "First " * 200 + "48, then 24. The answer is 72."
    assert confidence(short, {"72": 0.6}) == confidence(long, {"72": 0.6, "First": 0.5}) == 0.6


@pytest.mark.parametrize(
    ("probability", "expected"), [(0.2, 0.31), (0.4, 0.31), (0.7, 0.74), (0.95, 0.93), (0.999, 0.93)]
)
def test_the_first_bin_that_reaches_the_probability(probability: float, expected: float) -> None:
    member = Member(model="m", calibration=((0.5, 0.31), (0.9, 0.74), (0.99, 0.93)))
    assert confidence("72", {"72": probability}, member=member) == expected


def test_without_calibration_or_logprobs_the_reliability_counts() -> None:
    extractor = Extractor.of(ChatRequest(messages=({"role": "user", "content": "How many?"},)))
    bare = Completion(text="72", finish_reason="stop")
    rated = Completion(text="72", finish_reason="stop", logprobs=tokens("72", {}))
    assert extractor.confidence(bare, Member(model="m")) is None
    assert extractor.confidence(bare, Member(model="m", reliability=0.8)) == 0.8
    assert extractor.confidence(rated, Member(model="m", reliability=0.8)) == 0.8
    assert extractor.confidence(bare, Member(model="m", reliability=0.8, calibration=BINS)) == 0.8
    prose = "Nothing that could be voted on here, in this long text about nothing at all. " * 5
    unstated = Completion(text=prose, finish_reason="stop", logprobs=tokens(prose, {}))
    assert extractor.confidence(unstated, Member(model="m", reliability=0.8, calibration=BINS)) == 0.8


def test_a_trimmed_text_is_found_in_its_tokens() -> None:
    extractor = Extractor.of(ChatRequest(messages=({"role": "user", "content": "How many?"},)))
    logprobs = tokens(" \n The answer is 72. ", {"72": 0.6})
    completion = Completion(text="The answer is 72.", finish_reason="stop", logprobs=logprobs)
    assert extractor.confidence(completion, Member(model="m", calibration=BINS)) == 0.6
