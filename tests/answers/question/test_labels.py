"""Classification: the label that a reply gives."""

from __future__ import annotations

import pytest

from tests.answers.key_of import key_of, spelled

MOOD = "Classify the sentiment as positive, negative or neutral: 'I loved it.'"
SPAM = "Is this email spam or ham?\n\nWin a prize"
LABELS = [
    *[
        (MOOD, said, "text:positive")
        for said in (
            "Positive",
            "Sentiment: **Positive**",
            "**Label:** positive",
            "The sentiment of the review is positive.",
            "Positive - the reviewer loved it.",
            "Positive because the reviewer loved it.",
            "Positive.\n\nThe reviewer says that they loved it, which is far from negative or neutral.",
            "The answer is positive, since they loved it.",
            '{"answer": "Positive"}',
        )
    ],
    (MOOD, "It is not positive.", "text:it is not positive"),
    (MOOD, "Positive or neutral", "text:positive or neutral"),
    (SPAM, "Spam, because it asks for nothing but a click.", "text:spam"),
    (SPAM, "This is ham.", "text:ham"),
    ("Sum it up in one or two sentences.", "One", "number:1"),
]


@pytest.mark.parametrize(("question", "reply", "expected"), LABELS)
def test_the_label_of_a_reply(question: str, reply: str, expected: str | None) -> None:
    assert spelled(key_of(question, reply)) == expected
