"""Asks the adjudicators of a config for the disputed questions of a recording.

Which questions those are is decided by the strategies themselves: every ensemble that adjudicates answers every
question from the recorded replies, and each adjudication that it asks for and that is not recorded yet is a call to
make. A later step depends on what the step before it found, so its calls are known only after the earlier ones.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from emerge_core.answers import Extractor
from emerge_core.config.schema import PANEL, Config, EnsembleConfig
from emerge_core.errors import EmergeError
from emerge_core.evals.record.journal import Journal, Place
from emerge_core.evals.record.recorder import Job, Progress, Recorder, RecordSettings, Report
from emerge_core.evals.recordings.recording import Recordings, Replies, Reply
from emerge_core.evals.recordings.rows import Dispute, Question
from emerge_core.fanout import Budget, FanOut
from emerge_core.providers import Provider
from emerge_core.providers.protocol import Embeddings
from emerge_core.strategies import get_strategy
from emerge_core.strategies.adjudication import texts_shown_in
from emerge_core.types import CallError, ChatRequest, Completion, EmbeddingRequest, Sink, UpstreamError

Row = Place | Dispute


@dataclass(slots=True)
class EnsembleDisputes:
    """What one ensemble would adjudicate. `left_out` counts the questions that not every member answered."""

    questions: int = 0
    left_out: int = 0
    disputed: int = 0
    later: int = 0  # calls of later steps, at most: whether they are made depends on calls that are missing now


@dataclass(slots=True)
class Disputes:
    """The disputes of a recording, by ensemble, and the calls that are missing."""

    ensembles: dict[str, EnsembleDisputes] = field(default_factory=dict)
    recorded: int = 0
    missing: dict[Row, Job] = field(default_factory=dict)

    @property
    def later(self) -> int:
        return sum(each.later for each in self.ensembles.values())


def adjudicating(config: Config) -> dict[str, EnsembleConfig]:
    """The ensembles with a step that adjudicates."""
    return {
        name: each for name, each in config.ensembles.items() if any(s.final == "adjudicate" for s in each.escalate)
    }


def adjudicators_of(config: Config) -> tuple[str, ...]:
    """The models that adjudicate in some ensemble, by their names in the config."""
    found: dict[str, None] = {}
    for ensemble in adjudicating(config).values():
        for step in ensemble.escalate:
            if step.final == "adjudicate":
                models = [member.model for member in ensemble.members] if step.to == PANEL else [step.to or ""]
                found |= dict.fromkeys(models)
    return tuple(found)


async def find_disputes(plan: RecordSettings, recordings: Recordings, task: str) -> Disputes:
    """The disputes of the plan's questions. Calls of models that are not in the plan are not asked for. Raises
    EmergeError if no ensemble adjudicates, or if a model that is asked first is not recorded."""
    ensembles = adjudicating(plan.config)
    if not ensembles:
        raise EmergeError("no ensemble of the config adjudicates: none has a step with `final: adjudicate`")
    replies = recordings.replies(task, {question.id for question in plan.questions} | set(recordings.questions(task)))
    _check_recorded(plan.config, ensembles, replies, task)
    known = recordings.adjudications(task)
    found = Disputes()
    seen: set[Dispute] = set()
    for name, ensemble in ensembles.items():
        counts = found.ensembles[name] = EnsembleDisputes()
        for question in plan.questions:
            counts.questions += 1
            targets = {plan.config.models[each].model for each in ensemble.targets}
            asked = _Recorded(question, plan.base_request(question), targets, replies, known)
            await _adjudicate(plan, ensemble, asked, counts)
            seen |= asked.answered
            for row, request in asked.missing.items():
                model = _name_of(plan.config, row.model, ensemble)
                if model in plan.models:
                    found.missing.setdefault(row, Job(model, request, row))
    found.recorded = len(seen)
    return found


async def record_disputes(
    plan: RecordSettings,
    recordings: Recordings,
    journal: Journal,
    disputes: Disputes,
    progress: Progress = lambda _: None,
    *,
    environ: Mapping[str, str] | None = None,
) -> Report:
    """Ask for what is missing, step after step, until nothing more is to be asked or a call cannot be made."""
    async with Recorder(plan, journal, progress, environ=environ) as recorder:
        found = disputes
        tried: set[Row] = set()
        while wanted := {row: job for row, job in found.missing.items() if row not in tried}:
            by_model: dict[str, list[Job]] = {}
            for job in wanted.values():
                by_model.setdefault(job.model, []).append(job)
            await recorder.ask(by_model)
            tried |= wanted.keys()
            if recorder.report.stopped:
                break
            found = await find_disputes(plan, recordings, journal.folder.name)
        return recorder.report


async def _adjudicate(
    plan: RecordSettings, ensemble: EnsembleConfig, asked: _Recorded, counts: EnsembleDisputes
) -> None:
    """Run the ensemble with one step more each time, up to the first whose calls are missing."""
    extractor = Extractor.of(asked.request, ensemble.answer_key)
    for number, step in enumerate(ensemble.escalate, start=1):
        if step.final == "abstain":
            return
        changes = {"escalate": ensemble.escalate[:number], "early_decision": False, "stragglers": None}
        budget = Budget(deadline=math.inf, attempts=2**62)
        fanout = FanOut(plan.config, asked, budget, marks_state=True)
        strategy = get_strategy(ensemble.strategy.name)
        await strategy(ensemble.model_copy(update=changes), asked.request, extractor, fanout)
        if asked.left_out:
            counts.left_out += 1
            return
        if asked.missing:
            counts.disputed += 1
            counts.later += sum(
                len(ensemble.members) if later.to == PANEL else 1
                for later in ensemble.escalate[number:]
                if later.final == "adjudicate"
            )
            return
    counts.disputed += bool(asked.answered)


class _Recorded:
    """Stands for all providers: answers one question as it was recorded, and collects the calls that are not recorded.

    A stronger model that is asked without a dispute to show, because fewer than two distinct answers are usable, is
    one of them, too."""

    def __init__(
        self,
        question: Question,
        request: ChatRequest,
        targets: Collection[str],
        replies: Replies,
        known: Mapping[Dispute, Reply],
    ) -> None:
        self.question = question
        self.request = request
        self.missing: dict[Row, ChatRequest] = {}
        self.answered: set[Dispute] = set()
        self.left_out = False  # whether a member has no recorded reply
        self._targets = targets  # upstream names
        self._replies = replies
        self._known = known

    def __call__(self, name: str) -> Provider:
        return self

    async def load(self, name: str) -> None:
        return None

    async def complete(self, model: str, request: ChatRequest, *, timeout_s: float) -> Completion:
        texts = texts_shown_in(request)
        reply: Reply | None = None
        if texts is not None:
            dispute = Dispute(model, self.question.id, texts)
            reply = self._known.get(dispute)
            if reply is None:
                self.missing[dispute] = request
            else:
                self.answered.add(dispute)
        elif request.messages == self.request.messages:  # a judge or merger is shown others: it is not recorded
            reply = self._replies.get(model, {}).get(self.question.id)
            if reply is None and model in self._targets:
                self.missing[Place(self.question.id, model, 0)] = request
            else:
                self.left_out |= reply is None
        if reply is None:
            raise UpstreamError(CallError(kind="invalid_request", message="not recorded", final=True))
        return reply.completion()

    async def stream(self, model: str, request: ChatRequest, *, timeout_s: float, emit: Sink) -> Completion:
        return await self.complete(model, request, timeout_s=timeout_s)

    async def embed(self, model: str, request: EmbeddingRequest, *, timeout_s: float) -> Embeddings:
        raise UpstreamError(CallError(kind="invalid_request", message="no vectors are recorded", final=True))

    async def aclose(self) -> None:
        return None


def _name_of(config: Config, upstream: str, ensemble: EnsembleConfig) -> str:
    """The config's name of a model that the ensemble asks."""
    names = [member.model for member in ensemble.members] + [step.to or "" for step in ensemble.escalate]
    return next(name for name in names if name in config.models and config.models[name].model == upstream)


def _check_recorded(config: Config, ensembles: Mapping[str, EnsembleConfig], replies: Replies, task: str) -> None:
    """Raises EmergeError if a member of an ensemble that adjudicates has no recorded reply."""
    names: Sequence[str] = [member.model for each in ensembles.values() for member in each.members]
    missing = [name for name in dict.fromkeys(names) if config.models[name].model not in replies]
    if missing:
        raise EmergeError(
            f"no replies of {', '.join(missing)} are recorded in {task}: without --disputes, `emerge record` asks "
            "every model every question"
        )
