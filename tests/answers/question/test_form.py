"""The form of a request: precedence, what the system prompt demands, and which turn counts."""

from __future__ import annotations

from typing import Any

import pytest

from emerge_core.answers.question.form import explain_form, form_of
from emerge_core.answers.question.wording import EDGE, Wording
from emerge_core.types import FORMS, ChatRequest
from tests.answers.question.prompts import PROMPTS
from tests.bench.forms import questions, request_of
from tests.support.paths import RECORDINGS

TOOL = {"type": "function", "function": {"name": "look"}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
CITIES = "Which city lies on the Seine?\n\nA. London\nB. Paris\nC. Rome"
SUM = "Natalia sold 48 clips in April and half as many in May. How many clips did she sell altogether?"


def asks(text: str, system: str = "", **fields: Any) -> ChatRequest:
    messages: tuple[dict[str, Any], ...] = ({"role": "user", "content": text},)
    return ChatRequest(messages=({"role": "system", "content": system}, *messages) if system else messages, **fields)


def test_precedence() -> None:
    everything = asks(CITIES, "Reply in JSON.", tools=(TOOL,), response_format=SCHEMA)
    assert form_of(everything) == "tools"
    assert form_of(asks(CITIES, "Reply in JSON.", response_format=SCHEMA)) == "json"
    assert form_of(asks(CITIES, "Reply in JSON.")) == "json"
    assert form_of(asks(CITIES, "Reply with one word.")) == "choices"
    assert form_of(asks("Who wrote Faust?", "Reply with one word.")) == "short"
    assert FORMS == ("tools", "json", "choices", "short", "open_ended")


def test_tools_that_may_not_be_called_do_not_count() -> None:
    assert form_of(asks(SUM, tools=(TOOL,), tool_choice="none")) == "short"
    assert form_of(asks("Thanks!", tools=(TOOL,))) == "tools"


def test_the_last_user_message_counts() -> None:
    turns = (
        {"role": "user", "content": SUM},
        {"role": "assistant", "content": "72"},
        {"role": "user", "content": "Explain to a child how you got there."},
    )
    assert form_of(ChatRequest(messages=turns)) == "open_ended"
    assert form_of(ChatRequest(messages=(*turns, turns[1], turns[0]))) == "short"
    assert form_of(ChatRequest(messages=({"role": "system", "content": "Be kind."},))) == "open_ended"


@pytest.mark.parametrize(
    ("system", "form"),
    [
        ("Answer with a single word.", "short"),
        ("Output only the number.", "short"),
        ("Respond with a JSON object with the keys label and score.", "json"),
        ("You label emails. Answer with spam or ham.", "choices"),
        ("You are a kind and patient assistant.", "open_ended"),
    ],
)
def test_the_system_prompt_may_demand_a_format(system: str, form: str) -> None:
    assert form_of(asks("I found this in my inbox, what about it", system)) == form
    developer = ({"role": "developer", "content": [{"type": "text", "text": system}]},)
    said = ({"role": "user", "content": "I found this in my inbox, what about it"},)
    assert form_of(ChatRequest(messages=developer + said)) == form


def test_the_reason_is_a_clause_about_the_request() -> None:
    assert explain_form(asks(CITIES)) == ("choices", "its last message lists options A to C")
    assert explain_form(asks("x", tools=(TOOL,))) == ("tools", "it offers tools")
    assert explain_form(asks("x", response_format=SCHEMA)) == ("json", "its response_format asks for JSON")
    assert explain_form(asks("Write a poem.")) == ("open_ended", "its last message asks for a text")


def test_prompts_of_many_kinds_and_languages() -> None:
    """The prompts were written before they were measured; the first run found the form of 186 of 197."""
    wrong = [(form, said, text) for form, text in PROMPTS if (said := form_of(asks(text))) != form]
    assert len(PROMPTS) == 200
    assert len(wrong) <= 4, wrong


@pytest.mark.parametrize(
    ("task", "countable", "least"),
    [
        *[(task, True, 0.99) for task in ("gsm8k", "math_l5", "crux", "mmlu_pro", "bfcl_tools")],
        *[(task, False, 0.92) for task in ("alpaca_open", "prose_graded")],
    ],
)
def test_the_forms_of_recorded_questions(task: str, countable: bool, least: float) -> None:
    path = RECORDINGS / task / "questions.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"no recording of {task} at {RECORDINGS}: set EMERGE_RECORDINGS to their directory")
    forms = [form_of(request_of(question)) for question in questions(path)]
    assert sum((form != "open_ended") is countable for form in forms) / len(forms) >= least


@pytest.mark.parametrize(
    "unit", ["a ", "1 ", "(A) ", "A. x\n", "json ", "who ", "write ", "? ", "\n", "$", "word,", "é"]
)
def test_a_rule_reads_a_bounded_part_of_a_message(unit: str) -> None:
    """GIVEN a message of any length THEN the wording rules see its beginning and its end alone."""
    long = Wording(unit * 50_000)
    assert len(long.text) <= 2 * EDGE + 1
    assert form_of(asks(unit * 50_000)) in FORMS
