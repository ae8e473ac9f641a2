"""The page and its plots, from recordings whose texts are not to be trusted."""

from __future__ import annotations

import json
import re
import struct
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emerge_core.cli import main
from emerge_core.evals.offline.arrays import read_answers
from emerge_core.evals.recordings.recording import Recordings
from emerge_core.evals.report.figures import gather
from emerge_core.evals.report.page import scored_page

EVIL = '<script>alert("&")</script><img src=x onerror=alert(1)>'


class Tags(HTMLParser):
    """What a browser would make of the page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    return tags


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four models, one of whose names is markup, on 60 questions; on the first all fail alike."""
    draw = np.random.default_rng(2)
    names = {"alpha": 0.8, "beta": 0.7, "gamma": 0.65, EVIL: 0.5}
    questions = [{"id": f"q{n}", "question": f"{EVIL} What is {n} + {n}?"} for n in range(60)]
    rows = []
    for name, accuracy in names.items():
        for n in range(60):
            right = draw.random() < accuracy and n > 0
            said = 2 * n if right else 1000 if n == 0 else int(draw.integers(1001, 1009))
            tokens = [["The answer is ", 0.0], [str(said), -float(draw.random())], [".", 0.0]]
            row = {"id": f"q{n}", "model": name, "response_text": f"The answer is {said}.", "logprobs": tokens}
            rows.append({**row, "completion_tokens": 20, "usage": {"input_tokens": 10}})
    known = [
        {
            "model": name,
            "family": "one" if name in ("alpha", "beta") else name,
            "price": {"input": 1, "output": number + 1},
        }
        for number, name in enumerate(names)
    ]
    folder = tmp_path / "rec" / "own"
    folder.mkdir(parents=True)
    (tmp_path / "rec" / "models.json").write_text(json.dumps({"models": known}))
    (folder / "questions.jsonl").write_text("\n".join(map(json.dumps, questions)))
    (folder / "responses.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path / "rec"


def with_gold(root: Path) -> None:
    path = root / "own" / "questions.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows = [{**row, "answers": [str(2 * n)], "answer_format": "number"} for n, row in enumerate(rows)]
    path.write_text("\n".join(map(json.dumps, rows)))


def report(root: Path, tmp_path: Path, *more: str) -> str:
    out = tmp_path / "report.html"
    arguments = [
        "diversity",
        "--recordings",
        str(root),
        "--task",
        "own",
        "--html",
        str(out),
        "--png",
        str(tmp_path / "png"),
    ]
    assert main([*arguments, *more]) == 0
    return out.read_text("utf-8")


def pictures(page: str) -> list[bytes]:
    return [b64decode(each) for each in re.findall(r'src="data:image/png;base64,([^"]+)"', page)]


def is_png(raw: bytes) -> bool:
    width, height = struct.unpack(">II", raw[16:24])
    return raw.startswith(b"\x89PNG\r\n\x1a\n") and width > 400 and height > 200


def test_a_scored_task_has_a_page_that_stands_alone(root: Path, tmp_path: Path) -> None:
    with_gold(root)
    page = report(root, tmp_path)
    tags = read(page)
    assert {tag for tag, _ in tags.found} & {"script", "link", "iframe", "object"} == set()
    assert all(
        (attributes.get("src") or "").startswith("data:image/png") for tag, attributes in tags.found if tag == "img"
    )
    assert not any(name.startswith("on") for _, attributes in tags.found for name in attributes)
    assert "http:" not in page and "https:" not in page
    text = "".join(tags.words)
    assert EVIL in text  # as words, which is how a reader should see them
    for title in (
        "Who fails on the same questions",
        "What accuracy costs",
        "When a vote helps",
        "confidence can be believed",
    ):
        assert title in text
    assert "Best single model: alpha" in text
    assert len(pictures(page)) == 4 and all(map(is_png, pictures(page)))
    assert {path.stem for path in (tmp_path / "png").iterdir()} == {"errors", "cost", "gain", "calibration"}


def test_an_unlabelled_task_has_one_too(root: Path, tmp_path: Path) -> None:
    page = report(root, tmp_path)
    text = "".join(read(page).words)
    assert "60 questions without gold answers" in text
    assert "These are estimates, not measurements" in text
    assert "Label these first" in text and EVIL in text
    assert "<script" not in page
    assert len(pictures(page)) == 2 and all(map(is_png, pictures(page)))


def test_withheld_gold_is_shown_beside_the_estimate(root: Path, tmp_path: Path) -> None:
    with_gold(root)
    assert "truly right" in report(root, tmp_path, "--no-gold", "--limit", "50")


def test_the_figures_are_those_of_the_recording(root: Path) -> None:
    with_gold(root)
    answers = read_answers(Recordings(root), "own")
    found = gather(answers)
    by_name = {spot.name: spot for spot in found.models}
    assert by_name["beta"].accuracy.value == answers.right[answers.index("beta")].mean()
    assert by_name["beta"].cost == pytest.approx((10 * 1 + 20 * 2) / 1000)
    assert found.shared_failures >= 1
    assert found.examples[0].question == "q0" and found.examples[0].together == 4
    assert len(found.trios) == 4
    costs = [spot.cost for spot in found.best_for_cost]
    values = [spot.accuracy.value for spot in found.best_for_cost]
    assert costs == sorted(costs) and values == sorted(values)
    curve = found.curves[0]
    assert list(curve.confidence) == sorted(curve.confidence)


@pytest.mark.parametrize(("hidden", "voters"), [(0, "all"), (3, "these 4")])
def test_it_says_whose_vote_it_shows(root: Path, hidden: int, voters: str) -> None:
    with_gold(root)
    contents = replace(gather(read_answers(Recordings(root), "own")), hidden=hidden)
    text = "".join(read(scored_page(contents, {}, {})).words)
    assert f"The vote of {voters} reaches" in text
    assert f"adds to the vote of {voters}" in text
    assert ("least accurate models are left out" in text) == bool(hidden)


def test_without_prices_or_confidence_there_are_fewer_plots(root: Path, tmp_path: Path) -> None:
    with_gold(root)
    (root / "models.json").unlink()
    path = root / "own" / "responses.jsonl"
    rows: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("\n".join(json.dumps({k: v for k, v in row.items() if k != "logprobs"}) for row in rows))
    page = report(root, tmp_path)
    assert "What accuracy costs" not in page and "confidence can be believed" not in page
    assert len(pictures(page)) == 2
