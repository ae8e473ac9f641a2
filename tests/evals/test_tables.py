"""Tables fit the terminal, and nothing of them is lost."""

from __future__ import annotations

import re

import pytest

from emerge_core.evals.tables import aligned, columns, paragraph, percent, points

HEAD = ["", "panel", "asks", "accuracy", "against a-model-with-a-long-name", "$/1000"]
ROWS = [
    ["→", "vote of gpt-4o-mini-2024-07-18, llama-3.1-70b-instruct, qwen2.5-32b-instruct", "nobody else",
     "94.7 (92.4 to 96.3)", "-2.3 (-3.9 to -0.7)", "0.0219"],
    ["", "cascade of gemini-1.5-flash, llama-3.1-8b-instruct", "claude-3-5-sonnet-20241022 if no two agree (8.9 %)",
     "96.8 (94.9 to 98.0)", "-0.2 (-1.3 to +0.8)", "0.3175"],
]  # fmt: skip


@pytest.mark.parametrize("size", [100, 120, 400])
def test_a_table_fits_the_terminal_and_keeps_every_word(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setenv("COLUMNS", str(size))
    lines = aligned(HEAD, ROWS)
    assert max(map(len, lines)) <= size
    shown = re.sub(r"[\s-]", "", "".join(sorted("\n".join(lines))))
    wanted = re.sub(r"[\s-]", "", "".join(sorted("".join(map("".join, [HEAD, *ROWS])))))
    assert shown == wanted
    for row in ROWS:
        assert all(figure in "\n".join(lines) for figure in row[3:])  # figures are never broken


def test_without_a_terminal_a_table_is_a_hundred_characters_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert max(map(len, aligned(HEAD, ROWS))) <= 100
    assert max(map(len, paragraph("word " * 100))) <= 100


def test_text_stands_to_the_left_and_figures_to_the_right() -> None:
    assert aligned(["model", "cost"], [["a", "0.20"], ["beta", "10.00"]]) == [
        "model   cost",
        "------------",
        "a       0.20",
        "beta   10.00",
    ]
    assert columns([["a", "b"], ["long", "c"]]) == ["a     b", "long  c"]


def test_figures_with_their_intervals() -> None:
    assert percent((0.5, 0.4, 0.61)) == "50.0 (40.0 to 61.0)"
    assert points((0.012, -0.01, 0.03)) == "+1.2 (-1.0 to +3.0)"
    assert percent((float("nan"), 0.0, 0.0)) == "–"
