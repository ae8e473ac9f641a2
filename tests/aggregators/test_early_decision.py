"""The early decision, against every way in which the rest may end: for the vote, and for adaptive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emerge_core.aggregators import adaptive
from emerge_core.aggregators.early_decision import decided
from emerge_core.aggregators.tally import agreement, escalates, pick
from emerge_core.config.schema import AggregatorConfig
from emerge_core.types import AnswerKey, Candidate, ChatRequest, Decision, Member

# --- the early decision, by its examples --------------------------------------------------------------------------


class Case(NamedTuple):
    landed: str  # per position: a key, "-" = abstained, "." = still out
    below: float | None
    expected: str
    final: str = "replace"


@pytest.mark.parametrize(
    "case",
    [
        Case("AA.", None, "accept"),
        Case("A..", None, "wait"),
        Case("A.B", None, "wait"),
        Case("..A", None, "wait"),
        Case("AA..", None, "accept"),  # two against two: A stands first
        Case(".AA.", None, "wait"),  # two against two: the first may say B
        Case("A-.", None, "accept"),
        Case("-A.", None, "accept"),  # one against one: A stands before the last
        Case(".-A", None, "wait"),
        Case("AAA..", 0.6, "accept"),
        Case("AA...", 0.6, "wait"),
        Case("AA.", 1.0, "wait"),
        Case("AB.", 1.0, "escalate"),
        Case("A-.", 1.0, "escalate"),
        Case("-..", 1.0, "wait"),  # all others may write prose, which has no agreement
        Case("AB.", 1.0, "wait", "vote"),
        Case("AB.", 0.6, "wait"),
        Case("AB.", 0.67, "escalate"),
        Case("ABC.", 0.6, "escalate"),
        Case("AAB.", 0.5, "accept"),
        Case("BAA.", 0.5, "wait"),
        Case("A", None, "accept"),
        Case("AB", 1.0, "escalate"),
        Case("AB", 1.0, "escalate", "vote"),
        Case("AA", 1.0, "accept"),
    ],
    ids=str,
)
def test_when_a_vote_is_decided(cand: Any, asks: ChatRequest, case: Case) -> None:
    landed, out = [], []
    for position, key in enumerate(case.landed):
        if key == ".":
            out.append(Member(model=f"m{position}", position=position))
        else:
            landed.append(cand(position, why="refusal") if key == "-" else cand(position, key))
    final: Any = case.final
    assert decided(landed, out, request=asks, below_agreement=case.below, final=final) == case.expected


def test_a_heavy_member_decides_alone(cand: Any, asks: ChatRequest) -> None:
    out = [Member(model="m1", position=1), Member(model="m2", position=2)]
    assert decided([cand(0, "A", weight=3)], out, request=asks) == "accept"


def test_a_confidence_that_could_be_passed_is_no_decision(cand: Any, asks: ChatRequest) -> None:
    out = [Member(model="m1", position=1)]
    assert decided([cand(0, "A", confidence=0.9)], out, request=asks) == "wait"
    assert decided([cand(0, "A", confidence=1.0)], out, request=asks) == "accept"


def test_several_choices_and_too_few_answers_are_never_decided_early(cand: Any, asks: ChatRequest) -> None:
    landed, out = [cand(0, "A"), cand(1, "A")], [Member(model="m2", position=2)]
    assert decided(landed, out, request=replace(asks, n=2)) == "wait"
    assert decided(landed, out, request=asks, min_answers=3) == "wait"


def test_texts_that_a_later_one_could_join_are_no_dissent_yet(cand: Any, asks: ChatRequest) -> None:
    landed = [cand(0, "paris", kind="text"), cand(1, "rome", kind="text")]
    out = [Member(model="m2", position=2)]
    assert decided(landed, out, request=asks, below_agreement=1.0) == "wait"
    joined = [*landed, cand(2, "rome paris", kind="text")]
    assert agreement(joined[2], joined) == 1.0


@pytest.mark.parametrize(
    ("landed", "out_weight"),
    [
        ([("rome", None), ("paris", None), ("paris", None), ("paris", None)], 1.0),  # joined, the first speaks: rome
        ([("paris", 0.9), ("paris", 0.9)], 1.0),  # "paris texas" may be surer
        ([("paris", None), ("paris", None)], 1.5),  # "paris texas" may be heavier
    ],
)
def test_another_text_may_yet_speak(
    cand: Any, asks: ChatRequest, landed: list[tuple[str, float | None]], out_weight: float
) -> None:
    panel = [cand(p, text, kind="text", confidence=sure) for p, (text, sure) in enumerate(landed)]
    out = [Member(model="late", position=len(panel), weight=out_weight)]
    assert decided(panel, out, request=asks) == "wait"


def test_texts_may_yet_outweigh_a_number_together(cand: Any, asks: ChatRequest) -> None:
    panel = [cand(0, "42", kind="number", weight=2.5), cand(1, "paris", kind="text"), cand(2, "rome", kind="text")]
    assert decided(panel, [Member(model="m3", position=3)], request=asks) == "wait"
    assert pick([*panel, cand(3, "rome paris", kind="text")]).among[0].call.id == "c1"


def test_prose_may_yet_win_against_a_call_with_agreement(cand: Any, asks: ChatRequest) -> None:
    panel, out = [cand(0), cand(1), cand(2, calls=["f:1"])], [Member(model="m3", position=3)]
    assert decided(panel, out, request=replace(asks, tools=({},)), below_agreement=0.6) == "wait"
    assert agreement(panel[0], [*panel, cand(3)]) == 0.75


# --- the early decision, against every way in which the rest may end ------------------------------------------------


def outcome(
    panel: Sequence[Candidate], below: float | None, *, offers_tools: bool = False
) -> tuple[AnswerKey | None, bool]:
    """The winning key and the escalation verdict when all have landed."""
    chosen = pick(panel)
    speaker = chosen.winner or chosen.among[0]
    return speaker.key, escalates(agreement(speaker, panel, offers_tools=offers_tools), below)


def cancelled(cand: Any, out: Sequence[Member]) -> list[Candidate]:
    return [cand(member.position, weight=member.weight, status="cancelled") for member in out]


def endings(cand: Any, out: Sequence[Member], says: Sequence[dict[str, Any]]) -> Iterator[list[Candidate]]:
    for rest in product(says, repeat=len(out)):
        yield [cand(m.position, weight=m.weight, **said) for m, said in zip(out, rest, strict=True)]


@st.composite
def splits(draw: st.DrawFn, says: list[dict[str, Any]]) -> tuple[list[tuple[int, dict[str, Any]]], list[Member]]:
    """Members in a random order: some have landed and say something, one or two are still out."""
    size = draw(st.integers(2, 6))
    order = draw(st.permutations(range(size)))
    weights = draw(st.lists(st.sampled_from([1.0, 1.0, 1.0, 2.0, 0.5, 0.1, 0.3]), min_size=size, max_size=size))
    if draw(st.booleans()):
        weights = [1.0] * size
    out = draw(st.integers(1, min(2, size - 1)))
    landed = [(p, {"weight": weights[p], **draw(st.sampled_from(says))}) for p in order[out:]]
    return landed, [Member(model=f"m{p}", position=p, weight=weights[p]) for p in order[:out]]


def with_confidences(said: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**what, "confidence": sure} for what in said for sure in (None, 0.5, 1.0)]


BELOW = st.sampled_from([None, 1.0, 0.5, 0.6, 2 / 3, 0.75])
SILENT: list[dict[str, Any]] = [{"why": "refusal"}]
PROSE: list[dict[str, Any]] = [{"says": None}]
LETTERS = [*with_confidences([{"says": key} for key in "AB"]), {"says": "A"}, {"says": "C"}, *SILENT, *PROSE]
LATER_LETTERS = [*with_confidences([{"says": key} for key in "ABCX"]), {"says": "Y"}, *SILENT, *PROSE]


@settings(max_examples=250, deadline=None)
@given(split=splits(LETTERS), below=BELOW)
def test_decided_exactly_when_no_ending_changes_key_or_verdict(
    cand: Any, asks: ChatRequest, split: Any, below: float | None
) -> None:
    said, out = split
    landed = [cand(p, **what) for p, what in said]
    verdict = decided(landed, out, request=asks, below_agreement=below)
    ends = [outcome([*landed, *rest], below) for rest in endings(cand, out, LATER_LETTERS) if any_usable(landed, rest)]
    always = all(escalated for _, escalated in ends)
    never = not any(escalated for _, escalated in ends)
    heard = any(c.key for c in landed)
    if heard and always:
        assert verdict == "escalate"
    elif heard and never and len({key for key, _ in ends}) == 1:
        assert verdict == "accept"
    else:
        assert verdict == "wait"
    if verdict != "wait":  # those that landed come to the same without the others, which can be cancelled
        key, escalated = outcome([*landed, *cancelled(cand, out)], below)
        assert escalated is (verdict == "escalate")
        assert escalated or key == ends[0][0]


def any_usable(landed: Sequence[Candidate], rest: Sequence[Candidate]) -> bool:
    return any(c.usable for c in (*landed, *rest))


WORDS = ["paris", "rome", "paris texas", "rome paris"]
SHORT: list[dict[str, Any]] = [
    *({"says": word, "kind": "text"} for word in WORDS),
    *({"says": word, "kind": "text", "confidence": 0.9} for word in WORDS),
    {"says": "paris", "kind": "text", "confidence": 1.0},
    {"says": "42", "kind": "number"},
    *SILENT,
]
CALLS: list[dict[str, Any]] = [
    *({"calls": [call]} for call in ("f:1", "f:2", "g:1")),
    {"calls": ["f:1", "g:1"]},
    *({"says": key} for key in "AB"),
    {"says": "rome", "kind": "text"},
    *SILENT,
    *PROSE,
]


@settings(max_examples=250, deadline=None)
@given(split=splits(SHORT), below=BELOW)
def test_a_decided_text_stays_to_the_letter(cand: Any, asks: ChatRequest, split: Any, below: float | None) -> None:
    check_sound(cand, asks, split, below, [*SHORT, {"says": "texas rome", "kind": "text", "confidence": 1.0}])


@settings(max_examples=250, deadline=None)
@given(split=splits(CALLS), below=BELOW)
def test_a_decided_call_stays(cand: Any, asks: ChatRequest, split: Any, below: float | None) -> None:
    check_sound(cand, replace(asks, tools=({"type": "function"},)), split, below, [*CALLS, {"calls": ["h:1"]}])


def check_sound(
    cand: Any, request: ChatRequest, split: Any, below: float | None, later: Sequence[dict[str, Any]]
) -> None:
    said, out = split
    landed = [cand(p, **what) for p, what in said]
    verdict = decided(landed, out, request=request, below_agreement=below)
    if verdict == "wait":
        return
    now = outcome([*landed, *cancelled(cand, out)], below, offers_tools=request.offers_tools)
    assert now[1] is (verdict == "escalate")
    for rest in endings(cand, out, later):
        key, escalated = outcome([*landed, *rest], below, offers_tools=request.offers_tools)
        assert escalated is (verdict == "escalate")
        assert verdict == "escalate" or key == now[0]


@pytest.mark.parametrize(
    ("calls", "below", "expected"),
    [
        (["f:1", "f:1", None], None, "accept"),
        (["f:1", "f:2", None], None, "wait"),
        (["f:1", "f:1", "f:2", None], None, "wait"),
        (["f:1", "f:2", None], 1.0, "escalate"),
        (["f:1", "f:1", None], 1.0, "wait"),
    ],
)
def test_tool_calls_are_decided_by_clear_majorities(
    cand: Any, asks: ChatRequest, calls: list[str | None], below: float | None, expected: str
) -> None:
    landed = [cand(p, calls=[call]) for p, call in enumerate(calls) if call]
    out = [Member(model=f"m{p}", position=p) for p, call in enumerate(calls) if not call]
    request = replace(asks, tools=({"type": "function"},))
    assert decided(landed, out, request=request, below_agreement=below) == expected


@settings(max_examples=100, deadline=None)
@given(split=splits(LETTERS + CALLS), factor=st.sampled_from([0.1, 3.0, 7.0]))
def test_only_the_ratio_of_weights_matters(cand: Any, split: Any, factor: float) -> None:
    panel = [cand(p, **what) for p, what in split[0]]
    scaled = [cand(p, **{**what, "weight": what["weight"] * factor}) for p, what in split[0]]
    if any(c.usable for c in panel):
        one, other = pick(panel), pick(scaled)
        assert [c.call.id for c in one.among] == [c.call.id for c in other.among]
        assert one.rule == other.rule


# --- adaptive -------------------------------------------------------------------------------------------------------


def adapted(panel: Sequence[Candidate], request: ChatRequest, below: float | None) -> tuple[AnswerKey | None, bool]:
    """The key of the reply that adaptive returns, and the escalation verdict."""
    aggregating = adaptive.aggregate(
        panel, request=request, options=AggregatorConfig(), asker=NOT_ASKED, key_of=lambda _: None
    )
    try:
        aggregating.send(None)
    except StopIteration as done:
        decision: Decision = done.value
    else:
        raise AssertionError("short texts are embedded at once: there is nothing to wait for")
    (speaker,) = [c for c in panel if (c.call.id,) == decision.selected]
    return speaker.key, escalates(decision.agreement, below)


NOT_ASKED: Any = None


@settings(max_examples=250, deadline=None)
@given(split=splits(LETTERS), below=BELOW)
def test_adaptive_decides_early_only_what_stays(cand: Any, asks: ChatRequest, split: Any, below: float | None) -> None:
    check_adaptive(cand, asks, split, below, LATER_LETTERS)


@settings(max_examples=250, deadline=None)
@given(split=splits(SHORT), below=BELOW)
def test_adaptive_decides_texts_to_the_letter(cand: Any, asks: ChatRequest, split: Any, below: float | None) -> None:
    later = [*SHORT, {"says": "texas rome", "kind": "text", "confidence": 1.0}, *PROSE]
    check_adaptive(cand, asks, split, below, later)


@settings(max_examples=150, deadline=None)
@given(split=splits(CALLS), below=BELOW)
def test_adaptive_decides_calls_as_vote_does(cand: Any, asks: ChatRequest, split: Any, below: float | None) -> None:
    request = replace(asks, tools=({"type": "function"},))
    landed, out = [cand(p, **what) for p, what in split[0]], split[1]
    verdicts = {
        decided(landed, out, request=request, rule=rule, below_agreement=below) for rule in ("vote", "adaptive")
    }
    assert len(verdicts) == 1 or verdicts == {"wait", "escalate"}
    check_adaptive(cand, request, split, below, [*CALLS, {"calls": ["h:1"]}])


def check_adaptive(
    cand: Any, request: ChatRequest, split: Any, below: float | None, later: Sequence[dict[str, Any]]
) -> None:
    said, out = split
    landed = [cand(p, **what) for p, what in said]
    verdict = decided(landed, out, request=request, rule="adaptive", below_agreement=below)
    if verdict == "wait":
        return
    now = adapted([*landed, *cancelled(cand, out)], request, below)
    assert now[1] is (verdict == "escalate")
    for rest in endings(cand, out, later):
        key, escalated = adapted([*landed, *rest], request, below)
        assert escalated is (verdict == "escalate")
        assert verdict == "escalate" or key == now[0]


@pytest.mark.parametrize(
    ("landed", "expected"),
    [
        ("AA.", "accept"),
        ("AAB..", "wait"),
        ("AA..", "wait"),  # two that write prose would be as many
        ("AAB.", "accept"),  # no confidence, so the tie rule: two against two at worst, and A stands first
        ("AB.", "wait"),
        ("A-.", "wait"),  # the last may write prose, and prose may be as heavy
    ],
)
def test_adaptive_without_confidences_decides_as_vote_where_prose_cannot_win(
    cand: Any, asks: ChatRequest, landed: str, expected: str
) -> None:
    panel = [cand(p, why="refusal") if key == "-" else cand(p, key) for p, key in enumerate(landed) if key != "."]
    out = [Member(model=f"m{p}", position=p) for p, key in enumerate(landed) if key == "."]
    assert decided(panel, out, request=asks, rule="adaptive") == expected


def test_a_confidence_that_may_decide_is_waited_for(cand: Any, asks: ChatRequest) -> None:
    out = [Member(model="m3", position=3), Member(model="m4", position=4)]
    panel = [cand(0, "A", confidence=0.9, weight=1.2), cand(1, "A", confidence=0.9, weight=1.2)]
    assert decided(panel, out, request=asks, rule="vote") == "accept"
    out = [Member(model="m3", position=3, weight=1.2), Member(model="m4", position=4, weight=1.2)]
    assert decided(panel, out, request=asks, rule="adaptive") == "wait"  # no majority yet: the surest may win
