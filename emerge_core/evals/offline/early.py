"""The array form of early decision: how long a caller waits, by the engine's own rule on recorded latencies.

An early decision changes no answer and, since cancelled calls are costed, hardly a cost. Time is what it saves.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from emerge_core.aggregators import AGGREGATORS
from emerge_core.aggregators.early_decision import Verdict, decided
from emerge_core.evals.offline.arrays import NO_KEY, Answers
from emerge_core.evals.offline.ensembles import Ensemble, Final, confidences, evaluate
from emerge_core.types import AnswerKey, Call, Candidate, ChatRequest, Completion, Member, ToolCall, Unusable

if TYPE_CHECKING:
    from emerge_core.evals.types import Floats

NOTHING = -2  # the code of a reply that is not usable; `NO_KEY` is a usable one without a key
TOOL = {"type": "function", "function": {"name": "any", "parameters": {"type": "object", "properties": {}}}}
PLAIN = ChatRequest(messages=({"role": "user", "content": ""},))
WITH_TOOLS = ChatRequest(messages=({"role": "user", "content": ""},), tools=(TOOL,))


class _Said(NamedTuple):
    """What one reply says."""

    code: int
    tool: int = NO_KEY  # which tools it calls
    confidence: float | None = None


def waited(answers: Answers, ensemble: Ensemble) -> Floats | None:
    """(questions,): ms until the answer, with early decision; NaN if a latency was not recorded. None for an ensemble
    that never decides early."""
    members = ensemble.members
    rule = "vote" if ensemble.rule == "weighted" else ensemble.rule
    if rule == "cascade" or AGGREGATORS[rule].decides_early is None or len(members) < 2:
        return None
    rows = np.array(members)
    latency = answers.latency_ms[rows]
    later = evaluate(answers, ensemble).latency_ms - latency.max(axis=0)  # spent after the first round
    codes = np.where(answers.usable[rows], answers.codes[rows], NOTHING)
    tools = np.where(answers.called[rows], answers.names[rows], NO_KEY)
    sure = confidences(answers, ensemble)
    kind = "text" if answers.joined else "letter"  # short texts may yet join two groups: those are decided later
    times = np.empty(latency.shape[1])
    for question, order in enumerate(np.argsort(latency, axis=0, kind="stable").T):
        said = [
            _Said(code, int(tools[place, question]), None if np.isnan(rated := sure[place, question]) else float(rated))
            for place, code in zip(order, _numbered([int(codes[place, question]) for place in order]), strict=True)
        ]
        offers = bool(answers.offers_tools[question])
        landed = _decided_at(ensemble, kind, offers, tuple(int(place) for place in order), tuple(said))
        times[question] = latency[order[landed - 1], question] + later[question]
    return np.where(np.isnan(latency).any(axis=0), np.nan, times)


def _numbered(codes: Sequence[int]) -> list[int]:
    """The same pattern of equal and different answers, numbered by first occurrence."""
    numbers: dict[int, int] = {}
    return [code if code in (NO_KEY, NOTHING) else numbers.setdefault(code, len(numbers)) for code in codes]


@lru_cache(maxsize=100_000)  # there are few patterns, and many questions
def _decided_at(ensemble: Ensemble, kind: str, offers: bool, order: tuple[int, ...], said: tuple[_Said, ...]) -> int:
    """After how many members, in the order of their replies, the outcome is decided."""
    members = [
        Member(model=str(place), position=place, weight=weight)
        for place, weight in enumerate(ensemble.weights[: len(order)])
    ]
    below, final = _first_step(ensemble)
    landed: list[Candidate] = []
    verdict: Verdict = "wait"
    for place, each in zip(order, said, strict=True):
        landed.append(_candidate(members[place], kind, each))
        out = [members[other] for other in order[len(landed) :]]
        verdict = decided(
            landed,
            out,
            request=WITH_TOOLS if offers else PLAIN,
            rule="adaptive" if ensemble.rule == "adaptive" else "vote",
            below_agreement=below,
            final=final,
        )
        if verdict != "wait":
            break
    return len(landed)


def _first_step(ensemble: Ensemble) -> tuple[float | None, Final]:
    """The threshold of the first step after the panel, and its `final` as `strategies.ensemble` passes it on."""
    if ensemble.panel_below is not None:
        return ensemble.panel_below, "adjudicate"
    return (None if ensemble.target is None else ensemble.below_agreement), ensemble.final


def _candidate(member: Member, kind: str, said: _Said) -> Candidate:
    calls = () if said.tool == NO_KEY else (ToolCall(id="call", name=f"tool{said.tool}", arguments="{}"),)
    call = Call(
        id=str(member.position),
        role="member",
        model=member.model,
        provider="",
        status="ok",
        completion=Completion(text="", tool_calls=calls, finish_reason="stop"),
        member=member,
    )
    return Candidate(
        call=call,
        member=member,
        why_unusable=Unusable("empty") if said.code == NOTHING else None,
        key=None if said.code in (NO_KEY, NOTHING) else AnswerKey(kind, f"answer{said.code}"),
        confidence=said.confidence,
    )
