"""Which way is taken for which candidates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from emerge_core.types import CallError, ChatRequest, Completion

TOOLS = ({"type": "function"},)
NEAR = ["Water boils at 100 degrees.", "Water boils at about 100 degrees.", "It boils at 100 degrees, water does."]
FAR = ["Water boils at 100 degrees.", "I would bake a plum cake.", "Ships sail on oceans of blue."]


def test_a_majority_speaks_through_its_most_confident_member(cand: Any, decides: Any) -> None:
    panel = [cand(0, "A", confidence=0.3), cand(1, "A", confidence=0.6), cand(2, "B", confidence=0.9)]
    decision = decides(panel, "adaptive")
    assert (decision.selected, decision.rule) == (("c1",), "adaptive:majority")
    assert decision.agreement == pytest.approx(2 / 3)


def test_in_a_majority_confidence_goes_before_weight(cand: Any, decides: Any) -> None:
    panel = [cand(0, "A", confidence=0.3, weight=2), cand(1, "A", confidence=0.6), cand(2, "B")]
    assert decides(panel, "adaptive").selected == ("c1",)


def test_a_majority_without_confidences_speaks_through_its_strongest(cand: Any, decides: Any) -> None:
    panel = [cand(0, "A"), cand(1, "A", weight=1.5, confidence=0.1), cand(2, "B", confidence=0.9)]
    assert decides(panel, "adaptive").selected == ("c1",)


def test_without_a_majority_the_most_confident_speaks(cand: Any, decides: Any) -> None:
    panel = [cand(0, "A", confidence=0.3), cand(1, "C", confidence=0.6), cand(2, "B", confidence=0.9)]
    decision = decides(panel, "adaptive")
    assert (decision.selected, decision.rule) == (("c2",), "adaptive:confidence")


def test_without_confidences_the_tie_rule_decides(cand: Any, decides: Any) -> None:
    decision = decides([cand(1, "A"), cand(0, "C"), cand(2, "B", confidence=0.9)], "adaptive")
    assert (decision.selected, decision.rule) == (("c0",), "adaptive:vote")


def test_errors_count_against_a_majority(cand: Any, decides: Any) -> None:
    panel = [cand(0, "B"), cand(1, "A"), cand(2, "A"), cand(3, status="timeout")]
    assert decides(panel, "adaptive").rule == "adaptive:vote"
    assert decides(panel, "adaptive").selected == ("c1",)


def test_prose_that_is_near_goes_to_consensus_without_a_call(cand: Any, decides: Any, scripted: Any) -> None:
    asker = scripted()
    decision = decides([cand(p, text=t) for p, t in enumerate(NEAR)], "adaptive", asker=asker, merger="writer")
    assert (decision.rule, decision.agreement, decision.fallback, asker.asked) == ("adaptive:consensus", None, None, [])


def test_prose_that_is_far_apart_is_merged_if_there_is_a_merger(cand: Any, decides: Any, scripted: Any) -> None:
    panel = [cand(p, text=t) for p, t in enumerate(FAR)]
    merged = decides(panel, "adaptive", asker=scripted("All of it."), merger="writer")
    assert (merged.rule, merged.message.text, merged.selected) == ("adaptive:merge", "All of it.", ("x1",))
    assert decides(panel, "adaptive").rule == "adaptive:consensus"


def test_near_is_configurable_and_the_embedder_is_asked_once(cand: Any, decides: Any, scripted: Any) -> None:
    panel = [cand(p, text=t) for p, t in enumerate(NEAR)]
    asker = scripted("Merged.", vectors=[[1.0, 0.0], [0.8, 0.6], [1.0, 0.1]])
    decision = decides(panel, "adaptive", asker=asker, merger="writer", embedder="small", near=0.99)
    assert (decision.rule, len(asker.embedded)) == ("adaptive:merge", 1)


def test_a_failed_merger_and_a_failed_embedder_are_both_said(cand: Any, decides: Any, scripted: Any) -> None:
    panel = [cand(p, text=t) for p, t in enumerate(FAR)]
    broken = scripted(Completion(error=CallError(kind="server", message="it broke")))
    decision = decides(panel, "adaptive", asker=broken, merger="writer", embedder="small")
    assert decision.rule == "adaptive:consensus"
    assert "embedder small failed" in decision.fallback
    assert "merger writer failed (it broke): consensus" in decision.fallback


def test_a_few_answers_among_prose_are_prose(cand: Any, decides: Any) -> None:
    panel = [*(cand(p, text=t) for p, t in enumerate(NEAR)), cand(3, "A")]
    assert decides(panel, "adaptive").rule == "adaptive:consensus"


def test_a_little_prose_among_answers_abstains(cand: Any, decides: Any) -> None:
    decision = decides([cand(0, confidence=0.9), cand(1, "A"), cand(2, "A")], "adaptive")
    assert (decision.rule, decision.selected) == ("adaptive:majority", ("c1",))


def test_tools_are_voted_on(cand: Any, decides: Any, asks: ChatRequest) -> None:
    panel = [cand(0, text="No."), cand(1, calls=["f:1"]), cand(2, calls=["f:1"])]
    decision = decides(panel, "adaptive", request=replace(asks, tools=TOOLS), merger="writer")
    assert (decision.rule, decision.selected) == ("adaptive:vote", ("c1",))


def test_prose_is_never_merged_where_tools_or_json_are_asked(
    cand: Any, decides: Any, scripted: Any, asks: ChatRequest
) -> None:
    panel = [cand(p, text=t) for p, t in enumerate(FAR)]
    for request in (replace(asks, tools=TOOLS), replace(asks, response_format={"type": "json_object"})):
        decision = decides(panel, "adaptive", request=request, merger="writer", asker=scripted())
        assert (decision.rule, decision.fallback) == ("adaptive:consensus", None)


def test_json_answers_are_voted_on(cand: Any, decides: Any, asks: ChatRequest) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    panel = [cand(0, "1", kind="json", confidence=0.9), cand(1, "2", kind="json"), cand(2, "2", kind="json")]
    decision = decides(panel, "adaptive", request=replace(asks, response_format=schema))
    assert (decision.rule, decision.selected) == ("adaptive:vote", ("c1",))


def test_one_usable_is_returned_as_it_is(cand: Any, decides: Any) -> None:
    decision = decides([cand(0, status="error"), cand(1, text="Only me.")], "adaptive", merger="writer")
    assert (decision.rule, decision.message.text) == ("adaptive:single", "Only me.")


def test_of_prose_the_most_reliable_member_speaks_if_there_is_no_merger(cand: Any, decides: Any, scripted: Any) -> None:
    def rated(*reliabilities: float | None) -> list[Any]:
        panel = [cand(p, text=f"Wording {p} of a long reply about {['tides', 'moon', 'sun'][p]}.") for p in range(3)]
        pairs = zip(panel, reliabilities, strict=True)
        return [replace(c, member=replace(c.member, reliability=value)) for c, value in pairs]

    best = decides(rated(0.5, 0.8, 0.7), "adaptive")
    assert (best.selected, best.rule, best.agreement) == (("c1",), "adaptive:reliability", None)
    assert decides(rated(0.8, 0.5, 0.8), "adaptive").selected == ("c0",)
    assert decides(rated(0.5, None, 0.7), "adaptive").rule == "adaptive:consensus"
    merged = decides(rated(0.5, 0.8, 0.7), "adaptive", asker=scripted("Merged."), merger="writer", near=1.0)
    assert merged.rule == "adaptive:merge"
