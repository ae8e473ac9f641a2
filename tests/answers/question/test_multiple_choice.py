"""Lettered options: which letter a reply votes for."""

from __future__ import annotations

import pytest

from emerge_core.answers import Extractor
from emerge_core.types import ChatRequest, Completion
from tests.answers.key_of import APPROACHES, CITIES, COUNTED, FIGURES, INLINE, LOWER, RHINE, key_of, spelled

LETTERS = [
    (CITIES, "B.", "letter:B"),
    (CITIES, "(B)", "letter:B"),
    (CITIES, "B)", "letter:B"),
    (CITIES, "**B**", "letter:B"),
    (CITIES, "`B`", "letter:B"),
    (CITIES, '"B"', "letter:B"),
    (CITIES, "b", "letter:B"),
    (CITIES, "(b)", "letter:B"),
    (CITIES, "[B]", "letter:B"),
    (CITIES, "B: Paris", "letter:B"),
    (CITIES, "B) Paris", "letter:B"),
    (CITIES, "B. Paris", "letter:B"),
    (CITIES, "(B) Paris", "letter:B"),
    (CITIES, "B - Paris", "letter:B"),
    (CITIES, "B Paris", "letter:B"),
    (CITIES, "Option B", "letter:B"),
    (CITIES, "option (b)", "letter:B"),
    (CITIES, "Answer: B", "letter:B"),
    (CITIES, "Answer: (B) Paris", "letter:B"),
    (CITIES, "answer: b", "letter:B"),
    (CITIES, "ANSWER: B", "letter:B"),
    (CITIES, "Final answer: B", "letter:B"),
    (CITIES, "Final Answer: **B**", "letter:B"),
    (CITIES, "## Final Answer\n\nB", "letter:B"),
    (CITIES, "### Answer\n**(B)**", "letter:B"),
    (CITIES, "**Final Answer**\n\n(B) Paris", "letter:B"),
    (CITIES, "The answer is B.", "letter:B"),
    (CITIES, "The answer is (B).", "letter:B"),
    (CITIES, "The answer is **B**.", "letter:B"),
    (CITIES, "The answer is **(B) Paris**.", "letter:B"),
    (CITIES, "The answer is: B", "letter:B"),
    (CITIES, "The correct answer is B.", "letter:B"),
    (CITIES, "The correct answer is option B.", "letter:B"),
    (CITIES, "The correct option is B", "letter:B"),
    (CITIES, "The best choice is (B), because Paris lies on the Seine.", "letter:B"),
    (CITIES, "The answer is B because Paris lies there.", "letter:B"),
    (CITIES, "The answer would be B.", "letter:B"),
    (CITIES, "So the answer must be (B).", "letter:B"),
    (CITIES, "The answer to the question is B.", "letter:B"),
    (CITIES, "The answer choice is B.", "letter:B"),
    (CITIES, "The answer is therefore (B).", "letter:B"),
    (CITIES, "The answer is most likely B.", "letter:B"),
    (CITIES, r"The answer is $\boxed{B}$.", "letter:B"),
    (CITIES, r"\boxed{\text{B}}", "letter:B"),
    (CITIES, r"\boxed{\textbf{(B)}}", "letter:B"),
    (CITIES, "Option B is correct.", "letter:B"),
    (CITIES, "(B) is the correct answer.", "letter:B"),
    (CITIES, "Rome lies on the Tiber and London on the Thames. B is the right choice.", "letter:B"),
    (CITIES, "Let us see.\n\nB", "letter:B"),
    (CITIES, "The Thames flows through London, so it cannot be that one.\n\n(B) Paris", "letter:B"),
    (CITIES, "B. Paris\n\nThe Seine flows through it for some thirteen kilometres, past Notre-Dame.", "letter:B"),
    (CITIES, "The city that lies on the Seine, and has for two thousand years, is known as B. Paris.", "letter:B"),
    (CITIES, "(B) Paris is the correct answer.", "letter:B"),
    (CITIES, "London is on the Thames, so option B, Paris, is correct.", "letter:B"),
    (CITIES, "A careful look at the map shows that Paris, I would say, is the correct one of these four.", None),
    (CITIES, "While (A) and its river are tempting, and (C) is old, the city on the Seine is the best of them.", None),
    (CITIES, "#### B", "letter:B"),
    (CITIES, "#### A. London\nOn the Thames.\n#### B. Paris\nOn the Seine.", None),
    (CITIES, "<think>It may be A. The answer is A", None),
    (CITIES, "Having looked at each river in turn, the one that remains is (B).", "letter:B"),
    (CITIES, '{"reasoning": "A is on the Thames.", "answer": "B"}', "letter:B"),
    (CITIES, '```json\n{"answer": "B"}\n```', "letter:B"),
    (CITIES, '{"answer": "B) Paris"}', "letter:B"),
    (CITIES, '{"choice": "B"}', "letter:B"),
    (CITIES, "<think>Maybe A? The answer is A.</think>B", "letter:B"),
    (FIGURES, "B", "letter:B"),
    (CITIES, "B\n\nExplanation: Paris lies on the Seine, London (A) on the Thames.", "letter:B"),
    (CITIES, "**B**\n\nExplanation: London is on the Thames.", "letter:B"),
    (CITIES, "B\n\nA. London is on the Thames.\nB. Paris is on the Seine.", "letter:B"),
    (CITIES, "I would go with B.", "letter:B"),
    (CITIES, "I'd choose option (B).", "letter:B"),
    (CITIES, "It's B.", "letter:B"),
    (CITIES, "London is on the Thames. Therefore, B.", "letter:B"),
    (CITIES, "The Thames is in London. So it must be B, Paris.", "letter:B"),
    (CITIES, "It is a city that lies on the Seine.", None),
    (RHINE, "None of the above", "letter:D"),
    (RHINE, "**None of the above.**", "letter:D"),
    (RHINE, "The answer is none of the above.", "letter:D"),
    (CITIES, "None of the above.", None),
    *[(LOWER, reply, "letter:B") for reply in ("b", "B", "(b)", "b) Paris", "The answer is b.", "Paris")],
    *[(INLINE, reply, "letter:B") for reply in ("b", "B", "(B)", "B) Paris", "The answer is (B) Paris.", "Paris")],
    (INLINE, "New York City", "letter:C"),
    (INLINE, "A city that lies there is what they ask for, I suppose.", None),
    (COUNTED, "2", "number:2"),
    # by the option's own text
    (CITIES, "Paris", "letter:B"),
    (CITIES, "paris.", "letter:B"),
    (CITIES, "The answer is Paris.", "letter:B"),
    (CITIES, "**Paris**", "letter:B"),
    (CITIES, "The answer is New York City.", "letter:D"),
    (CITIES, "new york city", "letter:D"),
    (FIGURES, "1200 km", "letter:B"),
    (FIGURES, "The answer is 1,200 km.", "letter:B"),
    (FIGURES, "-12 km", "letter:D"),
    (FIGURES, "12 miles", "letter:E"),
    (APPROACHES, "A good approach to caching", "letter:A"),
    (APPROACHES, "The answer is doing nothing.", "letter:B"),
    (APPROACHES, "I do not care", "letter:D"),
    # several statements: the last explicit one
    (CITIES, "The answer is A. Wait, no: the answer is B.", "letter:B"),
    (CITIES, "Answer: A\n\nOn reflection,\n\nAnswer: B", "letter:B"),
    (CITIES, '{"answer": "A"}\n\nCorrection:\n\n{"answer": "B"}', "letter:B"),
    (CITIES, "First I thought (A) and (C) possible. The answer is (B).", "letter:B"),
    (CITIES, "The answer is (B). The other options, such as (A), lie on other rivers.", "letter:B"),
    (CITIES, "The answer is (B).\n\nQuestion: Which city lies on the Tiber?\nAnswer: (C)", "letter:B"),
    # none
    (CITIES, "The answer is (X).", None),
    (CITIES, "Please end with: The answer is (X).", None),
    (CITIES, "The answer is F.", None),
    (CITIES, "F", None),
    (CITIES, "A and B", None),
    (CITIES, "A or B", None),
    (CITIES, "A, B", None),
    (CITIES, "(A) and (C)", None),
    (CITIES, "The answer is A or B.", None),
    (CITIES, "The answer is not B.", None),
    (CITIES, "The answer is not (B).", None),
    (CITIES, "The answer is (A) or (B).", None),
    (CITIES, "The answer is (A, B, C).", None),
    (CITIES, "Answer: (A, B, C, or D)", None),
    (CITIES, "I thought that the answer is (A). The answer is (B) and (C).", None),
    (CITIES, "It is not on the Tiber, but on the Seine, which leaves (B).", "letter:B"),
    (CITIES, "Neither.", None),
    (CITIES, "Berlin", None),
    (CITIES, "A. London lies on the Thames.\nB. Paris lies on the Seine.\nC. Rome lies on the Tiber.", None),
    (CITIES, "All of these cities are well worth a visit, and each of them has a river to walk along.", None),
    (CITIES, "Answer: ___", None),
    (CITIES, '{"answer": "<letter>"}', None),
]


@pytest.mark.parametrize(("question", "reply", "expected"), LETTERS)
def test_the_letter_of_a_reply(question: str, reply: str, expected: str | None) -> None:
    assert spelled(key_of(question, reply)) == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("B", "letter:B"),  # max_tokens: 1
        ("The answer is (B", "letter:B"),
        ("(B) Par", "letter:B"),
        ("First, the Seine flows through", None),
    ],
)
def test_a_cut_reply_to_a_multiple_choice(reply: str, expected: str | None) -> None:
    assert spelled(key_of(CITIES, reply, "length")) == expected


OPTION_STYLES = [
    "A. London\nB. Paris",
    "A) London\nB) Paris",
    "(A) London\n(B) Paris",
    "A: London\nB: Paris",
    "  A. London\n  B. Paris",
    "- A. London\n- B. Paris",
    "**A.** London\n**B.** Paris",
    "A. London\n\nB. Paris",
    "A. London\r\nB. Paris",
]


@pytest.mark.parametrize("options", OPTION_STYLES)
def test_the_styles_of_option_lists(options: str) -> None:
    assert spelled(key_of(f"Which?\n{options}", "The answer is Paris.")) == "letter:B"


@pytest.mark.parametrize("options", ["A. London", "B. Paris\nC. Rome", "A. London, and then nothing more.\nC. Rome"])
def test_what_is_no_option_list(options: str) -> None:
    assert spelled(key_of(f"Which?\n{options}", "Paris")) == "text:paris"


def test_options_come_from_the_last_user_message() -> None:
    messages = (
        {"role": "user", "content": "A. London\nB. Paris"},
        {"role": "assistant", "content": "B"},
        {"role": "user", "content": [{"type": "text", "text": "And now?\nA. Oslo\nB. Rome\nC. Bern"}]},
    )
    extractor = Extractor.of(ChatRequest(messages=messages))
    assert spelled(extractor.key(Completion(text="Bern"))) == "letter:C"
    assert spelled(extractor.gold_key("C")) == "letter:C"
    assert spelled(extractor.gold_key("Bern")) == "letter:C"
