"""Replies to questions about code."""

from __future__ import annotations

import pytest

from tests.answers.key_of import CODE, key_of, spelled

LITERALS = [
    (CODE, "[-4, 4]", "literal:[-4, 4]"),
    (CODE, "[ -4,4 ]", "literal:[-4, 4]"),
    (CODE, '{"answer": "[ -4, 4 ]"}', "literal:[-4, 4]"),
    (CODE, '{"answer": [-4, 4]}', "literal:[-4, 4]"),
    (CODE, "(1, 2)", "literal:(1,2,)"),
    (CODE, "{'b': 2, 'a': 1}", "literal:{'a': 1, 'b': 2}"),
    (CODE, '{"answer": "{\\"a\\": 1}"}', "literal:{'a': 1}"),
    (CODE, "5", "literal:5"),
    (CODE, "5.0", "literal:5"),
    (CODE, "True", "literal:True"),
    (CODE, '{"answer": true}', "literal:True"),
    (CODE, "None", "literal:None"),
    (CODE, "'abc'", "literal:'abc'"),
    (CODE, '"abc"', "literal:'abc'"),
    (CODE, "abc", "literal:'abc'"),
    (CODE, "'A b C'", "literal:'A b C'"),
    (CODE, '{"answer": "a b "}', "literal:'a b '"),
    (CODE, '{"answer": "\'a b \'"}', "literal:'a b '"),
    (CODE, '{"answer": ""}', "literal:''"),
    (CODE, '{"answer": "\'\'"}', "literal:''"),
    (CODE, "''", "literal:''"),
    (CODE, '{"answer": "-"}', "literal:'-'"),
    (CODE, '{"answer": "correct"}', "literal:'correct'"),
    (CODE, '{"answer": "007"}', "literal:'007'"),
    (CODE, '{"answer": "assert f(\'x\') == [1, 2]"}', "literal:[1, 2]"),
    (CODE, "The answer is `[1, 2]`.", "literal:[1, 2]"),
    (CODE, "The output is a list. The answer is [1, 2], because it is sorted.", "literal:[1, 2]"),
    (CODE, r"The final answer is: $\boxed{[1, 2]}$", "literal:[1, 2]"),
    (CODE, "The answer is the literal string 'abc'.", "literal:'abc'"),
    (CODE, '{"answer": "abc"}\n\nThe answer is enclosed in quotes because it is a string.', "literal:'abc'"),
    (CODE, "The function first splits the text, then joins it again, and so on, for every character.", None),
]


@pytest.mark.parametrize(("question", "reply", "expected"), LITERALS)
def test_the_literal_of_a_reply(question: str, reply: str, expected: str | None) -> None:
    assert spelled(key_of(question, reply)) == expected
