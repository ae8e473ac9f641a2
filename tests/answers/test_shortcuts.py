"""Shortcuts of extraction give what the rules that they spare give."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from emerge_core.answers import is_refusal, usable
from emerge_core.answers.forms import numbers, to_key
from emerge_core.answers.question import Question
from emerge_core.answers.reading import explicit

WORDS = [
    *(
        "a",
        "the",
        "an",
        "x",
        "n",
        "na",
        "yes",
        "No",
        "TRUE",
        "answer",
        "value",
        "result",
        "your",
        "spam",
        "New",
        "York",
    ),
    *("so", "therefore", "not", "one", "twenty", "hundred", "dozen", "minus", "about", "only", "or", "and", "of", "i"),
    *("usd", "option", "final", "correct", "here", "tbd", "none", "Monday", "pi", "km", "K", "neither", "is", "it"),
]
JOINTS = [" ", "_", "  ", "-", ", ", ". "]
some_words = st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(JOINTS)), min_size=1, max_size=8)


@given(some_words)
@settings(max_examples=600)
def test_short_strings(parts: list[tuple[str, str]]) -> None:
    text = "".join(word + joint for word, joint in parts).rstrip(" -_,.")
    empty = Question("")
    assert to_key.short_string(empty, text) == to_key._short_string(empty, text)


@pytest.mark.parametrize("word", [*WORDS, *numbers.NUMBER_WORDS])
def test_short_strings_of_one_word(word: str) -> None:
    assert to_key.short_string(Question("x"), word) == to_key._short_string(Question(""), word)


PIECES = [
    *("answer", "Answer:", "The correct option ", "best\nchoice", "option that is best for all of us here ", "boxed"),
    *(
        "\\boxed{",
        "####",
        "    ####   72",
        "\n####\n",
        "<answer>",
        "<final_answer>",
        "likely result",
        "right  response",
    ),
    *("x" * 130, " " * 130, "\n", " ", "é", "İ", "the answer", "ANSWER", "#### ", "## "),
    *("right  response", "most accurate statement"),
]


@example("\n####\n" + " " * 260 + "#### answer", 0)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join), st.integers(0, 40))
@settings(max_examples=600)
def test_anchors(text: str, begin: int) -> None:
    found = [match.span() for match in explicit._anchors(text, text.lower(), min(begin, len(text)))]
    assert found == [match.span() for match in explicit._ANCHOR.finditer(text, min(begin, len(text)))]


SAYINGS = [
    *(
        "I'm sorry, but I can't ",
        "I cannot ",
        "I ",
        "unable to ",
        "help with that. ",
        "This is against my guidelines. ",
    ),
    *(
        '"',
        "“",
        "`",
        "> ",
        "\n",
        "Unfortunately, ",
        "I won’t ",
        "decline to ",
        "answer ",
        "the river ",
        "As an AI, ",
        "…",
    ),
]


@given(st.lists(st.sampled_from(SAYINGS), max_size=10).map("".join))
@settings(max_examples=600)
def test_refusals(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        quick = is_refusal(text)
        patch.setattr(usable, "_SIGNS", ("",))  # found in every text
        assert is_refusal(text) == quick


def test_what_a_reply_costs_does_not_grow_with_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """GIVEN prose that announces no answer THEN the pattern for announcements reads none of it."""
    read: list[int] = []

    class Counted:
        def finditer(self, text: str, start: int = 0, stop: int = 0) -> list[object]:
            read.append(stop - start)
            return []

    monkeypatch.setattr(explicit, "_ANCHOR", Counted())
    text = "The river rises in the hills and reaches the sea after ninety miles. " * 30
    assert explicit._anchors(text, text.lower(), 0) == []
    assert sum(read) == 0
    said = f"{text}The answer is 7."
    explicit._anchors(said, said.lower(), 0)
    assert 0 < sum(read) <= 300


@given(st.from_regex(r"[-+0]?[0-9]{1,17}[.]{0,2}", fullmatch=True))
@example("0")
@example("-0")
@example("007")
@example("42.")
@settings(max_examples=300)
def test_plain_integers(text: str) -> None:
    found = to_key.integer_key(text)
    if found is not None:
        question = Question("What is 6 times 7?")
        number = numbers.parse(text)
        assert number is not None
        assert found.value == numbers.canonical(number)
        assert found == to_key.value_key(question, f" {text}")  # which the shortcut does not take
