"""The most confident speaks, if all have a confidence."""

from __future__ import annotations

from typing import Any

import pytest


def test_the_most_confident_wins_against_a_majority(cand: Any, decides: Any) -> None:
    panel = [cand(0, "A", confidence=0.6), cand(1, "A", confidence=0.7), cand(2, "B", confidence=0.9)]
    decision = decides(panel, "confidence")
    assert (decision.selected, decision.rule) == (("c2",), "confidence:highest")
    assert decision.agreement == pytest.approx(1 / 3)


def test_equal_confidence_goes_to_weight_then_config_order(cand: Any, decides: Any) -> None:
    panel = [cand(2, "C", confidence=0.9), cand(1, "B", confidence=0.9), cand(0, "A", confidence=0.1)]
    assert decides(panel, "confidence").selected == ("c1",)
    panel[0] = cand(2, "C", confidence=0.9, weight=2)
    assert decides(panel, "confidence").selected == ("c2",)


def test_a_missing_confidence_falls_to_vote_and_says_so(cand: Any, decides: Any) -> None:
    panel = [cand(0, "A", confidence=0.99), cand(1, "B"), cand(2, "B", confidence=0.2)]
    decision = decides(panel, "confidence")
    assert (decision.selected, decision.rule) == (("c1",), "vote:majority")
    assert decision.fallback == "no confidence for m1: vote"


def test_unusable_replies_need_no_confidence(cand: Any, decides: Any) -> None:
    panel = [cand(0, why="refusal"), cand(1, "A", confidence=0.2), cand(2, "B", confidence=0.3)]
    decision = decides(panel, "confidence")
    assert (decision.selected, decision.fallback) == (("c2",), None)
    assert decision.agreement == pytest.approx(1 / 3)


def test_one_usable_needs_none_either(cand: Any, decides: Any) -> None:
    decision = decides([cand(0, "A"), cand(1, status="timeout")], "confidence")
    assert (decision.selected, decision.rule, decision.fallback) == (("c0",), "confidence:single", None)
