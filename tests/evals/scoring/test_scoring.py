from __future__ import annotations

from pathlib import Path

import pytest

from emerge_core.errors import EmergeError
from emerge_core.evals.recordings.recording import Gold, Question, Recordings
from emerge_core.evals.scoring.scorer import Scorer


@pytest.mark.parametrize(
    ("form", "gold", "reply", "right"),
    [
        ("number", "1200", "First 3 × 400.\n\n#### 1,200", True),
        ("number", "1200", '```json\n{"reasoning": "3 × 400", "answer": "1200.00"}\n```', True),
        ("number", "1200", "The answer is 120.", False),
        ("number", "1200", "I cannot say.", False),
        ("number", "1200", "", False),
        ("python literal", "[1, 2]", '{"reasoning": "…", "answer": "[1,  2]"}', True),
        ("python literal", "[1, 2]", '{"reasoning": "…", "answer": "[2, 1]"}', False),
        ("short text", "The Netherlands", "They come from the Netherlands, as I recall.", True),
        ("short text", "Malmö", "malmo", True),
        ("short text", "Ali", "Alice", False),
    ],
)
def test_by_the_form_of_the_answer(form: str, gold: str, reply: str, right: bool) -> None:
    scorer = Scorer({"q": Question("q", "What is it?")}, {"q": Gold((gold,), form)})
    assert scorer.right("q", reply) is right


def test_letters() -> None:
    question = Question("q", "Which is it?", ("a red fox", "a blue whale", "a hen"))
    scorer = Scorer({"q": question}, {"q": Gold(("B",), "letter")})
    assert scorer.right("q", "The answer is (B).")
    assert scorer.right("q", "**Answer:** B")
    assert not scorer.right("q", "The answer is (C).")
    assert not scorer.right("q", "A city on the coast.")


def test_a_reply_that_people_judged_keeps_their_verdict(recordings: Path) -> None:
    scorer = Scorer.of(Recordings(recordings), "facts")
    assert scorer.right("f1", "That was Buonarroti.")
    assert not scorer.right("f1", "Michelangelo was not the painter.")
    assert scorer.right("f1", "It was Michelangelo.")
    assert not scorer.right("f1", "It was Raphael.")


def test_a_rule_set_verdict_is_not_a_persons(own_recordings: Path) -> None:
    scorer = Scorer.of(Recordings(own_recordings), "sums")
    assert scorer.right("s1", "Let me work that out step by step.\n\nThe answer is 42.")
    assert not scorer.right("s1", "Let me work that out step by step.\n\nThe answer is 43.")


def test_labels_without_gold_answers_are_enough(own_recordings: Path) -> None:
    (own_recordings / "facts" / "questions.jsonl").write_text('{"id": "f1", "question": "Why?", "answers": null}\n')
    scorer = Scorer.of(Recordings(own_recordings), "facts")
    assert scorer.right("f1", "That was Buonarroti.")
    assert not scorer.right("f1", "It was Michelangelo.")


def test_nothing_to_score_by(own_recordings: Path) -> None:
    facts = own_recordings / "facts"
    (facts / "questions.jsonl").write_text('{"id": "f1", "question": "Why?", "answers": null}\n')
    (facts / "responses.jsonl").write_text('{"id": "f1", "model": "alpha", "response_text": "So."}\n')
    with pytest.raises(EmergeError, match="facts has no gold answers"):
        Scorer.of(Recordings(own_recordings), "facts")


@pytest.mark.parametrize(
    ("form", "tolerance", "gold", "reply", "right"),
    [
        ("number", "0.01", "3.14159", "The answer is 3.14.", True),
        ("number", "0.001", "3.14159", "The answer is 3.14.", False),
        ("number", "1%", "200", "The answer is 202.", True),
        ("number", "1%", "200", "The answer is 203.", False),
        ("number", "1%", "-200", "The answer is -201.", True),
        ("number", "1%", "200", "I cannot say.", False),
        ("contains", None, "Lake Geneva", "It lies on lake Geneva, near Lausanne.", True),
        ("contains", None, "Lake Geneva", "It lies on a lake near Geneva.", False),
        ("json", None, '{"a": 1, "b": [2]}', '```json\n{"b": [2], "a": 1.0}\n```', True),
        ("json", None, '{"a": 1, "b": [2]}', 'Here it is:\n```\n{"b": [2], "a": 1}\n```', True),
        ("json", None, '{"a": 1}', '{"a": true}', False),
        ("json", None, '{"a": 1}', '{"a": 1, "b": 2}', False),
        ("json", None, "[1, 2]", "[2, 1]", False),
        ("json", None, "[1, 2]", "no JSON", False),
    ],
)
def test_rules(form: str, tolerance: str | None, gold: str, reply: str, right: bool) -> None:
    scorer = Scorer({"q": Question("q", "How much is it?")}, {"q": Gold((gold,), form, tolerance)})
    assert scorer.right("q", reply) is right
