"""What a serving emerge logged, as a recording that replays and compares."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emerge_core.config import Config
from emerge_core.engine.engine import Engine
from emerge_core.errors import EmergeError
from emerge_core.evals.compare.measure import CompareSettings, compare
from emerge_core.evals.record.journal import Journal
from emerge_core.evals.record.models import model_rows
from emerge_core.evals.record.traces import Found, keep_traces
from emerge_core.evals.recordings.recording import Recordings
from emerge_core.telemetry.lines import JsonFormatter
from emerge_core.types import ChatRequest

PANEL = "{all: {members: [a, b, c], aggregator: vote, early_decision: false}}"
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}


def asking(text: str, **more: Any) -> ChatRequest:
    messages = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": text})
    return ChatRequest(messages=messages, **more)


@pytest.fixture
def serve(upstream: Any, says: Any, panels: Any) -> Callable[..., tuple[Config, list[str]]]:
    """Runs requests through an engine; the config and the lines that it logged."""

    def run(*requests: ChatRequest, ensembles: str = PANEL, **changes: Any) -> tuple[Config, list[str]]:
        config = panels(ensembles).model_copy(update={"trace": "full", "log_content": True, **changes})
        lines: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: lines.append(JsonFormatter().format(record))  # type: ignore[method-assign]
        log = logging.getLogger("emerge")
        log.addHandler(handler)
        before, log.level = log.level, logging.INFO
        try:
            asyncio.run(_all(config, requests))
        finally:
            log.removeHandler(handler)
            log.setLevel(before)
        return config, lines

    return run


async def _all(config: Config, requests: tuple[ChatRequest, ...]) -> None:
    engine = Engine(config)
    for request in requests:
        await engine.run(request, "all")
    await engine.aclose()


def keep(out: Path, config: Config, *paths: Path) -> Found:
    with Journal(out, "live") as journal:
        found = keep_traces(paths, config, journal)
        journal.add_models(model_rows(config, sorted(found.models)))
        return found


def quiet(name: str, count: int) -> Callable[[], object]:
    return lambda: None


def test_a_log_becomes_a_recording_that_compares(serve: Any, upstream: Any, says: Any, tmp_path: Path) -> None:
    upstream.script = {"a": says("The answer is 4."), "b": says("The answer is 5."), "c": says("The answer is 4.")}
    tools = asking("Add 2 and 2 with the tool.", tools=(TOOL,), temperature=0.1)
    config, lines = serve(asking("How many is 2 and 2?"), tools, asking("How many is 2 and 2?"))
    log = tmp_path / "emerge.log"
    log.write_text("some other line\n" + "\n".join(lines) + "\n")
    found = keep(tmp_path / "rec", config, log)
    assert (found.requests, found.answers, found.errors, found.cut, found.mute) == (3, 9, 0, 0, 0)
    source = Recordings(tmp_path / "rec")
    questions = source.questions("live")
    assert len(questions) == 2
    assert source.samples("live") == 2
    by_text = {question.text: question for question in questions.values()}
    asked = by_text["Add 2 and 2 with the tool."]
    assert asked.request == {"messages": list(tools.messages), "tools": [TOOL], "temperature": 0.1}
    reply = source.replies("live", questions)["a"][asked.id]
    assert (reply.text, reply.tokens) == ("The answer is 4.", 10)
    assert reply.details and reply.details.input_tokens == 100 and reply.details.latency_ms

    path = tmp_path / "rec" / "live" / "questions.jsonl"
    rows = [{**json.loads(line), "answers": ["4"], "answer_format": "number"} for line in path.read_text().splitlines()]
    path.write_text("\n".join(map(json.dumps, rows)))
    config = config.model_copy(update={"models": {name: config.models[name] for name in "abc"}})
    plan = CompareSettings(config=config, recordings=tmp_path / "rec", task="live")
    scored = asyncio.run(compare(plan, quiet)).as_json()
    assert {name: each["accuracy"] for name, each in scored["models"].items()} == {"a": 1.0, "b": 0.0, "c": 1.0}
    assert scored["ensembles"]["all"]["accuracy"] == 1.0
    assert scored["ensembles"]["all"]["cost_per_1000"] == pytest.approx(3 * 0.12)


def test_reading_a_log_again_adds_nothing(serve: Any, upstream: Any, says: Any, tmp_path: Path) -> None:
    upstream.script = {name: says("4") for name in "abc"}
    config, lines = serve(asking("2 and 2?"))
    log = tmp_path / "emerge.log"
    log.write_text("\n".join(lines))
    assert keep(tmp_path / "rec", config, log).answers == 3
    again = keep(tmp_path / "rec", config, log)
    assert (again.answers, again.known) == (0, 3)
    _, more = serve(asking("2 and 2?"))
    log.write_text("\n".join([*lines, *more]))
    assert keep(tmp_path / "rec", config, log).answers == 3
    assert Recordings(tmp_path / "rec").samples("live") == 2


def test_calls_that_failed_or_were_given_up(serve: Any, upstream: Any, says: Any, tmp_path: Path) -> None:
    upstream.script = {"a": says("4"), "b": says(status=400, error="no"), "c": says("4")}
    config, lines = serve(asking("2 and 2?"))
    upstream.script = {"a": says("5"), "b": says("5"), "c": says("5", delay=5)}
    _, more = serve(asking("2 and 3?"), ensembles=PANEL.replace("false", "true"))
    log = tmp_path / "emerge.log"
    log.write_text("\n".join([*lines, *more]))
    found = keep(tmp_path / "rec", config, log)
    assert (found.requests, found.answers, found.errors, found.cut) == (2, 4, 1, 1)
    row = next(row for row in _rows(tmp_path) if "error" in row)
    assert (row["model"], row["error"]) == ("b", {"kind": "invalid_request"})


def _rows(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "rec" / "live" / "responses.jsonl").read_text().splitlines()]


def test_forms_of_a_log(serve: Any, upstream: Any, says: Any, tmp_path: Path) -> None:
    upstream.script = {name: says("4") for name in "abc"}
    config, lines = serve(asking("2 and 2?"))
    powertools = [json.loads(line) for line in lines]
    powertools = [{"level": "INFO", "message": line.pop("event"), "service": "emerge", **line} for line in powertools]
    texts = [json.dumps(line) for line in powertools]
    forms = {
        "tail.log": "\n".join(f"2026-01-01T00:00:00.0Z 2026/01/01/[$LATEST]abc {text}" for text in texts),
        "filter.json": json.dumps({"events": [{"timestamp": 1, "message": text} for text in texts]}, indent=1),
        "insights.json": json.dumps([{"message": text} for text in texts]),
    }
    for name, text in forms.items():
        (tmp_path / name).write_text(text)
        assert keep(tmp_path / name.split(".")[0], config, tmp_path / name).answers == 3


def test_a_log_without_content_is_no_recording(serve: Any, upstream: Any, says: Any, tmp_path: Path) -> None:
    upstream.script = {name: says("4") for name in "abc"}
    config, lines = serve(asking("2 and 2?"), log_content=False)
    assert "2 and 2" not in "".join(lines)
    log = tmp_path / "emerge.log"
    log.write_text("\n".join(lines))
    with pytest.raises(EmergeError, match=r"1 requests were logged without their content; .* `log_content: true`"):
        keep(tmp_path / "rec", config, log)
    log.write_text("nothing")
    with pytest.raises(EmergeError, match="no request was logged"):
        keep(tmp_path / "rec", config, log)
