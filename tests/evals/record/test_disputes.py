"""Adjudications of a recording's disputed questions: recorded, replayed, compared."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from emerge_core.cli import main
from emerge_core.evals.recordings.recording import Recordings
from emerge_core.evals.replay.server import replay_app
from emerge_core.strategies.adjudication import adjudication
from emerge_core.types import AnswerKey, Call, Candidate, ChatRequest, Completion, Member
from tests.support.adjudicator import Adjudicator, adjudicator, config_of
from tests.support.simulated_recording import write_recording

MEMBERS = ("amber", "birch", "cedar")


@pytest.fixture
def judge() -> Iterator[Adjudicator]:
    with adjudicator() as running:
        yield running


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return write_recording(tmp_path, questions=30)


def arguments(recording: Path, config: dict[str, Any], task: str = "sums") -> list[str]:
    (recording / "config.json").write_text(json.dumps(config))
    return ["record", "--disputes", "--config", str(recording / "config.json"), "--out", str(recording), "--task", task]


def rows(recording: Path, task: str = "sums") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (recording / task / "responses.jsonl").read_text().splitlines()]


def disputed(recording: Path) -> dict[str, list[str]]:
    """By question, the distinct replies of the panel, if it disagrees."""
    said: dict[str, dict[str, str]] = {}
    for row in rows(recording):
        if row["model"] in MEMBERS and not row.get("role"):
            number = re.findall(r"\d+", row["response_text"])[-1]
            said.setdefault(row["id"], {}).setdefault(number, row["response_text"])
    return {id_: sorted(texts.values()) for id_, texts in said.items() if len(texts) > 1}


def test_asks_exactly_the_disputed_questions_and_resumes(
    recording: Path, judge: Adjudicator, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(judge.url)
    del config["ensembles"]["settled"]
    expected = disputed(recording)
    assert 5 < len(expected) < 30
    command = arguments(recording, config)
    assert main([*command, "--max-cost", "0.006", "--max-tokens", "100"]) == 0
    printed = capsys.readouterr().out
    assert f"adjudicated: 30 questions, {len(expected)} disputed" in printed
    assert f"0 adjudications there, {len(expected)} calls to make (titan {len(expected)})" in printed
    assert "stopped at the cost ceiling" in printed
    assert 0 < len(judge.bodies) < len(expected)
    assert main(command) == 0
    assert "next: emerge tune" in capsys.readouterr().out
    assert len(judge.bodies) == len(expected)
    assert main(command) == 0
    assert "0 calls to make" in capsys.readouterr().out
    assert len(judge.bodies) == len(expected)
    written = {row["id"]: row for row in rows(recording) if row.get("role")}
    assert {id_: row["candidates"] for id_, row in written.items()} == expected
    assert {(row["role"], row["model"]) for row in written.values()} == {("adjudication", "titan")}
    assert all(row["usage"] == {"input_tokens": 300, "output_tokens": 20} for row in written.values())
    body = json.dumps(judge.bodies[0])
    assert not any(f'"{name}"' in body.replace('"model": "titan"', "") for name in (*MEMBERS, "titan"))


def test_a_later_step_is_asked_about_the_verdicts(
    recording: Path, judge: Adjudicator, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(judge.url)
    del config["ensembles"]["adjudicated"]
    expected = len(disputed(recording))
    assert main(arguments(recording, config)) == 0
    printed = capsys.readouterr().out
    assert f"{3 * expected} calls to make (amber {expected}, birch {expected}, cedar {expected})" in printed
    assert f"at most {expected} calls of later steps" in printed
    asked = Counter(body["model"] for body in judge.bodies)
    assert asked["amber"] == asked["birch"] == asked["cedar"] == expected
    verdicts: dict[str, set[str]] = {}
    for row in rows(recording):
        if row.get("role") and row["model"] != "titan":
            verdicts.setdefault(row["id"], set()).add(re.findall(r"\d+", row["response_text"])[-1])
    undecided = {id_ for id_, answers in verdicts.items() if len(answers) > 1}
    assert {row["id"] for row in rows(recording) if row.get("role") and row["model"] == "titan"} == undecided
    assert 0 < len(undecided) < expected


def test_what_cannot_be_done_is_an_error(recording: Path, judge: Adjudicator) -> None:
    config = config_of(judge.url)
    config["ensembles"] = {"vote": {"members": ["amber", "birch"]}}
    assert main(arguments(recording, config)) == 2
    config = config_of(judge.url)
    assert main([*arguments(recording, config), "--models", "nobody"]) == 2
    config["models"]["amber"]["model"] = "unheard"
    assert main(arguments(recording, config)) == 2
    config = config_of(judge.url)
    del config["models"]["titan"]["price"]
    assert main([*arguments(recording, config), "--max-cost", "1"]) == 2
    assert not judge.bodies


def test_a_model_that_fails_is_named(recording: Path, judge: Adjudicator, capsys: pytest.CaptureFixture[str]) -> None:
    judge.fails = {"birch"}
    assert main(arguments(recording, config_of(judge.url))) == 1
    assert "birch: given up: 8 failures in a row" in capsys.readouterr().err
    failed = [row for row in rows(recording) if row.get("error")]
    assert {row["role"] for row in failed} == {"adjudication"}


def texts_of(answers: list[str]) -> ChatRequest:
    """The request of an adjudicator that is shown these texts to the first question."""
    candidates = [
        Candidate(
            call=Call(
                id=str(place), role="member", model="m", provider="p", status="ok", completion=Completion(text=text)
            ),
            member=Member(model="m", position=place),
            key=AnswerKey("text", text),
        )
        for place, text in enumerate(answers)
    ]
    return adjudication(candidates, ChatRequest(messages=({"role": "user", "content": "QUESTION"},)))


def test_replay_answers_the_same_texts_in_any_order_and_nothing_else(
    recording: Path, judge: Adjudicator, server: Any
) -> None:
    assert main([*arguments(recording, config_of(judge.url)), "--models", "titan"]) == 0
    row = next(row for row in rows(recording) if row.get("role"))
    question = Recordings(recording).questions("sums")[row["id"]].text
    first, second = row["candidates"][:2]
    with server(replay_app(Recordings(recording), "sums", speed=0)) as url, httpx.Client() as client:

        def ask(answers: list[str], model: str = "titan", path: str = "/v1/chat/completions") -> httpx.Response:
            messages = [dict(message) for message in texts_of(answers).messages]
            messages[0]["content"] = question
            if path == "/v1/messages":  # turns alternate there: one message holds the question and the dispute
                messages = [{"role": "user", "content": "\n\n".join(str(m["content"]) for m in messages)}]
            return client.post(url + path, json={"model": model, "messages": messages, "max_tokens": 99})

        replies = [ask(list(order)) for order in (row["candidates"], row["candidates"][::-1]) for _ in range(2)]
        assert [r.json()["choices"][0]["message"]["content"] for r in replies] == [row["response_text"]] * 4
        said = ask(row["candidates"], path="/v1/messages").json()
        assert said["content"][0]["text"] == row["response_text"]
        assert ask([first + "!", *row["candidates"][1:]]).status_code == 404
        assert ask([first, second, "another"]).status_code == 404
        assert ask([first]).status_code == 404
        assert ask(row["candidates"], model="amber").status_code == 404
