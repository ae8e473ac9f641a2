"""What follows a dispute: a stronger model answers anew, joins the vote or settles it, or the reply says that
the models do not agree.

Steps are taken one after the other while the agreement stays below each step's threshold. A step that fails,
or that the request's ceilings do not allow, leaves the decision as it was and is named in `fallback`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from math import fsum

from emerge_core.aggregators import get_aggregator
from emerge_core.aggregators.tally import escalates, usable
from emerge_core.answers import Extractor, read_candidate
from emerge_core.config.schema import PANEL, EnsembleConfig, EscalateConfig
from emerge_core.fanout import FanOut
from emerge_core.strategies.adjudication import adjudication, distinct_answers
from emerge_core.strategies.last_resort import last_resort
from emerge_core.strategies.panel import members_of
from emerge_core.strategies.registry import Outcome
from emerge_core.types import Asker, Call, CallError, Candidate, ChatRequest, Completion, Decision, Member, Role


def is_disputed(step: EscalateConfig, candidates: Sequence[Candidate], decision: Decision | None) -> bool:
    """Whether the step applies. Too few usable answers are no agreement at all, unless no member was asked."""
    if decision is None:
        return any(c.call.status != "skipped" for c in candidates)
    return escalates(decision.agreement, step.below_agreement)


@dataclass(slots=True)
class VotesFirst:
    """An asker that makes no judge or merge call, so that an aggregator falls back to the votes. They decide
    whether to escalate, before a judge or merger is paid for."""

    asker: Asker
    refused: bool = False

    async def ask(self, role: Role, model: str, request: ChatRequest, *, live: bool = False) -> Call:
        self.refused = True
        error = CallError(kind="cancelled", message="not asked: the panel disagrees")
        return Call(
            id="", role=role, model=model, provider="", status="skipped", completion=Completion(error=error, attempts=0)
        )

    async def embed(self, embedder: str, texts: Sequence[str]) -> tuple[Call, list[list[float]] | None]:
        return await self.asker.embed(embedder, texts)


@dataclass(slots=True, kw_only=True)
class Escalation:
    """The steps of one request. `decision` is the decision so far, None if too few members gave a usable answer;
    `answers` are the answers in hand: the panel's, or the verdicts of a panel step."""

    ensemble: EnsembleConfig
    request: ChatRequest
    extractor: Extractor
    fanout: FanOut
    candidates: tuple[Candidate, ...]
    decision: Decision | None
    early: bool
    answers: tuple[Candidate, ...] = ()
    asked: bool = False  # whether a model was asked after the first round
    notes: list[str] = field(default_factory=list)

    async def run(self) -> Outcome:
        self.answers = first_round = self.candidates
        failed: list[Candidate] = []
        for step in self.ensemble.escalate:
            if not is_disputed(step, self.candidates, self.decision):
                break
            if step.final == "abstain":
                self.decision = self.decision and self._abstained(self.decision)
                break
            if step.to == PANEL:
                await self._panel_step()
                continue
            stronger = await self._ask(step)
            self.asked |= stronger.call.status != "skipped"
            if not stronger.usable and not (stronger.call.live and stronger.completion.ok):
                failed.append(stronger)
                self.notes.append(f"escalation to {step.to} {_trouble([stronger])}")
            elif step.final == "vote" and self.decision is not None:
                self.answers = self.candidates = (*self.candidates, stronger)
                self.decision = await self._vote(self.answers, rule="escalation:vote")
            else:
                self.decision = self._settled(stronger)
                break
        decision = self.decision
        if decision is None and not any(c.usable for c in first_round):
            decision = await last_resort(
                self.ensemble, (*first_round, *failed), self.request, self.extractor, self.fanout
            )
        if decision is not None:
            decision = replace(decision, early=self.early, escalated=self.asked)
            if self.notes:
                decision = replace(decision, fallback="; ".join(self.notes))
        return Outcome(candidates=self.candidates, decision=decision)

    async def _ask(self, step: EscalateConfig) -> Candidate:
        """The model's answer: to the dispute if it adjudicates, else, and if there is no dispute to show, to the
        caller's request alone."""
        model, blind = step.to or "", self.decision is None
        shown = distinct_answers(self.answers) if step.final == "adjudicate" and not blind else []
        if len(shown) > 1:
            call = await self.fanout.ask("adjudication", model, adjudication(shown, self.request), live=True)
        else:
            live = blind or step.final != "vote"
            call = await self.fanout.ask("escalation", model, self.request, live=live, last_resort=blind)
        # In a final vote the stronger model is one more member: of mean weight, last in config order.
        weight = fsum(c.member.weight for c in self.candidates) / len(self.candidates)
        return await read_candidate(
            self.extractor, call, Member(model=model, position=len(self.candidates), weight=weight)
        )

    async def _panel_step(self) -> None:
        """Every member judges the dispute. Their verdicts become the answers in hand."""
        shown = distinct_answers(self.answers) if self.decision else []
        if len(shown) < 2:
            self.notes.append("escalation to the panel was skipped: there are fewer than two distinct answers")
            return
        members = members_of(self.ensemble)
        task = adjudication(shown, self.request)
        async with aclosing(self.fanout.panel(members, task, role="adjudication", whole=True)) as panel:
            calls = [call async for call in panel]
        verdicts = [await read_candidate(self.extractor, call, call.member or members[0]) for call in calls]
        self.asked |= any(c.call.status != "skipped" for c in verdicts)
        if not any(c.usable for c in verdicts):
            self.notes.append(f"escalation to the panel {_trouble(verdicts)}")
            return
        voted = await self._vote(verdicts, rule="escalation:panel")
        if voted.agreement is None:
            self.notes.append("escalation to the panel gave no verdict that can be counted")
            return
        self.answers = tuple(sorted(verdicts, key=lambda c: c.member.position))
        self.decision = voted

    async def _vote(self, candidates: Sequence[Candidate], *, rule: str) -> Decision:
        vote = get_aggregator("vote")
        decision = await vote(
            candidates,
            request=self.request,
            options=self.ensemble.aggregator,
            asker=self.fanout,
            key_of=self.extractor.key,
        )
        return replace(decision, rule=rule)

    def _settled(self, stronger: Candidate) -> Decision:
        """The decision that the stronger model's answer is the reply."""
        before = self.decision
        return Decision(
            message=stronger.completion,
            selected=(stronger.call.id,),
            rule="escalation:adjudicate" if stronger.call.role == "adjudication" else "escalation:replace",
            votes=before.votes if before else (),
            agreement=before.agreement if before else 0.0,
        )

    def _abstained(self, before: Decision) -> Decision:
        """The decision to say that the models do not agree. Its input is what one model's would have been."""
        text = self.fanout.config.abstention
        refuses = self.request.offers_tools or self.request.wants_json
        usage = usable(self.candidates)[0].completion.usage
        return Decision(
            message=Completion(
                text=None if refuses else text,
                refusal=text if refuses else None,
                finish_reason="stop",
                usage=replace(usage, output_tokens=0, reasoning_tokens=0) if usage else None,
            ),
            selected=(),
            rule="abstain",
            votes=before.votes,
            agreement=before.agreement,
            abstained=True,
        )


def _trouble(candidates: Sequence[Candidate]) -> str:
    """Why these calls have not settled the dispute, to follow the name of who was asked."""
    errors = [c.completion.error.message for c in candidates if c.call.status == "skipped" and c.completion.error]
    if errors and len(errors) == len(candidates):
        return f"was skipped: {errors[0]}"
    reasons = dict.fromkeys(str(c.why_unusable) for c in candidates if c.call.status != "skipped")
    return f"gave no usable answer: {', '.join(reasons)}"
