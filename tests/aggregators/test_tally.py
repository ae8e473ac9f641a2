"""Groups, ties, agreement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from emerge_core.aggregators.tally import agreement, escalates, groups, votes


def texts(found: Sequence[Any]) -> list[str]:
    return [group.key.value for group in found]


def test_heavier_groups_come_first(cand: Any) -> None:
    panel = [cand(0, "A"), cand(1, "B", weight=0.7), cand(2, "B", weight=0.7), cand(3, "C", weight=1.2)]
    assert texts(groups(panel)) == ["B", "C", "A"]
    first = votes(panel)[0]
    assert first.weight == pytest.approx(1.4)
    assert (first.members, first.call_ids) == (("m1", "m2"), ("c1", "c2"))


def test_a_tie_goes_to_confidence_when_every_tied_group_has_one(cand: Any) -> None:
    panel = [cand(0, "A", confidence=0.4), cand(1, "B", confidence=0.9), cand(2, "C", weight=0.5)]
    assert texts(groups(panel)) == ["B", "A", "C"]


def test_a_tie_goes_to_config_order_when_one_group_has_no_confidence(cand: Any) -> None:
    panel = [cand(2, "B", confidence=0.9), cand(0, "A"), cand(1, "C", confidence=0.95)]
    assert texts(groups(panel)) == ["A", "C", "B"]


def test_tenths_that_add_up_are_a_tie(cand: Any) -> None:
    panel = [cand(0, "A", weight=0.3), cand(1, "B", weight=0.1), cand(2, "B", weight=0.2)]
    assert texts(groups(panel)) == ["A", "B"]


def test_contained_texts_vote_together_and_the_strongest_speaks(cand: Any) -> None:
    panel = [
        cand(0, "paris", kind="text"),
        cand(1, "paris france", kind="text", weight=2),
        cand(2, "rome", kind="text"),
    ]
    assert texts(groups(panel)) == ["paris france", "rome"]
    assert agreement(panel[0], panel) == 0.75


def test_whoever_was_asked_and_does_not_agree_is_dissent(cand: Any) -> None:
    """Errors, abstentions and members cancelled by an early decision count; skipped members and stragglers do not."""
    panel = [
        cand(0, "A"),
        cand(1, "A"),
        cand(2, status="error"),
        cand(3, why="refusal"),
        cand(4, None),
        cand(5, status="cancelled"),
        cand(6, status="skipped"),
        replace(cand(7, status="cancelled"), cut=True),
    ]
    assert agreement(panel[0], panel) == pytest.approx(2 / 6)


def test_texts_beside_tools_agree_that_no_call_is_to_be_made(cand: Any) -> None:
    prose, call = [cand(p, text=f"Wording {p}") for p in range(3)], cand(3, calls=["f:1"])
    assert agreement(prose[0], [*prose, call], offers_tools=True) == 0.75
    assert agreement(prose[0], prose, offers_tools=True) == 1.0
    assert agreement(prose[0], prose) is None  # without tools prose has no keys, and so no agreement
    keyed = [cand(0, "A"), cand(1, "B"), cand(2, "B")]
    assert agreement(keyed[1], [*keyed, call], offers_tools=True) == 0.5
    assert agreement(keyed[1], [*keyed, prose[0]], offers_tools=True) == 1.0  # one has no key: none are compared
    assert agreement(call, [*keyed, call], offers_tools=True) == 0.25
    assert agreement(prose[0], [prose[0], cand(4, status="error")], offers_tools=True) == 0.5


def test_without_keys_there_is_no_agreement_and_no_verdict(cand: Any) -> None:
    panel = [cand(0), cand(1)]
    assert agreement(panel[0], panel) is None
    assert not escalates(None, 1.0)


@pytest.mark.parametrize(
    ("share", "below", "expected"),
    [(2 / 3, 0.67, True), (2 / 3, 2 / 3, False), (0.1 + 0.2, 0.3, False), (0.3 - 1e-12, 0.3, False), (1, 1, False)],
)
def test_escalation_is_below_with_a_tolerance(share: float, below: float, expected: bool) -> None:
    assert escalates(share, below) is expected
