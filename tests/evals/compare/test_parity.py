"""What is computed offline is what the proxy answers over HTTP, question by question."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emerge_core.config import parse_config
from emerge_core.evals.compare.measure import CompareSettings, compare
from emerge_core.evals.offline.arrays import Answers, read_answers
from emerge_core.evals.offline.ensembles import Design, Ensemble, evaluate, fit
from emerge_core.evals.offline.voting import NOBODY
from emerge_core.evals.recordings.recording import Recordings
from emerge_core.evals.tune.config_writer import NAME, config_of
from emerge_core.types import ToolCall
from tests.support.recordings import first_of


def quiet(name: str, count: int) -> Callable[[], object]:
    return lambda: None


def spoken(calls: Sequence[ToolCall]) -> list[tuple[str, str]]:
    """Without ids, which the proxy makes unique."""
    return [(call.name, call.arguments) for call in calls]


def agrees(directory: Path, answers: Answers, ensembles: list[Ensemble], limit: int | None = None) -> None:
    """All ensembles in one comparison; each reply, verdict, escalation, cost and number of calls is compared."""
    parts: list[dict[str, Any]] = [config_of(answers, ensemble) for ensemble in ensembles]
    merged = {
        "providers": {name: each for part in parts for name, each in part["providers"].items()},
        "models": {name: each for part in parts for name, each in part["models"].items()},
        "ensembles": {f"{NAME}-{number}": part["ensembles"][NAME] for number, part in enumerate(parts)},
    }
    config = parse_config(json.dumps(merged), source="written")
    found = asyncio.run(
        compare(
            CompareSettings(config=config, recordings=directory, task=answers.task, limit=limit, concurrency=8), quiet
        )
    )
    for number, ensemble in enumerate(ensembles):
        offline = evaluate(answers, ensemble)
        online = found.ensembles[f"{NAME}-{number}"] or ()
        assert len(online) == min(limit or len(answers.questions), len(answers.questions))
        for place, outcome in enumerate(online):
            where = (answers.questions[place], ensemble)
            winner = int(offline.winner[place])
            if winner == NOBODY:
                assert outcome.failed, where
            else:
                reply = answers.texts[answers.models[winner]][answers.questions[place]].completion()
                assert outcome.said is not None, where
                assert (outcome.said.text or "") == (reply.text or ""), where
                assert spoken(outcome.said.tool_calls) == spoken(reply.tool_calls), where
            assert outcome.score == offline.score[place], where
            assert outcome.escalated == offline.escalated[place], where
            assert outcome.calls == offline.calls[place], where
            cost = np.nan if outcome.cost_usd is None else outcome.cost_usd
            assert offline.cost_usd[place] == pytest.approx(cost, nan_ok=True), where


def of_every_kind(members: tuple[int, ...], target: int) -> list[Design]:
    return [
        Design(members),
        Design(members, "weighted"),
        Design(members, "confidence"),
        Design(members, "adaptive"),
        Design(members, "consensus"),
        Design(members, "cascade"),
        Design(members[:2], "cascade", reserve=(members[2], target)),
        Design(members, "vote", target, 3, "replace"),
        Design(members, "vote", target, 2, "vote"),
        Design(members, "weighted", target, 1, "vote"),
        Design(members, "confidence", target, 2, "replace"),
        Design(members, "consensus", target, 2, "vote"),
        Design(members[:2], "vote", target, 2, "vote"),
    ]


def test_letters_with_and_without_answers(mixed: Path) -> None:
    answers = read_answers(Recordings(mixed), "mixed_letters")
    every = np.arange(len(answers.questions))
    agrees(mixed, answers, [fit(answers, design, every) for design in of_every_kind((2, 0, 3), 4)])


@pytest.mark.parametrize("task", ["sums", "picks", "facts", "calls", "essays"])
def test_simulated_answers(simulated: Path, task: str, tmp_path: Path) -> None:
    models = ("amber", "birch", "cedar", "titan")
    recordings = first_of(simulated, task, models, 40, tmp_path)
    answers = read_answers(Recordings(recordings), task, models)
    every = np.arange(len(answers.questions))
    agrees(recordings, answers, [fit(answers, design, every) for design in of_every_kind((0, 1, 2), 3)], limit=25)


@pytest.mark.parametrize(
    ("task", "members", "target"),
    [
        ("gsm8k", ("claude-3-haiku-20240307", "gemma-2-9b-it", "mixtral-8x7b-instruct"), "gpt-4o-2024-08-06"),
        ("math_l5", ("qwen2.5-7b-instruct", "llama-3-70b-instruct", "gpt-4o-mini-2024-07-18"), "mistral-large-2407"),
        ("nq_open", ("chatgpt-3.5-2023", "fid-t5-large", "text-davinci-003"), "chatgpt-4-2023"),
        ("mmlu_pro_letters", ("gemini-2.0-flash", "claude-3-5-haiku-20241022", "phi-4-mini"), "gpt-4.1"),
    ],
)
def test_recorded_answers(shared: Path, task: str, members: tuple[str, ...], target: str, tmp_path: Path) -> None:
    recordings = first_of(shared, task, (*members, target), 100, tmp_path)
    answers = read_answers(Recordings(recordings), task, (*members, target))
    every = np.arange(len(answers.questions))
    rows = {name: answers.index(name) for name in (*members, target)}
    designs = of_every_kind(tuple(rows[name] for name in members), rows[target])
    agrees(recordings, answers, [fit(answers, design, every) for design in designs], limit=15)
