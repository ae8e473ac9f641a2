"""Which keys are the same vote, and who speaks for them."""

from __future__ import annotations

import pytest

from emerge_core.answers import group_keys, same, strongest
from emerge_core.types import AnswerKey, Call, Candidate, Completion, Member


def text(value: str) -> AnswerKey:
    return AnswerKey("text", value)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("paris", "paris", True),
        ("paris", "paris france", True),
        ("paris", "city of paris", True),
        ("kenneth williams", "doctor was played by kenneth williams", True),
        ("paris", "rome", False),
        ("paris", "not paris", False),
        ("paris", "paris or rome", False),
        ("romeo", "romeo and juliet", False),
        ("apollo", "apollo 11", False),
        ("world war", "world war ii", False),
        ("york", "new yorker", False),
        ("b", "vitamin b", False),
        ("of", "bank of england", False),
        ("john smith", "john brown", False),
    ],
)
def test_containment_of_texts(one: str, other: str, expected: bool) -> None:
    assert same(text(one), text(other)) is expected
    assert same(text(other), text(one)) is expected


def test_only_texts_match_without_being_equal() -> None:
    assert not same(AnswerKey("number", "1"), AnswerKey("number", "1/2"))
    assert not same(AnswerKey("number", "1"), text("1"))
    assert not same(AnswerKey("literal", "'a'"), AnswerKey("literal", "'a b'"))


def test_groups_are_numbered_by_first_appearance() -> None:
    keys = [text("rome"), text("paris france"), AnswerKey("number", "1"), text("paris"), text("rome")]
    assert group_keys(keys) == [0, 1, 2, 1, 0]
    assert group_keys([]) == []


def test_groups_are_transitive() -> None:
    keys = [text("city of paris"), text("paris france"), text("paris")]
    assert group_keys(keys) == [0, 0, 0]


def voter(model: str, position: int, weight: float = 1.0, confidence: float | None = None) -> Candidate:
    member = Member(model=model, position=position, weight=weight)
    call = Call(id=model, role="member", model=model, provider="p", status="ok", completion=Completion(text="x"))
    return Candidate(call=call, member=member, confidence=confidence)


def test_the_heaviest_speaks_then_the_most_confident_then_the_first() -> None:
    assert strongest([voter("a", 0), voter("b", 1, weight=2.0)]).member.model == "b"
    assert strongest([voter("a", 0, confidence=0.5), voter("b", 1, confidence=0.9)]).member.model == "b"
    assert strongest([voter("a", 0), voter("b", 1, confidence=0.9)]).member.model == "a"
    assert strongest([voter("b", 1), voter("a", 0)]).member.model == "a"
