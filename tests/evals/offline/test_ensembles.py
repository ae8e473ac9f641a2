"""Ensembles over arrays give what the engine gives, question by question.

The engine runs here in process, on providers that return what was recorded: all of its own
strategies, aggregators and extraction. `test_parity` does the same through HTTP.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emerge_core.answers import Extractor
from emerge_core.config import parse_config
from emerge_core.evals.offline.arrays import Answers, read_answers
from emerge_core.evals.offline.ensembles import Design, Outcomes, by_order, evaluate, fit
from emerge_core.evals.offline.voting import NOBODY
from emerge_core.evals.recordings.recording import Recordings, Reply, prompt_of
from emerge_core.evals.tune.config_writer import NAME, config_of
from emerge_core.fanout import Budget, FanOut
from emerge_core.strategies import Outcome, get_strategy
from emerge_core.types import ChatRequest, Completion, Cost, TokenLogprob, Usage


class Recorded:
    """A provider that returns the recorded reply to one question, a letter's confidence as its log probability."""

    def __init__(self, replies: Mapping[str, Reply], prompt_tokens: int) -> None:
        self.replies = replies
        self.prompt_tokens = prompt_tokens

    async def complete(self, model: str, request: ChatRequest, *, timeout_s: float) -> Completion:
        reply = self.replies[model]
        logprobs = None
        if request.logprobs and reply.confidence is not None and reply.text:
            start, letter = reply.text.index("(") + 1, reply.text.index(")")
            logprob = float(np.log(reply.confidence)) if reply.confidence > 0 else -9999.0
            parts = (reply.text[:start], reply.text[start:letter], reply.text[letter:])
            logprobs = tuple(
                TokenLogprob(token=part, logprob=each) for part, each in zip(parts, (0.0, logprob, 0.0), strict=True)
            )
        usage = Usage(input_tokens=self.prompt_tokens, output_tokens=reply.tokens)
        return Completion(text=reply.text, finish_reason="stop", usage=usage, logprobs=logprobs)


class Given:
    """One provider, whatever the name."""

    def __init__(self, provider: Any) -> None:
        self.provider = provider

    def __call__(self, name: str) -> Any:
        return self.provider

    async def load(self, name: str) -> None:
        pass


def answered(directory: Path, answers: Answers, ensemble: Any) -> list[tuple[Outcome, FanOut]]:
    """What the engine's strategy makes of every question, with the config that would be written."""
    config = parse_config(json.dumps(config_of(answers, ensemble)), source="written")
    made = config.ensembles[NAME].model_copy(update={"early_decision": False})
    questions = Recordings(directory).questions(answers.task)

    async def run() -> list[tuple[Outcome, FanOut]]:
        found = []
        for number, id_ in enumerate(answers.questions):
            replies = {model: answers.texts[model][id_] for model in answers.models}
            provider: Any = Recorded(replies, int(answers.prompt_tokens[0, number]))
            fanout = FanOut(config, Given(provider), Budget(deadline=1e12, attempts=99))
            request = ChatRequest(messages=({"role": "user", "content": prompt_of(questions[id_])},))
            strategy = get_strategy(made.strategy.name)
            found.append((await strategy(made, request, Extractor.of(request), fanout), fanout))
            await fanout.aclose()
        return found

    return asyncio.run(run())


def agrees(directory: Path, answers: Answers, ensemble: Any) -> Outcomes:
    """The arrays' outcomes, after every one was compared with the engine's."""
    offline = evaluate(answers, ensemble)
    for number, (outcome, fanout) in enumerate(answered(directory, answers, ensemble)):
        decision = outcome.decision
        place = (answers.questions[number], ensemble)
        if decision is None:
            assert offline.winner[number] == NOBODY, place
        else:
            (call,) = [call for call in fanout.calls if call.id in decision.selected]
            chosen = fanout.config.models[call.model].model
            assert answers.models[offline.winner[number]] == chosen, place
            assert offline.escalated[number] == decision.escalated, place
            expected = np.nan if decision.agreement is None else decision.agreement
            assert offline.agreement[number] == pytest.approx(expected, nan_ok=True), place
        assert offline.calls[number] == len(fanout.calls), place
        cost = Cost.sum([call.completion.cost for call in fanout.calls])
        expected = cost.usd if cost.known else np.nan
        assert offline.cost_usd[number] == pytest.approx(expected, nan_ok=True), place
    return offline


def designs(members: tuple[int, ...], target: int) -> list[Design]:
    """Every rule, alone and escalating, by both finals."""
    count = len(members)
    found = [Design(members, rule) for rule in ("vote", "weighted", "confidence", "adaptive", "consensus", "cascade")]
    found += [Design(members[:count], "cascade", reserve=(target,)) for count in (1, 2, 3)]
    for trusted, final in product(range(2, count + 1), ("replace", "vote")):
        rules = ("vote", "confidence", "adaptive", "consensus")
        found += [Design(members, rule, target, trusted, final) for rule in rules]  # type: ignore[arg-type]
    for trusted, final in product((1, 2) if count == 3 else (), ("replace", "vote")):
        found.append(Design(members, "weighted", target, trusted, final))  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize("design", [*designs((0, 1), 4), *designs((2, 0, 3), 4), *designs((3, 2, 1, 0), 4)], ids=str)
def test_letters(mixed: Path, design: Design) -> None:
    answers = read_answers(Recordings(mixed), "mixed_letters")
    agrees(mixed, answers, fit(answers, design, np.arange(40)))


@pytest.mark.parametrize("task", ["math_l5", "nq_open"])
def test_texts(shared: Path, task: str) -> None:
    """Numbers with some prose between them; short texts that contain one another, and long ones."""
    models = sorted(Recordings(shared).replies(task, Recordings(shared).questions(task)))[:4]
    answers = read_answers(Recordings(shared), task, models)
    answers = answers.only(np.arange(0, len(answers.questions), 25))
    for design in designs((0, 1, 2), 3):
        agrees(shared, answers, fit(answers, design, np.arange(len(answers.questions))))


def test_weights_of_one_order_give_a_cascade_one_score(mixed: Path) -> None:
    answers = read_answers(Recordings(mixed), "mixed_letters")
    design = Design((2, 0, 3), "cascade", reserve=(4,))
    halves = [fit(answers, design, np.arange(start, 40, 2)) for start in (0, 1)]
    spread = [replace(half, weights=weights) for half in halves for weights in ((1, 4, 3, 2), (0.7, 1.9, 1.2, 0.9))]
    kept = {by_order(answers, each) for each in spread}
    assert len(kept) == 1
    assert len({evaluate(answers, each).winner.tobytes() for each in (*spread, *kept) if each}) == 1
    for rule in ("weighted", "confidence"):
        assert by_order(answers, replace(halves[0], rule=rule, reliability=(0.5,) * 3)) is None
    tools = replace(answers, offers_tools=np.ones_like(answers.offers_tools))
    assert by_order(tools, spread[0]) is None
