"""What is told of prose, where no answers can be compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from emerge_core.cli import main
from emerge_core.evals.diversity.wording import Likeness, likeness
from emerge_core.evals.offline.arrays import read_answers
from emerge_core.evals.recordings.recording import Recordings

Write = Callable[[Path, Sequence[Any]], None]

RIVERS = (
    "A river begins as rain that gathers in the hills and runs down through wide valleys towards the distant sea {n}."
)
NEARLY = (
    "A river begins as rain that gathers in the hills and runs down through wide valleys towards the far-off sea {n}."
)
OTHER = (
    "Bread wants patience: knead flour and water, let the dough rest overnight, then bake it very hot for an hour {n}."
)


@pytest.fixture
def prose(tmp_path: Path, write_rows: Write) -> Path:
    """ann and bob write nearly the same, cyd of other things, dan refuses every second time."""
    numbers = range(12)
    write_rows(
        tmp_path / "essays" / "questions.jsonl",
        [{"id": f"q{n}", "question": f"Tell me at length about theme {n}, with some thought."} for n in numbers],
    )
    said = {"ann": RIVERS, "bob": NEARLY, "cyd": OTHER, "dan": RIVERS}
    rows = []
    for n in numbers:
        for name, text in said.items():
            text = "I'm sorry, but I can't help with that." if name == "dan" and n % 2 else text.format(n=n)
            rows.append({"id": f"q{n}", "model": name, "response_text": text * (1 if "sorry" in text else 3)})
    write_rows(tmp_path / "essays" / "responses.jsonl", rows)
    return tmp_path


def test_who_writes_like_whom(prose: Path) -> None:
    found = likeness(read_answers(Recordings(prose), "essays", gold=False))
    pairs = {frozenset((pair.a, pair.b)): pair for pair in found.pairs}
    near, far = pairs[frozenset(("ann", "bob"))], pairs[frozenset(("ann", "cyd"))]
    assert near.similarity.value > 0.8 > 0.3 > far.similarity.value
    assert near.similarity.low <= near.similarity.value <= near.similarity.high
    assert pairs[frozenset(("ann", "dan"))].similarity.value == pytest.approx(1.0)  # where both wrote something
    assert "cyd" in (found.pairs[0].a, found.pairs[0].b)
    assert dict(zip(found.models, found.usable, strict=True)) == {"ann": 1.0, "bob": 1.0, "cyd": 1.0, "dan": 0.5}
    middle = dict(zip(found.models, found.middle, strict=True))
    assert middle["cyd"] == 0
    assert sum(found.middle) == pytest.approx(1.0)


def test_the_command_says_what_is_possible(prose: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    arguments = ["diversity", "--recordings", str(prose), "--task", "essays"]
    assert main([*arguments, "--limit", "5", "--json", str(out)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "essays: 5 questions: which models write alike" in said
    assert "this does not show which model is right" in said
    found = json.loads(out.read_text())
    assert found.keys() == set(Likeness.__dataclass_fields__)
    assert len(found["pairs"]) == 6
    assert main([*arguments, "--html", str(tmp_path / "report.html")]) == 2
    assert "states answers" in capsys.readouterr().err.replace("state answers", "states answers")
    assert main([*arguments, "--models", "ann"]) == 2
