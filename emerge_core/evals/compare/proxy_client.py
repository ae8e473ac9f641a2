"""Questions through the proxy over HTTP, and what is kept of each reply."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from emerge_core.evals.recordings.prompts import body_of
from emerge_core.evals.recordings.recording import Question
from emerge_core.evals.scoring.scorer import Scorer
from emerge_core.types import Completion, ToolCall


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

    @property
    def right(self) -> bool:
        return self.score > 0.5


class UnansweredError(Exception):
    """A call that judges or merges got no answer: nothing was recorded for it."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks the proxy at `url`. `unpriced` models have costs that nobody knows; `strict` raises
    where a judge or merger went unanswered, since a fallback would be measured in its name."""

    client: httpx.AsyncClient
    url: str
    scorer: Scorer
    unpriced: Collection[str]
    strict: bool
    concurrency: int

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
        if self.strict and any(call["role"] in ("judge", "merge") and call["status"] != "ok" for call in calls):
            raise UnansweredError(name)
        said = None if failed else _completion(parsed["choices"][0])
        return Outcome(
            score=0.0 if said is None else self.scorer.score(question.id, said),
            failed=failed,
            cost_usd=self._cost(trace, calls),
            cost_estimated=bool(trace.get("cost_estimated")),
            calls=len(calls),
            agreement=trace.get("agreement"),
            escalated=bool(trace.get("escalated")),
            said=said,
        )

    def _cost(self, trace: dict[str, Any], calls: Sequence[dict[str, Any]]) -> float | None:
        if not trace.get("cost_known") or any(call["model"] in self.unpriced for call in calls):
            return None
        cost: float = trace["cost_usd"]
        return cost


def _completion(choice: dict[str, Any]) -> Completion:
    """The reply as the extraction reads it."""
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
