"""Whole comparisons: client → proxy → SDKs → replayed upstreams."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emerge_core.aggregators import judge
from emerge_core.aggregators.prompting import arranged
from emerge_core.config import load_config, parse_config
from emerge_core.errors import EmergeError
from emerge_core.evals.compare.comparison import Comparison
from emerge_core.evals.compare.measure import CompareSettings, compare
from emerge_core.types import Call, Candidate, ChatRequest, Completion, Member
from tests.support.paths import RECORDINGS
from tests.support.recordings import first_of

CONFIGS = Path(__file__).parent / "configs"

CONFIG = """
providers:
  openai: {kind: openai, api_key: env:ABSENT}
  anthropic: {kind: anthropic, api_key: env:ABSENT}
  local: {kind: ollama}
models:
  a: {provider: anthropic, model: alpha}
  b: {provider: openai, model: beta}
  c: {provider: local, model: gamma}
  big: {provider: openai, model: titan}
ensembles:
  vote: {members: [a, b, c], aggregator: vote}
  escalating: {members: [a, b, c], aggregator: vote, escalate: {to: big, below_agreement: 0.5}}
  careful: {members: [a, b, c], aggregator: vote, escalate: {to: big}}
  agree: {members: [a, b, c], strategy: {name: cascade, stop: agree}, aggregator: vote}
  judged: {members: [a, b, c], aggregator: {name: judge, judge: big}}
  merged: {members: [a, b, c], aggregator: {name: merge, merger: big}}
"""


def run(recordings: Path, config: str, task: str = "sums", **options: Any) -> Comparison:
    plan = CompareSettings(config=parse_config(config, source="test"), recordings=recordings, task=task, **options)
    return asyncio.run(compare(plan, quiet))


def quiet(name: str, count: int) -> Callable[[], object]:
    return lambda: None


def test_every_question_goes_through_every_member_and_ensemble(recordings: Path) -> None:
    found = run(recordings, CONFIG).as_json()
    assert found["questions"] == 3
    assert {name: round(each["accuracy"] * 3) for name, each in found["models"].items()} == {
        "a": 2,
        "b": 2,
        "c": 1,
        "big": 3,
    }
    ensembles = found["ensembles"]
    accuracies = {name: each["accuracy"] and round(each["accuracy"] * 3) for name, each in ensembles.items()}
    # s1: two say 42. s2: 54, 55, 56. s3: two say 45.
    assert accuracies == {"vote": 3, "escalating": 3, "careful": 3, "agree": 3, "judged": None, "merged": None}
    assert ensembles["vote"]["calls_per_question"] == 3
    assert ensembles["vote"]["escalation_rate"] == 0
    assert ensembles["vote"]["errors"] == 0
    assert ensembles["vote"]["agreement"] == pytest.approx(5 / 9, abs=1e-6)
    assert ensembles["escalating"]["escalation_rate"] == pytest.approx(1 / 3, abs=1e-6)
    assert ensembles["escalating"]["calls_per_question"] == pytest.approx(10 / 3, abs=1e-6)
    assert ensembles["careful"]["escalation_rate"] == 1
    assert found["best_single"] == {"model": "a", "accuracy": pytest.approx(2 / 3, abs=1e-6)}
    assert found["oracle"] == 1


def test_costs_follow_the_recorded_tokens_and_prices(recordings: Path) -> None:
    found = run(recordings, CONFIG, limit=1).as_json()
    assert found["questions"] == 1
    # 19 characters are 5 tokens in, 100 out; US dollars per million are US dollars per 1,000 per 1,000 tokens.
    alpha, gamma, titan = 5 * 1.0 + 100 * 2.0, 5 * 0.5 + 100 * 1.0, 5 * 10.0 + 100 * 20.0
    assert found["models"]["a"]["cost_per_1000"] == pytest.approx(alpha / 1000)
    assert found["models"]["big"]["cost_per_1000"] == pytest.approx(titan / 1000)
    assert found["ensembles"]["vote"]["cost_per_1000"] == pytest.approx((2 * alpha + gamma) / 1000)
    assert found["ensembles"]["careful"]["cost_per_1000"] == pytest.approx((2 * alpha + gamma + titan) / 1000)


def test_early_decision_changes_no_answer(recordings: Path) -> None:
    off, on = run(recordings, CONFIG), run(recordings, CONFIG, early_decision=True, speed=0.02)
    for name in ("vote", "escalating", "careful"):
        for before, after in zip(off.ensembles[name] or (), on.ensembles[name] or (), strict=True):
            assert (before.right, before.escalated) == (after.right, after.escalated)


def test_questions_that_somebody_did_not_answer_are_left_out(recordings: Path) -> None:
    found = run(recordings, CONFIG.replace("model: gamma", "model: patchy"))
    assert (found.questions, found.left_out) == (2, 1)


def test_hidden_tokens_have_no_price(recordings: Path) -> None:
    found = run(recordings, CONFIG.replace("model: titan", "model: thinker")).as_json()
    assert found["models"]["big"]["cost_per_1000"] is None
    assert found["ensembles"]["vote"]["cost_per_1000"] is not None
    assert found["ensembles"]["escalating"]["cost_per_1000"] is None


def test_a_reply_without_an_answer_is_wrong(recordings: Path) -> None:
    config = """
    providers: {openai: {kind: openai}}
    models:
      a: {provider: openai, model: alpha}
      b: {provider: openai, model: beta}
    ensembles:
      alone: {members: [a], aggregator: vote}
      pair:
        members:
          - {model: a, calibration: [[0.9, 0.3], [1.0, 0.9]]}
          - {model: b, calibration: [[0.85, 0.2], [1.0, 0.7]]}
        aggregator: confidence
    """
    found = run(recordings, config, "picks_letters").as_json()
    assert found["ensembles"]["alone"] | {"errors": 0, "accuracy": 0.5} == found["ensembles"]["alone"]
    # p1: alpha says B with 0.8, so 0.3 after calibration; beta says A with 0.9, so 0.7.
    assert found["ensembles"]["pair"]["accuracy"] == 0.5


def test_recorded_verdicts_serve_a_judge(own_recordings: Path) -> None:
    said = {"a": "44", "b": "45", "c": "45"}
    candidates = []
    for position, (name, number) in enumerate(said.items()):
        text = f"Let me work that out step by step.\n\nThe answer is {number}."
        completion, member = Completion(text=text, finish_reason="stop"), Member(model=name, position=position)
        call = Call(
            id=str(position + 1),
            role="member",
            model=name,
            provider="p",
            status="ok",
            completion=completion,
            member=member,
        )
        candidates.append(Candidate(call=call, member=member))
    request = ChatRequest(messages=({"role": "user", "content": "Halve the number 90."},))
    ordered = arranged(candidates, request)
    prompt = judge.question(ordered, request).messages[-1]["content"]
    best = 1 + next(number for number, candidate in enumerate(ordered) if candidate.member.model == "b")
    sums = own_recordings / "sums"
    (sums / "questions.jsonl.gz").unlink()
    (sums / "responses.jsonl.gz").unlink()
    questions = [
        {"id": "s3", "question": "Halve the number 90.", "answers": ["45"], "answer_format": "number"},
        {"id": "verdict", "question": prompt, "answers": []},
    ]
    rows = [
        {"id": "s3", "model": model, "response_text": f"Let me work that out step by step.\n\nThe answer is {number}."}
        for model, number in (("alpha", "44"), ("beta", "45"), ("gamma", "45"), ("titan", "45"))
    ]
    rows.append({"id": "verdict", "model": "titan", "response_text": json.dumps({"best": best})})
    (sums / "questions.jsonl").write_text("\n".join(map(json.dumps, questions)))
    (sums / "responses.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = run(own_recordings, CONFIG).as_json()
    assert found["questions"] == 1
    assert found["ensembles"]["judged"]["accuracy"] == 1
    assert found["ensembles"]["judged"]["calls_per_question"] == 4
    assert found["ensembles"]["merged"]["accuracy"] is None


def test_what_cannot_be_compared_is_said(recordings: Path) -> None:
    with pytest.raises(EmergeError, match=r"no answers of a \(omega\) are recorded in sums"):
        run(recordings, CONFIG.replace("model: alpha", "model: omega"))
    with pytest.raises(EmergeError, match="no task 'sum'"):
        run(recordings, CONFIG, "sum")


def test_the_panel_for_function_calls_asks_on_its_disputes_alone() -> None:
    config = load_config(CONFIGS / "bfcl_tools.yaml")
    (step,) = config.ensembles["escalating"].escalate
    assert (step.to, step.below_agreement, step.final) == ("gpt-4o", 0.6, "replace")
    assert config.ensembles["escalating"].members == config.ensembles["vote"].members


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason=f"no recordings in {RECORDINGS}")
@pytest.mark.parametrize("task", ["gsm8k", "math_l5", "crux", "mmlu_pro"])
def test_measured_panels_beat_their_best_member(task: str, tmp_path: Path) -> None:
    config = load_config(CONFIGS / f"{task}.yaml")
    recordings = first_of(RECORDINGS, task, {model.model for model in config.models.values()}, 120, tmp_path)
    ensembles = {name: config.ensembles[name] for name in ("vote", "escalating")}
    plan = CompareSettings(
        config=config.model_copy(update={"ensembles": ensembles}), recordings=recordings, task=task, limit=120
    )
    found = asyncio.run(compare(plan, quiet)).as_json()
    assert found["questions"] == 120
    best = found["best_single"]["accuracy"]
    assert found["ensembles"]["vote"]["errors"] == 0
    # 120 questions separate little: the whole tasks are measured by `emerge compare`.
    assert found["ensembles"]["vote"]["accuracy"] > best - 0.05
    assert found["ensembles"]["escalating"]["accuracy"] > best - 0.02
    assert 0 < found["ensembles"]["escalating"]["escalation_rate"] < 0.7
