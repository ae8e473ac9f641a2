"""Where a reply states its answer, and where it states none. The mistakes that other routers make come first."""

from __future__ import annotations

import pytest

from tests.answers.key_of import APPROACHES, CAPITAL, CITIES, SUM, TEN, key_of, spelled

PEERS_MISTAKES = [
    # a sentence that starts with "A" is no vote for A
    (CITIES, "A city on the Seine is a common description, but many rivers have such cities.", None),
    (APPROACHES, "A good approach needs more thought than this question gives it room for, I would say.", None),
    (CITIES, "I think that a long walk along the river is worth it in any of these places.", None),
    (TEN, "I would need to see the whole list before choosing.", None),
    # markdown alone must not split votes
    (CITIES, "**Answer:** B", "letter:B"),
    (CITIES, "**Answer: B**", "letter:B"),
    (CITIES, "**Answer**: B", "letter:B"),
    (SUM, "#### 1000", "number:1000"),
    (SUM, "#### 1,000", "number:1000"),
    (SUM, r"\boxed{12}", "number:12"),
    (SUM, r"The answer is \boxed{12}.", "number:12"),
    (SUM, "1,000.00", "number:1000"),
    (SUM, "1000", "number:1000"),
    # a rating is not its zero
    ("How many of ten points?", "8/10", "number:4/5"),
    ("How would you rate this essay?", "8/10", "number:4/5"),
    # role names inside an answer cut nothing
    (SUM, 'The log says "User: 12" and "Assistant: 13". The answer is 72.', "number:72"),
    (CAPITAL, "User: hello\nAssistant: hi\nThe answer is Canberra.", "text:canberra"),
    # short answers are full answers
    (CITIES, "B", "letter:B"),
    (SUM, "42", "number:42"),
]

REFUSALS = [
    (CAPITAL, "I'm sorry, but I can't help with that.", None),
    (CAPITAL, "I cannot assist with this request.", None),
    (SUM, "I'm unable to answer that.", None),
    (CITIES, "As an AI language model, I cannot answer this question.", None),
]

DENIALS = [
    (CITIES, "It is not Paris.", None),
    (CITIES, "The answer is not Paris.", None),
    (CITIES, "London does not lie on the Seine.", None),
    (APPROACHES, "I do not care about caching", "letter:D"),
    (CITIES, "A) London: no. B) Paris: yes. C) Rome: no.", None),
    (CITIES, "The answer is B rather than C.", "letter:B"),
    (CITIES, "I think it's B.", "letter:B"),
    (CITIES, "B (90%)", "letter:B"),
    (CITIES, "[[B]]", "letter:B"),
    (CITIES, "<scratchpad>The answer is A?</scratchpad>\nB", "letter:B"),
    (SUM, "$\\frac{3}{4}$ cup", "number:3/4"),
    (SUM, "The answer is 3/4 of a cup.", "number:3/4"),
    (SUM, "8 of 10", "text:8 of 10"),
    ("Is 7 prime?", "7 is a prime number.", "text:7 is prime number"),
]


@pytest.mark.parametrize(("question", "reply", "expected"), [*PEERS_MISTAKES, *REFUSALS, *DENIALS])
def test_the_stated_answer_of_a_reply(question: str, reply: str, expected: str | None) -> None:
    assert spelled(key_of(question, reply)) == expected
