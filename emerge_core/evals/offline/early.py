"""What early decision spares a caller: the engine's own rule on recorded answers and latencies.

A panel is waited for until the members still out cannot change the outcome, as `aggregators.early_decision` says.
It changes no answer and, since cancelled calls are costed, hardly a cost: time is what it saves.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from emerge_core.aggregators.early_decision import Verdict, decided
from emerge_core.evals.offline.arrays import NO_KEY, Answers
from emerge_core.evals.offline.ensembles import Ensemble
from emerge_core.types import AnswerKey, Call, Candidate, ChatRequest, Completion, Member, Unusable

if TYPE_CHECKING:
    from emerge_core.evals.types import Floats

DECIDES_EARLY = ("vote", "weighted")
NOTHING = -2  # stands for a reply that is not usable, where `NO_KEY` is a usable one without a key
REQUEST = ChatRequest(messages=({"role": "user", "content": ""},))


def waited(answers: Answers, ensemble: Ensemble) -> Floats | None:
    """(questions,): ms until the answer, with early decision; NaN where a latency was not recorded. None for an
    ensemble that never decides early."""
    members = ensemble.members
    if ensemble.rule not in DECIDES_EARLY or len(members) < 2:
        return None
    rows = np.array(members)
    latency = answers.latency_ms[rows]
    said = np.where(answers.usable[rows], answers.codes[rows], NOTHING)
    kind = "text" if answers.joined else "letter"  # short texts may yet join two groups: those are decided later
    times = np.empty(latency.shape[1])
    for question, order in enumerate(np.argsort(latency, axis=0, kind="stable").T):
        codes = _plain([int(said[place, question]) for place in order])
        heard, verdict = _decided_at(ensemble, kind, tuple(int(place) for place in order), codes)
        times[question] = latency[order[heard - 1], question]
        if verdict == "escalate" and ensemble.target is not None:
            times[question] += answers.latency_ms[ensemble.target, question]
    return np.where(np.isnan(latency).any(axis=0), np.nan, times)


def _plain(codes: Sequence[int]) -> tuple[int, ...]:
    """The same pattern of equal and different answers, numbered by first occurrence."""
    numbers: dict[int, int] = {}
    return tuple(code if code in (NO_KEY, NOTHING) else numbers.setdefault(code, len(numbers)) for code in codes)


@lru_cache(maxsize=100_000)  # there are few patterns, and many questions
def _decided_at(ensemble: Ensemble, kind: str, order: tuple[int, ...], codes: tuple[int, ...]) -> tuple[int, Verdict]:
    """After how many members, in the order of their replies, the outcome stands, and whether a stronger model is
    then asked."""
    members = [
        Member(model=str(place), position=place, weight=weight)
        for place, weight in enumerate(ensemble.weights[: len(order)])
    ]
    below = None if ensemble.target is None else ensemble.below_agreement
    landed: list[Candidate] = []
    verdict: Verdict = "wait"
    for place, code in zip(order, codes, strict=True):
        landed.append(_candidate(members[place], kind, code))
        out = [members[other] for other in order[len(landed) :]]
        verdict = decided(landed, out, request=REQUEST, below_agreement=below, final=ensemble.final)
        if verdict != "wait":
            break
    nobody = all(code == NOTHING for code in codes)
    return len(landed), "escalate" if nobody and below is not None else verdict


def _candidate(member: Member, kind: str, code: int) -> Candidate:
    call = Call(id=str(member.position), role="member", model=member.model, provider="", status="ok",
                completion=Completion(text="", finish_reason="stop"), member=member)  # fmt: skip
    key = None if code in (NO_KEY, NOTHING) else AnswerKey(kind, f"answer{code}")
    return Candidate(call=call, member=member, why_unusable=Unusable("empty") if code == NOTHING else None, key=key)
