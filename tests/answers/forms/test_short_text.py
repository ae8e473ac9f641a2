"""Replies that are yes or no, or a few words."""

from __future__ import annotations

import pytest

from tests.answers.key_of import CAPITAL, POLAR, key_of, spelled

BOOLEANS = [
    (POLAR, "Yes", "boolean:true"),
    (POLAR, "yes.", "boolean:true"),
    (POLAR, "No", "boolean:false"),
    (POLAR, "**No**", "boolean:false"),
    (POLAR, "NO!", "boolean:false"),
    (POLAR, "True", "boolean:true"),
    (POLAR, "false", "boolean:false"),
    (POLAR, "Answer: Yes", "boolean:true"),
    (POLAR, "**Answer:** No.", "boolean:false"),
    (POLAR, "The answer is yes.", "boolean:true"),
    (POLAR, "The answer is **no**.", "boolean:false"),
    (POLAR, "Final answer: True", "boolean:true"),
    (POLAR, r"\boxed{\text{True}}", "boolean:true"),
    (POLAR, r"\boxed{No}", "boolean:false"),
    (
        POLAR,
        "Yes, the Pacific is about twice as large as the Atlantic, at 165 million square kilometres.",
        "boolean:true",
    ),
    (POLAR, "No, it is not.", "boolean:false"),
    (POLAR, "The answer is yes, since it covers more area than all land together.", "boolean:true"),
    (POLAR, '{"answer": true}', "boolean:true"),
    (POLAR, '{"answer": "No"}', "boolean:false"),
    (POLAR, "Yes? Hardly. The answer is no.", "boolean:false"),
]

TEXTS = [
    (CAPITAL, "Canberra", "text:canberra"),
    (CAPITAL, "Canberra.", "text:canberra"),
    (CAPITAL, "canberra", "text:canberra"),
    (CAPITAL, "**Canberra**", "text:canberra"),
    (CAPITAL, '"Canberra"', "text:canberra"),
    (CAPITAL, "“Canberra”", "text:canberra"),
    (CAPITAL, "_Canberra_", "text:canberra"),
    (CAPITAL, "Answer: Canberra", "text:canberra"),
    (CAPITAL, "The answer is Canberra.", "text:canberra"),
    (CAPITAL, "The answer is **Canberra**.", "text:canberra"),
    (CAPITAL, r"\boxed{\text{Canberra}}", "text:canberra"),
    (CAPITAL, '{"answer": "Canberra"}', "text:canberra"),
    (CAPITAL, "The answer is Canberra, which was founded in 1913.", "text:canberra"),
    (CAPITAL, "The capital of Australia is Canberra.", "text:canberra"),
    (CAPITAL, "Canberra is the capital of Australia.", "text:canberra"),
    (CAPITAL, "The city of Canberra is Australia's capital.", "text:canberra"),
    (CAPITAL, '{"answer": "The capital is the city of Canberra."}', "text:canberra"),
    (CAPITAL, "It is called Canberra.", "text:canberra"),
    ("When did the first Ford T leave the factory?", "The first Ford T left the factory in 1908.", "number:1908"),
    ("Who wrote Emma?", "Emma was written by Jane Austen.", "text:jane austen"),
    ("Who sang it?", "It was sung by Simon and Garfunkel.", "text:simon and garfunkel"),
    (CAPITAL, "It is Sydney or Canberra.", "text:it is sydney or canberra"),
    (CAPITAL, "It is not Sydney.", "text:it is not sydney"),
    (CAPITAL, "The United States", "text:united states"),
    (CAPITAL, "U.S.A.", "text:usa"),
    (CAPITAL, "São Paulo", "text:sao paulo"),
    (CAPITAL, "Rubik's Cube", "text:rubiks cube"),
    (CAPITAL, "Italian-American", "text:italian american"),
    (CAPITAL, "Simon & Garfunkel", "text:simon and garfunkel"),
    (CAPITAL, "The answer is your answer.", None),
    (CAPITAL, "Hello! How can I assist you today?", None),
    (CAPITAL, "Do you mean the old one?", None),
    (CAPITAL, "The answer is clear.", None),
    ("Write a slogan.", "Fresh bread from our oven to your table every day", None),
    ("Write a slogan.", "Fresh bread, every day", "text:fresh bread every day"),
    (
        CAPITAL,
        "Australia's capital was chosen as a compromise between its two largest cities. The site lies inland, between "
        "them, and the city was planned from 1913 on by Walter and Marion Griffin, two architects from Chicago.",
        None,
    ),
]


@pytest.mark.parametrize(("question", "reply", "expected"), [*BOOLEANS, *TEXTS])
def test_the_text_of_a_reply(question: str, reply: str, expected: str | None) -> None:
    assert spelled(key_of(question, reply)) == expected
