"""Weighted plurality, and what happens to tool calls and to prose."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from emerge_core.types import ChatRequest


def test_the_heavier_answer_wins_in_its_own_words(cand: Any, decides: Any) -> None:
    panel = [cand(0, "A"), cand(1, "B", text="It is B."), cand(2, "B", weight=2, text="(B)")]
    decision = decides(panel, "vote")
    assert decision.message is panel[2].completion
    assert (decision.selected, decision.rule, decision.agreement) == (("c2",), "vote:majority", 0.75)
    assert [vote.members for vote in decision.votes] == [("m1", "m2"), ("m0",)]
    assert decision.fallback is None


@pytest.mark.parametrize(
    ("said", "rule", "winner"),
    [
        ("AAB", "majority", "c0"),
        ("ABBC", "plurality", "c1"),
        ("ABC", "tie", "c0"),
        ("ABBA", "tie", "c0"),
        ("-BBC-", "plurality", "c1"),
        ("-B", "single", "c1"),
    ],
)
def test_rules(cand: Any, decides: Any, said: str, rule: str, winner: str) -> None:
    panel = [cand(p, why="truncated") if key == "-" else cand(p, key) for p, key in enumerate(said)]
    decision = decides(panel, "vote")
    assert (decision.rule, decision.selected) == (f"vote:{rule}", (winner,))


def test_the_only_usable_reply_is_returned_as_it_is(cand: Any, decides: Any) -> None:
    panel = [cand(0, status="error"), cand(1, text="Some prose."), cand(2, why="refusal")]
    decision = decides(panel, "vote")
    assert decision.message.text == "Some prose."
    assert decision.agreement is None
    assert decision.fallback is None


def test_prose_among_answers_abstains(cand: Any, decides: Any) -> None:
    decision = decides([cand(0), cand(1), cand(2, "B")], "vote")
    assert (decision.selected, decision.agreement) == (("c2",), pytest.approx(1 / 3))


def test_prose_alone_goes_to_consensus(cand: Any, decides: Any) -> None:
    prose = ["The sun is a star of hot plasma.", "The sun is a star, a ball of hot plasma.", "Bake it for an hour."]
    decision = decides([cand(p, text=text) for p, text in enumerate(prose)], "vote")
    assert (decision.rule, decision.agreement) == ("vote:consensus", None)
    assert decision.selected != ("c2",)
    assert "consensus" in decision.fallback


# --- tool calls ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "winner", "rule", "share"),
    [
        (["f:1", "f:1", "f:2"], "c0", "calls", 2 / 3),
        (["f:1", None], "c0", "calls", 1 / 2),  # call against text, a tie: call
        ([None, None, "f:1"], "c0", "consensus", 2 / 3),
        (["f:1", "g:1", "f:2"], "c0", "names", 1 / 3),  # no majority: f by its name
        (["g:1", "f:1", "f:2"], "c1", "names", 1 / 3),
        (["f:1", "f:1", "g:1", "g:2", "g:3"], "c2", "names", 1 / 5),  # the most frequent call loses to its name
        (["f:1 g:2", "g:2 f:1", "f:1"], "c0", "calls", 2 / 3),  # the same calls in another order
        (["f:1 f:1", "f:1", "f:1"], "c1", "calls", 2 / 3),  # twice is not once
    ],
)
def test_tool_calls(
    cand: Any, decides: Any, asks: ChatRequest, said: list[str | None], winner: str, rule: str, share: float
) -> None:
    panel = [cand(p, calls=calls.split()) if calls else cand(p, text="No need.") for p, calls in enumerate(said)]
    decision = decides(panel, "vote", request=replace(asks, tools=({"type": "function"},)))
    assert (decision.selected, decision.rule) == ((winner,), f"vote:{rule}")
    assert decision.agreement == pytest.approx(share)
    assert decision.message in [c.completion for c in panel]  # one member's whole message


def test_when_text_wins_the_answers_are_counted_among_the_texts(cand: Any, decides: Any) -> None:
    panel = [cand(0, "A"), cand(1, "B"), cand(2, "B"), cand(3, calls=["f:1"], weight=2.5)]
    decision = decides(panel, "vote")
    assert (decision.selected, decision.rule) == (("c1",), "vote:plurality")
    assert decision.agreement == pytest.approx(2 / 5.5)


def test_unusable_text_does_not_count_against_a_call(cand: Any, decides: Any) -> None:
    required = [cand(p, text="I would search.", why="invalid_tool_call") for p in range(3)]
    decision = decides([*required, cand(3, calls=["f:1"])], "vote")
    assert (decision.selected, decision.rule, decision.agreement) == (("c3",), "vote:single", 0.25)
