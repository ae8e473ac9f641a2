"""Recorded adjudications: what is computed offline is what the proxy answers over HTTP, question by question."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emerge_core.cli import main
from emerge_core.config import parse_config
from emerge_core.evals.compare.measure import CompareSettings, compare
from emerge_core.evals.offline.arrays import read_answers
from emerge_core.evals.offline.ensembles import Design, evaluate, fit
from emerge_core.evals.recordings.recording import Recordings
from emerge_core.evals.tune.config_writer import NAME
from emerge_core.evals.tune.config_writer import config_of as written_config
from tests.support.adjudicator import adjudicator, config_of
from tests.support.simulated_recording import write_recording

PANEL = (0, 1, 2)
TITAN = 3


def quiet(name: str, count: int) -> Callable[[], object]:
    return lambda: None


@pytest.mark.parametrize("task", ["calls"])
def test_every_way_to_settle_a_dispute(tmp_path: Path, task: str) -> None:
    write_recording(tmp_path, questions=20)
    with adjudicator() as judge:
        config = tmp_path / "config.json"
        config.write_text(json.dumps(config_of(judge.url)))
        main(["record", "--disputes", "--config", str(config), "--out", str(tmp_path), "--task", task])
    answers = read_answers(Recordings(tmp_path), task, ("amber", "birch", "cedar", "titan"))
    designs = [
        Design(PANEL, target=TITAN, trusted=3, final="adjudicate"),
        Design(PANEL, target=TITAN, trusted=2, final="adjudicate"),
        Design(PANEL, panel_trusted=3),
        Design(PANEL, panel_trusted=2),
        Design(PANEL, target=TITAN, trusted=3, final="adjudicate", panel_trusted=3),
        Design(PANEL, target=TITAN, trusted=2, final="adjudicate", panel_trusted=3),
    ]
    ensembles = [fit(answers, design, np.arange(len(answers.questions))) for design in designs]
    parts: list[dict[str, Any]] = [written_config(answers, ensemble) for ensemble in ensembles]
    unrecorded = {"members": ["amber", "birch"], "escalate": {"to": "cedar", "final": "adjudicate"}}
    merged = {
        "providers": {name: each for part in parts for name, each in part["providers"].items()},
        "models": {name: each for part in parts for name, each in part["models"].items()},
        "ensembles": {str(number): part["ensembles"][NAME] for number, part in enumerate(parts)},
    }
    merged["ensembles"]["unrecorded"] = unrecorded
    settings = CompareSettings(
        config=parse_config(json.dumps(merged), source="written"), recordings=tmp_path, task=task, concurrency=8
    )
    found = asyncio.run(compare(settings, quiet))
    assert found.ensembles["unrecorded"] is None
    with pytest.raises(LookupError):
        evaluate(answers, fit(answers, Design((0, 1), target=2, trusted=2, final="adjudicate"), np.arange(20)))
    several = 0
    for number, ensemble in enumerate(ensembles):
        offline, online = evaluate(answers, ensemble), found.ensembles[str(number)]
        assert online is not None, ensemble
        assert len(online) == len(answers.questions)
        for place, outcome in enumerate(online):
            where = (answers.questions[place], ensemble)
            assert outcome.score == offline.score[place], where
            assert outcome.escalated == offline.escalated[place], where
            assert outcome.calls == offline.calls[place], where
            assert outcome.cost_usd == pytest.approx(offline.cost_usd[place]), where
            agreement = np.nan if outcome.agreement is None else outcome.agreement
            assert agreement == pytest.approx(offline.agreement[place], nan_ok=True), where
            several += outcome.calls > 6
    assert several, "a panel step was followed by the target"
