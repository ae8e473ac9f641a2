"""A config with routes on several tasks: client → proxy → providers → one replay server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from emerge_core.config import parse_config
from emerge_core.errors import EmergeError
from emerge_core.evals.compare.measure import CompareSettings, compare
from emerge_core.evals.compare.measure_mix import compare_tasks
from emerge_core.evals.compare.mix import MixComparison, mix_table
from emerge_core.evals.recordings.mix_weights import mix_weights

PROVIDERS = """
providers:
  openai: {kind: openai, api_key: env:ABSENT}
  anthropic: {kind: anthropic, api_key: env:ABSENT}
models:
  amber: {provider: openai, model: amber}
  birch: {provider: openai, model: birch}
  cedar: {provider: anthropic, model: cedar}
  titan: {provider: openai, model: titan}
"""
CONFIG = (
    PROVIDERS
    + """
ensembles:
  any: {routes: {tools: panel, json: panel, choices: asking, short: panel, open_ended: chat}}
  panel: {members: [amber, birch, cedar], aggregator: vote}
  asking: {members: [amber, birch, cedar], aggregator: vote, escalate: {to: titan, below_agreement: 0.5}}
  chat: {members: [amber, birch], strategy: fallback}
  merged: {members: [amber, birch], aggregator: {name: merge, merger: titan}}
"""
)
TASKS = ("sums", "picks", "calls", "essays")


def quiet(name: str, count: int) -> Callable[[], object]:
    return lambda: None


def settings(recordings: Path, config: str, **options: Any) -> CompareSettings:
    return CompareSettings(config=parse_config(config, source="test"), recordings=recordings, **options)


def run(recordings: Path, config: str, *tasks: str, mix: str | None = None, **options: Any) -> MixComparison:
    return asyncio.run(compare_tasks(settings(recordings, config, **options), tasks, quiet, mix=mix))


@pytest.fixture(scope="module")
def found(simulated: Path) -> MixComparison:
    return run(simulated, CONFIG, *TASKS, limit=6)


def test_each_task_is_answered_by_the_ensemble_of_its_form(found: MixComparison) -> None:
    out = found.as_json()
    assert set(out) == {"tasks", "mix"}
    assert {task: (each["form"], each["ensemble"]) for task, each in out["tasks"].items()} == {
        "sums": ("short", "panel"),
        "picks": ("choices", "asking"),
        "calls": ("tools", "panel"),
        "essays": ("open_ended", "chat"),
    }
    for task, each in out["tasks"].items():
        routes, own = each["ensembles"]["any"], each["ensembles"][each["ensemble"]]
        assert each["questions"] == 6, task
        assert routes["accuracy"] == own["accuracy"], task
        assert routes["cost_per_1000"] == own["cost_per_1000"], task
        assert each["vs_own"]["diff"] == 0, task
        assert each["misrouted"] == 0, task
        assert each["ensembles"]["merged"]["accuracy"] is None, task
        assert set(each["models"]) == {"amber", "birch", "cedar", "titan"}, task
    assert out["tasks"]["essays"]["graded"]
    assert out["tasks"]["picks"]["against"] == "titan"
    rows = list(found.rows())
    forms = {(row["task"], row["route"]) for row in rows if row["config"] == "any"}
    assert forms == {("sums", "short"), ("picks", "choices"), ("calls", "tools"), ("essays", "open_ended")}
    assert {row["id"].split("-")[0] for row in rows} == set(TASKS)


def test_a_task_of_the_mix_gives_what_it_gives_alone(simulated: Path, found: MixComparison) -> None:
    together = found.tasks["picks"].comparison
    alone = asyncio.run(compare(settings(simulated, CONFIG, task="picks", limit=6), quiet))
    for name in ("any", "panel", "asking"):
        theirs, ours = alone.ensembles[name] or (), together.ensembles[name] or ()
        assert [(o.score, o.calls, o.selected) for o in ours] == [(o.score, o.calls, o.selected) for o in theirs]


def test_the_mix_is_weighted(found: MixComparison) -> None:
    two = replace(
        found,
        tasks={task: found.tasks[task] for task in ("sums", "essays")},
        weights={"sums": 0.75, "essays": 0.25},
    )
    out = two.as_json()
    sums, essays = (out["tasks"][task]["ensembles"]["any"] for task in ("sums", "essays"))
    mix = out["mix"]
    assert mix["weights"] == {"sums": 0.75, "essays": 0.25}
    for figure in ("accuracy", "cost_per_1000", "calls_per_question"):
        assert mix[figure] == pytest.approx(0.75 * sums[figure] + 0.25 * essays[figure], abs=1e-5)
    assert mix["calls_per_question"] == pytest.approx(0.75 * 3 + 0.25 * 1)
    assert mix["ci95"][0] < mix["accuracy"] < mix["ci95"][1]
    assert mix["against"]["models"] == {"sums": "titan", "essays": "titan"}
    assert mix["configs"]["any"]["accuracy"] == mix["accuracy"]
    assert "merged" not in mix["configs"]


def test_the_table_says_it_for_people(found: MixComparison, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    table = mix_table(found)
    lines = [line.split() for line in table.splitlines()]
    assert table.startswith("any: 24 questions of 4 tasks, in one shuffled order, early decision off")
    assert ["sums", "short", "(100.0", "%)", "panel", "6", "0", "0", "(0.0", "%)", "25.0"] in lines
    assert any(line[:1] == ["mix"] for line in lines)
    assert ["merged", "–", "–", "–", "–", "–"] not in lines  # nothing of it was measured
    assert "graded, so that the accuracy is a mean score: essays" in table


def test_the_weights_can_be_the_forms_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "proxy.log"
    forms = ["short", "short", "short", "open_ended", "json", None]
    lines = [json.dumps({"event": "request", "request_id": n, "route": form}) for n, form in enumerate(forms)]
    log.write_text("\n".join([*lines, lines[0]]))
    counts = {"sums": 4, "facts": 8, "essays": 4}
    forms_of = {"sums": "short", "facts": "short", "essays": "open_ended"}
    assert mix_weights(str(log), counts, forms_of) == {"sums": 0.25, "facts": 0.5, "essays": 0.25}
    with pytest.raises(EmergeError, match="none of its requests has a form of the tasks; its forms are: json, open"):
        mix_weights(str(log), {"calls": 1}, {"calls": "tools"})
    log.write_text(lines[-1])
    with pytest.raises(EmergeError, match="routes served none of the logged requests"):
        mix_weights(str(log), counts, forms_of)


def test_misrouted_questions_are_counted_and_left_out(own_recordings: Path) -> None:
    """Of each task one question reads like prose. The model that writes prose answered those of `diary` alone."""
    asked = {"What is {} times 5?": "20", "What is {} minus 3?": "1", "Tell me a story of {} keepers.": "20"}
    for task, number in (("notes", 4), ("diary", 7)):
        questions = [
            {"id": f"n{n}", "question": text.format(number), "answers": [gold], "answer_format": "number"}
            for n, (text, gold) in enumerate(asked.items())
        ]
        models = ("alpha", "beta", *(["gamma"] if task == "diary" else []))
        rows = [
            {"id": f"n{n}", "model": model, "response_text": "The answer is 20."} for n in range(3) for model in models
        ]
        folder = own_recordings / task
        folder.mkdir()
        (folder / "questions.jsonl").write_text("\n".join(map(json.dumps, questions)))
        (folder / "responses.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = """
    providers: {openai: {kind: openai}}
    models:
      a: {provider: openai, model: alpha}
      b: {provider: openai, model: beta}
      writer: {provider: openai, model: gamma}
    ensembles:
      any: {routes: {short: pair, open_ended: writer}}
      pair: {members: [a, b], aggregator: vote}
    """
    out = run(own_recordings, config, "notes", "diary").as_json()
    notes, diary = out["tasks"]["notes"], out["tasks"]["diary"]
    assert notes["forms"] == diary["forms"] == {"short": 2, "open_ended": 1}
    assert (notes["questions"], notes["misrouted_questions"]) == (2, 1)
    assert notes["misrouted"] == pytest.approx(1 / 3, abs=1e-6)
    assert notes["ensembles"]["any"]["accuracy"] == 0.5
    assert set(notes["models"]) == {"a", "b"}
    assert (diary["questions"], diary["misrouted"]) == (3, 0)  # the writer answers the one, and it counts
    assert diary["ensembles"]["any"]["calls_per_question"] == pytest.approx(5 / 3, abs=1e-6)
    assert out["mix"]["misrouted"] == pytest.approx(2 / 5 / 3, abs=1e-6)


def test_a_question_that_two_tasks_ask_is_left_out(own_recordings: Path) -> None:
    again = own_recordings / "again"
    again.mkdir()
    for file in ("questions.jsonl.gz", "responses.jsonl.gz"):
        (again / file).write_bytes((own_recordings / "sums" / file).read_bytes())
    config = PROVIDERS.replace("model: amber", "model: alpha").split("  birch")[0]
    config += "ensembles:\n  any: {routes: {short: amber}}\n"
    with pytest.raises(EmergeError, match="no question of sums was answered by every model that serves it"):
        run(own_recordings, config, "sums", "again")


def test_what_cannot_be_measured_is_said(simulated: Path) -> None:
    plain = PROVIDERS + "ensembles:\n  panel: {members: [amber, birch]}\n"
    with pytest.raises(EmergeError, match="several tasks need a config with routes"):
        run(simulated, plain, "sums", "picks")
    with pytest.raises(EmergeError, match="no task 'sum'"):
        run(simulated, CONFIG, "sum", "picks")
    with pytest.raises(EmergeError, match=r"no answers of titan \(omega\) are recorded in sums, picks"):
        run(simulated, CONFIG.replace("model: titan", "model: omega"), "sums", "picks")
    for mix, why in (
        ("sums=1", "no weight for picks"),
        ("sums=1,picks=-1", "a weight is a number from 0"),
        ("sums=1,picks=1,facts=1", "'facts' is none of the tasks"),
        ("sums=0,picks=0", "some weight must be more than 0"),
        ("absent.log", "cannot be read"),
    ):
        with pytest.raises(EmergeError, match=why):
            run(simulated, CONFIG, "sums", "picks", mix=mix, limit=1)
