"""Tool calls that are right: among the accepted ones, or the same as a recorded reply that was judged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from emerge_core.evals.recordings.recording import Gold, Question, Verdict
from emerge_core.evals.scoring.scorer import Scorer
from emerge_core.types import Completion, ToolCall

TOOL = {
    "type": "function",
    "function": {
        "name": "book",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "nights": {"type": "integer"},
                "code": {"type": "string"},
                "pets": {"type": "boolean", "default": False},
            },
        },
    },
}
QUESTION = Question("q", "Book it.", (), {"messages": [{"role": "user", "content": "Book it."}], "tools": [TOOL]})


def reply(*arguments: dict[str, Any], name: str = "book", text: str | None = None) -> Completion:
    calls = tuple(ToolCall(id=f"c{n}", name=name, arguments=json.dumps(each)) for n, each in enumerate(arguments))
    return Completion(text=text, tool_calls=calls, finish_reason="tool_calls" if calls else "stop")


def scorer(answers: Sequence[Any], verdicts: Sequence[Verdict] = ()) -> Scorer:
    gold = Gold(tuple(json.dumps(answer) for answer in answers), "tool_calls")
    return Scorer({"q": QUESTION}, {"q": gold}, verdicts)


def wanted(**arguments: list[Any]) -> dict[str, Any]:
    return {"name": "book", "arguments": arguments}


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ([{"city": "New York", "nights": 2}], True),
        ([{"nights": 2, "city": "NYC"}], True),
        ([{"city": "New York", "nights": 2, "code": "a7"}], True),
        ([{"city": "New York", "nights": 2, "code": "A7"}], False),
        ([{"city": "New York", "nights": "2"}], False),
        ([{"city": "New York"}], False),
        ([{"city": "New York", "nights": 2, "floor": 3}], False),
        ([{"city": "New York", "nights": 2}, {"city": "New York", "nights": 2}], False),
        ([], False),
    ],
)
def test_every_argument_has_its_accepted_values(said: list[dict[str, Any]], right: bool) -> None:
    found = scorer([[wanted(city=["New York", "NYC"], nights=[2], code=["a7", ""])]])
    assert found.score("q", reply(*said, text=None if said else "Booked.")) == float(right)


def test_several_calls_stand_in_any_order() -> None:
    found = scorer([[wanted(city=["Rome"]), wanted(city=["Rome", "Bari"])]])
    assert found.score("q", reply({"city": "Bari"}, {"city": "Rome"})) == 1
    assert found.score("q", reply({"city": "Bari"}, {"city": "Bari"})) == 0


def test_an_empty_list_means_no_call() -> None:
    found = scorer([[]])
    assert found.score("q", reply(text="Nothing to book.")) == 1
    assert found.score("q", reply({"city": "Rome"})) == 0


def test_one_of_several_answers_and_the_short_form_are_accepted() -> None:
    found = scorer([[{"book": {"city": ["Rome"]}}], []])
    assert found.score("q", reply({"city": "Rome"})) == 1
    assert found.score("q", reply(text="No.")) == 1
    assert found.score("q", reply({"city": "Bari"})) == 0


def test_the_verdict_of_a_reply_is_found_by_its_text_and_calls() -> None:
    """Calls that say the same are the same reply, however they are written."""
    verdicts = [
        Verdict("q", "", 1.0, tool_calls=reply({"city": "Rome", "nights": 2}).tool_calls),
        Verdict("q", "", 0.0, tool_calls=reply({"city": "Bari", "nights": 2}).tool_calls),
        Verdict("q", "No call.", 1.0),
    ]
    found = Scorer({"q": QUESTION}, {"q": Gold((), "short text")}, verdicts)
    assert found.score("q", reply({"nights": 2.0, "city": "Rome"})) == 1
    assert found.score("q", reply({"nights": 2, "city": "Rome", "pets": False})) == 1
    assert found.score("q", reply({"nights": 2, "city": "Bari"})) == 0
    assert found.score("q", reply(text="No call.")) == 1
    assert found.score("q", reply({"city": "Rome", "nights": 2}, text="No call.")) == 0
