"""Sends questions through the proxy over HTTP and keeps of each reply what a comparison needs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from emerge_core.config.schema import Config
from emerge_core.evals.recordings.prompts import body_of
from emerge_core.evals.recordings.recording import Question
from emerge_core.types import Completion, ToolCall

LATER = ("escalation", "adjudication")  # roles of calls that are made after the first round
UNRECORDED = ("judge", "merge", "adjudication")  # roles whose replies a recording may lack


@dataclass(frozen=True, slots=True)
class CallOutcome:
    role: str
    model: str
    status: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """One question answered by one model or ensemble."""

    score: float  # 1 right, 0 wrong; of a graded reply anything between; NaN: not known
    failed: bool = False  # an error reply: never right
    cost_usd: float | None = None  # None: not known
    cost_estimated: bool = False
    calls: int = 0
    agreement: float | None = None
    escalated: bool = False
    said: Completion | None = None
    asked: tuple[str, ...] = ()  # models asked after the first round
    abstained: bool = False
    early: bool = False
    latency_ms: float = 0.0
    selected: tuple[str, ...] = ()  # models
    made: tuple[CallOutcome, ...] = ()
    error: str | None = None  # its code
    form: str | None = None  # of the route that was taken
    baseline_usd: float | None = None  # the cost of the same request at the config's `baseline`; None: not known

    @property
    def right(self) -> bool:
        return self.score > 0.5


class UnansweredError(Exception):
    """Raised if a judge, merger or adjudicator got no answer, because none was recorded."""


Latency = Callable[[str, str], float | None]
"""By question id and the config's name of a model: milliseconds as recorded, or None."""

Score = Callable[[str, Completion], float]
"""By question id and reply: 1 right, 0 wrong, or the grade; NaN: not known."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks the proxy at `url`. The costs of `unpriced` models are unknown; with `strict`, `ask` raises UnansweredError
    if a judge, merger or adjudicator got no answer: its fallback would be measured in its name."""

    client: httpx.AsyncClient
    url: str
    config: Config
    score: Score
    unpriced: Collection[str]
    strict: bool
    concurrency: int
    latency: Latency = lambda question, model: None

    async def ask_all(self, name: str, questions: Sequence[Question], done: Callable[[], object]) -> list[Outcome]:
        """One outcome per question, in order. `done` is called after each."""
        outcomes: list[Outcome | None] = [None] * len(questions)
        waiting = iter(enumerate(questions))

        async def work() -> None:
            for number, question in waiting:
                outcomes[number] = await self.ask(name, question)
                done()

        tasks = [asyncio.create_task(work()) for _ in range(min(self.concurrency, len(questions)))]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return [outcome for outcome in outcomes if outcome is not None]

    async def ask(self, name: str, question: Question) -> Outcome:
        body = {**body_of(question), "model": name}
        reply = await self.client.post(f"{self.url}/v1/chat/completions", json=body)
        parsed = reply.json()
        failed = reply.status_code != 200
        trace = (parsed["error"] if failed else parsed).get("emerge") or {}
        calls = [call for call in trace.get("calls", ()) if call["status"] != "skipped"]
        if self.strict and any(call["role"] in UNRECORDED and call["status"] != "ok" for call in calls):
            raise UnansweredError(name)
        said = None if failed else _completion(parsed["choices"][0])
        route = trace.get("route") or {}
        rounds = self._rounds(route.get("ensemble") or name, calls)
        asked = tuple(dict.fromkeys(call["model"] for later in rounds[1:] for call in later))
        models = {call["id"]: call["model"] for call in calls}
        abstained = bool(trace.get("abstained"))
        return Outcome(
            score=0.0 if said is None or abstained else self.score(question.id, said),
            failed=failed,
            cost_usd=self._cost(trace, calls),
            cost_estimated=bool(trace.get("cost_estimated")),
            calls=len(calls),
            agreement=trace.get("agreement"),
            escalated=bool(trace.get("escalated")),
            said=said,
            asked=asked,
            abstained=abstained,
            early=bool(trace.get("early")),
            latency_ms=self._latency_ms(question.id, rounds, trace),
            selected=tuple(models[id_] for id_ in trace.get("selected", ()) if id_ in models),
            made=tuple(CallOutcome(call["role"], call["model"], call["status"]) for call in calls),
            error=_code(parsed["error"]) if failed else None,
            form=route.get("form"),
            baseline_usd=trace.get("baseline_cost_usd"),
        )

    def _rounds(self, name: str, calls: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
        """The calls by round; those of one round were made at the same time."""
        ensemble = self.config.ensembles.get(name)
        members = [call for call in calls if call["role"] not in LATER]
        if ensemble and ensemble.strategy.name == "cascade":
            first = 2 if ensemble.strategy.stop == "agree" else 1
            rounds = [members[:first], *([call] for call in members[first:])]
        elif ensemble and ensemble.strategy.name == "fallback":
            return [members]
        else:
            rounds = [members]
        verdicts: list[dict[str, Any]] = []
        for call in calls:
            if call["role"] == "escalation":
                rounds.append([call])
            elif call["role"] == "adjudication":
                if not verdicts:
                    rounds.append(verdicts)
                verdicts.append(call)
        return rounds

    def _latency_ms(self, question: str, rounds: Sequence[Sequence[dict[str, Any]]], trace: Mapping[str, Any]) -> float:
        """The recorded latency if every call has one; else the latency of this run."""
        recorded = [[self.latency(question, call["model"]) for call in each] for each in rounds]
        known = [[ms for ms in each if ms is not None] for each in recorded]
        if any(len(a) != len(b) or not a for a, b in zip(known, recorded, strict=True)) or any(
            call["role"] == "adjudication" for each in rounds for call in each
        ):
            return float(trace.get("latency_ms") or 0.0)
        return sum(max(each) for each in known)

    def _cost(self, trace: dict[str, Any], calls: Sequence[dict[str, Any]]) -> float | None:
        if not trace.get("cost_known") or any(call["model"] in self.unpriced for call in calls):
            return None
        cost: float = trace["cost_usd"]
        return cost


def _completion(choice: dict[str, Any]) -> Completion:
    """The reply as a completion, for the extraction."""
    message = choice["message"]
    calls = tuple(
        ToolCall(id=call["id"], name=call["function"]["name"], arguments=call["function"]["arguments"])
        for call in message.get("tool_calls") or ()
    )
    return Completion(
        text=message.get("content"),
        refusal=message.get("refusal"),
        tool_calls=calls,
        finish_reason=choice.get("finish_reason"),
    )


def _code(error: Mapping[str, Any]) -> str:
    return str(error.get("code") or error.get("type"))
