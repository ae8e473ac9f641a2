from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emerge_core.providers.simulated.arithmetic import arithmetic_answer, evaluate, show


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What is 17 * 23?", "391"),
        ("12 + 30", "42"),
        ("2+2", "4"),
        ("What is 6 times 7?", "42"),
        ("What is 6 x 7?", "42"),
        ("Calculate 7 × 8.", "56"),
        ("What's 10 divided by 4?", "2.5"),
        ("compute (3 + 4) * 2 - 1", "13"),
        ("How much is 2 to the power of 10?", "1024"),
        ("2^3^2", "512"),
        ("-3 - -4", "1"),
        ("What is 1,200 minus 1?", "1199"),
        ("1 / 3", "0.333333"),
        ("0.1 + 0.2", "0.3"),
        ("Please reply with only the number: 9 - 12", "-3"),
        ("What is 2 + 3 * 4? Think step by step.", "14"),
    ],
)
def test_what_is_computed(text: str, expected: str) -> None:
    value = arithmetic_answer(text)
    assert value is not None
    assert show(value) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Hello",
        "What is 17?",
        "Was 2024-05-01 a Monday?",
        "There were 3 + 4 cats, how many cats is that?",
        "What is 1 + 1 and what is 2 + 2?",
        "1 / 0",
        "9 ^ 9 ^ 9",
        "2 ^ 0.5",
        "(1 + 2",
        "1 + 2)",
        "1 +",
        "()",
        "1 + " * 500 + "1",
        "(" * 5000 + "1 + 1" + ")" * 5000,
        "9" * 5000 + " * 9",
        "1..2 + 1",
    ],
)
def test_what_is_not(text: str) -> None:
    assert arithmetic_answer(text) is None


@given(st.integers(-999, 999), st.integers(-999, 999), st.integers(-99, 99))
def test_as_python_computes(a: int, b: int, c: int) -> None:
    assert evaluate(f"{a} + {b} * ({c})") == a + b * c
    assert evaluate(f"({a} - {b}) * {c}") == (a - b) * c
    if b:
        assert evaluate(f"{a} / ({b})") == Fraction(a, b)


@given(st.text(alphabet="0123456789+-*/^(). ,x", max_size=60))
def test_any_text_is_safe(text: str) -> None:
    arithmetic_answer(text)
