"""What stands around an answer: tags, fences, greetings, offers of help, notes, tokens that end a turn."""

from __future__ import annotations

import pytest

from tests.answers.key_of import CAPITAL, CITIES, CODE, POLAR, SUM, key_of, spelled

FRAMES = [
    *[(CITIES, frame, "letter:B") for frame in ("<answer>B</answer>", "<answer>\n(B)\n</answer>", "B</s>", "✅ B")],
    *[(CITIES, said, "letter:B") for said in ("Answer → B", "Final answer - B", '{"selected_option": "B"}')],
    (CITIES, "**Final Answer:** $\\boxed{\\text{B}}$", "letter:B"),
    (CITIES, "The answer is **B**.\n\nNote: please verify this with a map.", "letter:B"),
    (CITIES, "The answer - as one sees - is not easy.", None),
    *[
        (SUM, f"{number}{end}", "number:72")
        for number in ("72", "**72**")
        for end in ("</s>", "<|eot_id|>", "<|im_end|>")
    ],
    (SUM, "```\n72\n```", "number:72"),
    (SUM, "<answer>72</answer>", "number:72"),
    (SUM, "<answer> 72 clips", "number:72"),
    (SUM, "<answer>your answer</answer>", None),
    (SUM, "- 72", "number:72"),
    (SUM, "-72", "number:-72"),
    (SUM, "**72**\n\nLet me know if you need anything else!", "number:72"),
    (SUM, "72\n\n*Disclaimer: for education only.*", "number:72"),
    (CAPITAL, "```\nCanberra\n```", "text:canberra"),
    (CAPITAL, "Sure! The capital of Australia is Canberra.", "text:canberra"),
    (CAPITAL, "Canberra.\n\nLet me know if you have any other questions!", "text:canberra"),
    (CAPITAL, "Canberra. I hope this helps!", "text:canberra"),
    (CAPITAL, "Canberra, not Sydney.", "text:canberra"),
    (CAPITAL, "The capital of Australia is Canberra (not Sydney).", "text:canberra"),
    (CAPITAL, "I don't know.", None),
    (CAPITAL, "I'm not sure.", None),
    ("Write a SQL query that counts users.", "SELECT COUNT(*) FROM users;", None),
    ("Write a SQL query that counts users.", "```sql\nSELECT COUNT(*) FROM users;\n```", None),
    (CODE, "```\n[1, 2]\n```", "literal:[1, 2]"),
    *[(POLAR, f"{yes} The Pacific is larger.", "boolean:true") for yes in ("Yes!", "**Yes**,", "Yes\n\n", "✅ Yes.")],
    (POLAR, "Yes (by area).", "boolean:true"),
    (POLAR, "Yes, but only just. Yes, it is.", "boolean:true"),
    (POLAR, "No it is not.", "boolean:false"),
    (POLAR, "No idea.", None),
    (POLAR, "No doubt about that one, the Pacific is.", None),
]


@pytest.mark.parametrize(("question", "reply", "expected"), FRAMES)
def test_the_key_without_what_stands_around_it(question: str, reply: str, expected: str | None) -> None:
    assert spelled(key_of(question, reply)) == expected
