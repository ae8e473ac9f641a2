"""Recordings made through real providers: from a replay server, and from a scripted upstream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emerge_core.config import Config, parse_config
from emerge_core.errors import ConfigError, EmergeError
from emerge_core.evals.compare.measure import CompareSettings as Comparing
from emerge_core.evals.compare.measure import compare
from emerge_core.evals.record.journal import Journal
from emerge_core.evals.record.models import model_rows, models_of
from emerge_core.evals.record.questions import read_questions
from emerge_core.evals.record.recorder import Pace, RecordSettings, Report, record
from emerge_core.evals.recordings.recording import Recordings
from emerge_core.evals.recordings.rows import Question, read_question
from emerge_core.evals.replay.server import replay_app

QUESTIONS = tuple(Question(f"q{number}", f"What is {number} + 1?") for number in range(6))


def config_at(url: str) -> Config:
    return parse_config(
        json.dumps(
            {
                "providers": {
                    "openai": {"kind": "openai", "base_url": f"{url}/v1", "api_key": "env:KEY"},
                    "anthropic": {"kind": "anthropic", "base_url": url, "api_key": "env:KEY"},
                    "local": {"kind": "ollama", "base_url": url},
                },
                "models": {
                    "a": {"provider": "anthropic", "model": "alpha", "price": {"input": 1, "output": 2}},
                    "b": {"provider": "openai", "model": "beta", "price": {"input": 1, "output": 2}},
                    "c": {"provider": "local", "model": "gamma", "family": "gem", "price": {"input": 0.5, "output": 1}},
                    "big": {"provider": "openai", "model": "titan", "price": {"input": 10, "output": 20}},
                },
                "ensembles": {
                    "vote": {"members": ["a", "b", "c"], "aggregator": "vote"},
                    "careful": {"members": ["a", "b", "c"], "aggregator": "vote", "escalate": {"to": "big"}},
                },
            }
        ),
        source="test",
    )


def run(plan: RecordSettings, out: Path, task: str = "t") -> Report:
    with Journal(out, task) as journal:
        journal.add_models(model_rows(plan.config, plan.models))
        rows = [{"id": each.id, "question": each.text} for each in plan.questions]
        journal.add_questions(rows)
        return asyncio.run(record(plan, journal, environ={"KEY": "any"}))


def responses(out: Path, task: str = "t") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / task / "responses.jsonl").read_text().splitlines()]


def test_a_recording_of_a_recording_compares_the_same(recordings: Path, tmp_path: Path, server: Any) -> None:
    with server(replay_app(Recordings(recordings), "sums", speed=0)) as url:
        config = config_at(url)
        found = read_questions(recordings / "sums" / "questions.jsonl.gz")
        assert found.task == "sums"
        questions = tuple(filter(None, (read_question("", row) for row in found.rows)))
        plan = RecordSettings(config=config, models=models_of(config, None), questions=questions)
        with Journal(tmp_path, "sums") as journal:
            journal.add_questions(found.rows)
            journal.add_models(model_rows(config, plan.models))
            report = asyncio.run(record(plan, journal, environ={"KEY": "any"}))
    assert (report.asked, report.failed, report.given_up) == (12, 0, {})
    original, again = (
        asyncio.run(compare(Comparing(config=config, recordings=where, task="sums"), quiet)).as_json()
        for where in (recordings, tmp_path)
    )
    assert again == original
    models = Recordings(tmp_path).models()
    assert (models["gamma"].family, models["gamma"].price, models["gamma"].tier) == ("gem", (0.5, 1.0), "small")
    assert models["titan"].tier == "frontier"


def quiet(name: str, count: int) -> Callable[[], object]:
    return lambda: None


def plan_of(panels: Any, models: str = "ab", **changes: Any) -> RecordSettings:
    return RecordSettings(config=panels("{}"), models=tuple(models), questions=QUESTIONS, **changes)


def test_rows_keep_what_was_measured(upstream: Any, says: Any, panels: Any, tmp_path: Path) -> None:
    upstream.script = {"a": says("The answer is 2.", finish_reason="length"), "b": says(tool_calls=[("add", {"x": 1})])}
    report = run(plan_of(panels), tmp_path)
    assert (report.asked, report.failed) == (12, 0)
    assert report.cost_usd == pytest.approx(12 * (100 * 1 + 10 * 2) / 1e6)
    by_model = {row["model"]: row for row in responses(tmp_path) if row["id"] == "q3"}
    kept = by_model["a"]
    assert kept.pop("latency_ms") > 0
    assert kept == {
        "id": "q3",
        "model": "a",
        "sample": 0,
        "provider": "up",
        "response_text": "The answer is 2.",
        "finish_reason": "length",
        "usage": {"input_tokens": 100, "output_tokens": 10},
        "completion_tokens": 10,
        "upstream_model": "a",
        "cost_usd": pytest.approx(0.00012),
    }
    assert by_model["b"]["tool_calls"] == [{"id": "call_0", "name": "add", "arguments": '{"x": 1}'}]
    assert by_model["b"]["response_text"] == ""


def test_a_second_run_asks_what_is_missing(upstream: Any, says: Any, panels: Any, tmp_path: Path) -> None:
    upstream.script = {"a": says("2"), "b": says("3"), "c": says("4")}
    run(plan_of(panels), tmp_path)
    path = tmp_path / "t" / "responses.jsonl"
    whole = path.read_bytes()
    cut = whole[: whole.rindex(b'"usage"')]  # as a run that was killed leaves it
    path.write_bytes(cut)
    upstream.bodies.clear()
    report = run(plan_of(panels, "abc"), tmp_path)
    assert report.asked == 7
    assert len(upstream.asked("c")) == 6
    assert len(upstream.bodies) == 7
    assert len(responses(tmp_path)) == 18
    upstream.bodies.clear()
    assert run(plan_of(panels, "abc"), tmp_path).asked == 0
    assert upstream.bodies == []
    assert run(plan_of(panels, "abc", repeat=2), tmp_path).asked == 18
    assert Recordings(tmp_path).samples("t") == 2


def test_a_whole_last_line_without_its_end_is_kept(upstream: Any, says: Any, panels: Any, tmp_path: Path) -> None:
    upstream.script = {"a": says("2")}
    run(plan_of(panels, "a"), tmp_path)
    path = tmp_path / "t" / "responses.jsonl"
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert run(plan_of(panels, "a"), tmp_path).asked == 0
    assert len(responses(tmp_path)) == 6


def test_faults_are_tried_again_and_then_recorded(upstream: Any, says: Any, panels: Any, tmp_path: Path) -> None:
    busy = says(status=429, headers={"retry-after": "0.01"})
    upstream.script = {"a": [busy, says("2")], "b": says(status=400, error="no such thing"), "c": says(status=503)}
    config = panels("{}", c={"max_retries": 0})
    report = run(RecordSettings(config=config, models=("a", "b", "c"), questions=QUESTIONS), tmp_path)
    rows = responses(tmp_path)
    assert not any("error" in row for row in rows if row["model"] == "a")
    refused = next(row for row in rows if row["model"] == "b")
    assert refused["error"] == {"kind": "invalid_request", "status": 400, "message": refused["error"]["message"]}
    assert "response_text" not in refused
    assert (report.asked, report.failed) == (18, 12)
    assert set(Recordings(tmp_path).replies("t", [each.id for each in QUESTIONS])) == {"a"}
    # What the upstream refuses it refuses again; what was down may be up.
    upstream.script["c"] = says("5")
    upstream.bodies.clear()
    assert run(RecordSettings(config=config, models=("a", "b", "c"), questions=QUESTIONS), tmp_path).asked == 6
    assert {body["model"] for body in upstream.bodies} == {"c"}
    assert set(Recordings(tmp_path).replies("t", [each.id for each in QUESTIONS])) == {"a", "c"}


def test_a_model_that_cannot_answer_is_given_up(upstream: Any, says: Any, panels: Any, tmp_path: Path) -> None:
    upstream.script = {"a": says(status=401, error="bad key"), "b": says("3")}
    pace = Pace(concurrency={None: 1})
    report = run(plan_of(panels, pace=pace), tmp_path)
    assert set(report.given_up) == {"a"}
    assert len(upstream.asked("a")) == 1
    assert len(upstream.asked("b")) == 6
    with pytest.raises(ConfigError, match="provider keyless: environment variable NO_SUCH_KEY is not set"):
        run(
            RecordSettings(config=panels("{}", a={"provider": "keyless"}), models=("a",), questions=QUESTIONS), tmp_path
        )


def test_the_ceiling_holds_and_the_next_run_goes_on(upstream: Any, says: Any, panels: Any, tmp_path: Path) -> None:
    upstream.script = {"a": says("2"), "b": says("3")}
    # A call costs 0.00012; before it has landed it may cost its estimated input and 100 tokens of output.
    plan = plan_of(panels, max_cost_usd=0.00085, max_tokens=100)
    report = run(plan, tmp_path)
    assert report.stopped
    assert report.cost_usd <= 0.00085
    assert 4 <= report.asked < 12
    assert len(responses(tmp_path)) == report.asked == len(upstream.bodies)
    rest = run(plan_of(panels, max_cost_usd=1.0), tmp_path)
    assert not rest.stopped
    assert report.asked + rest.asked == 12
    with pytest.raises(EmergeError, match="the price of d is unknown, so a cost ceiling cannot be kept"):
        run(
            RecordSettings(
                config=parse_config(
                    json.dumps(
                        {
                            "providers": {"up": {"kind": "openai", "base_url": upstream.url}},
                            "models": {"d": {"provider": "up", "model": "d"}},
                        }
                    ),
                    source="test",
                ),
                models=("d",),
                questions=QUESTIONS,
                max_cost_usd=1,
            ),
            tmp_path,
        )


@pytest.mark.parametrize("at_once", [1, 3])
def test_no_more_calls_at_once_than_allowed(
    upstream: Any, says: Any, panels: Any, tmp_path: Path, at_once: int
) -> None:
    upstream.script = {"a": says("2", delay=0.01), "b": says("3", delay=0.01)}
    seen: list[int] = []
    pace = Pace(concurrency={"up": at_once, None: 9})
    with Journal(tmp_path, "t") as journal:
        journal.add_questions([{"id": each.id, "question": each.text} for each in QUESTIONS])
        watched = record(
            plan_of(panels, pace=pace), journal, lambda _: seen.append(upstream.open), environ={"KEY": "any"}
        )
        asyncio.run(watched)
    assert len(upstream.bodies) == 12
    assert max(seen) <= at_once


def test_parameters_are_for_questions_and_requests_keep_theirs(
    upstream: Any, says: Any, panels: Any, tmp_path: Path
) -> None:
    upstream.script = {"a": says("2")}
    own = {"messages": [{"role": "user", "content": "Hi"}], "temperature": 0.3, "max_tokens": 9}
    questions = (QUESTIONS[0], Question("r", "Hi", request=own))
    plan = RecordSettings(
        config=panels("{}"), models=("a",), questions=questions, temperature=1.0, max_tokens=50, logprobs=False
    )
    with Journal(tmp_path, "t") as journal:
        asyncio.run(record(plan, journal, environ={}))
    sent = {body["messages"][0]["content"]: body for body in upstream.bodies}
    assert (sent["Hi"]["temperature"], sent["Hi"]["max_tokens"]) == (0.3, 9)
    other = sent["What is 0 + 1?"]
    assert (other["temperature"], other["max_tokens"]) == (1.0, 50)
    assert "logprobs" not in other


def test_another_question_under_a_known_id_is_refused(tmp_path: Path) -> None:
    with Journal(tmp_path, "t") as journal:
        journal.add_questions([{"id": "q", "question": "One?"}, {"id": "r", "question": "Two?"}])
        journal.add_questions([{"id": "q", "question": "One?", "answers": ["1"]}, {"id": "s", "question": "Three?"}])
        with pytest.raises(EmergeError, match="'q' is another question there"):
            journal.add_questions([{"id": "q", "question": "Eins?"}])
    assert len((tmp_path / "t" / "questions.jsonl").read_text().splitlines()) == 3
    (tmp_path / "t" / "responses.jsonl").rename(tmp_path / "t" / "responses.jsonl.gz")
    with pytest.raises(EmergeError, match="is packed"):
        Journal(tmp_path, "t")


def test_models_are_kept_by_their_upstream_name(panels: Any) -> None:
    config = panels("{}", b={"model": "a"})
    with pytest.raises(EmergeError, match="a and b are both 'a' upstream"):
        models_of(config, None)
    assert models_of(config, ["b", "c"]) == ("b", "c")
    with pytest.raises(EmergeError, match="no model 'x' in the config; its models are: a, b"):
        models_of(config, ["x"])


def test_every_sample_is_asked_anew_and_counts(upstream: Any, says: Any, panels: Any, tmp_path: Path) -> None:
    """Five answers to one question: as many calls, each answer kept as it fell, each of them paid for."""
    upstream.script = {"a": [says(f"The answer is {number}.") for number in range(5)], "b": says("7")}
    own = {"messages": [{"role": "user", "content": "Roll a die."}], "seed": 40, "temperature": 0.9}
    questions = (Question("r", "Roll a die.", request=own), Question("q", "Roll another."))
    changes: dict[str, Any] = {"models": ("a",), "questions": questions, "pace": Pace(concurrency={None: 1})}
    config = panels("{one: {members: [{model: a, temperature: 0.7}, b]}, two: {members: [b]}}")
    report = run(RecordSettings(config=config, repeat=3, **changes), tmp_path)
    assert report.asked == 6
    assert report.cost_usd == pytest.approx(6 * 0.00012)
    sent = [(body["messages"][0]["content"], body.get("seed"), body["temperature"]) for body in upstream.bodies]
    # The member's own temperature goes before the request's, as it does when an ensemble asks.
    assert sent == [("Roll a die.", 40 + n, 0.7) for n in range(3)] + [("Roll another.", None, 0.7)] * 3
    kept = [(row["id"], row["sample"], row["response_text"]) for row in responses(tmp_path)]
    fell = ("r", 0, 0), ("r", 1, 1), ("r", 2, 2), ("q", 0, 3), ("q", 1, 4), ("q", 2, 4)
    assert kept == [(id_, sample, f"The answer is {said}.") for id_, sample, said in fell]
    # One more of each question is one more call each; a sample that failed is asked again as itself.
    path = tmp_path / "t" / "responses.jsonl"
    rows = responses(tmp_path)
    rows[1] = {"id": "r", "model": "a", "sample": 1, "error": {"kind": "timeout"}}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    upstream.bodies.clear()
    assert run(RecordSettings(config=config, repeat=4, temperature=1.0, **changes), tmp_path).asked == 3
    assert [(body.get("seed"), body["temperature"]) for body in upstream.bodies] == [(41, 0.9), (43, 0.9), (None, 1.0)]
    assert sorted((row["id"], row["sample"]) for row in responses(tmp_path) if "error" not in row) == [
        (id_, n) for id_ in "qr" for n in range(4)
    ]


def test_the_ceiling_holds_over_samples(upstream: Any, says: Any, panels: Any, tmp_path: Path) -> None:
    upstream.script = {"a": says("2")}
    plan = plan_of(panels, "a", repeat=5, max_cost_usd=0.00085, max_tokens=100)
    report = run(plan, tmp_path)
    assert report.stopped
    assert report.cost_usd <= 0.00085
    assert 4 <= report.asked == len(upstream.bodies) < 30


def test_two_temperatures_of_a_member_are_refused(upstream: Any, says: Any, panels: Any, tmp_path: Path) -> None:
    upstream.script = {"a": says("2")}
    config = panels("{x: {members: [{model: a, temperature: 0.2}]}, y: {members: [{model: a, temperature: 1}]}}")
    with pytest.raises(EmergeError, match=r"ensembles ask a at the temperatures 0\.2 and 1: choose one by"):
        run(RecordSettings(config=config, models=("a",), questions=QUESTIONS), tmp_path)
    assert run(RecordSettings(config=config, models=("a",), questions=QUESTIONS, temperature=0.5), tmp_path).asked == 6
    assert upstream.bodies[0]["temperature"] == 0.5
