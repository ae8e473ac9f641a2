"""Files of an operator: configs and recordings; and which recorded question is asked."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from hypothesis import strategies as st

from emerge_core.config import parse_config
from emerge_core.errors import ConfigError, EmergeError
from emerge_core.evals.recordings.recording import Recordings
from emerge_core.evals.recordings.rows import Question
from emerge_core.evals.replay.matching import AmbiguousError, Matcher, NoMatchError
from tests.fuzz.families import QUESTIONS
from tests.fuzz.inputs import changed, fuzzed, nested, texts

CONFIG = yaml.safe_load("""
providers:
  openai: {kind: openai, api_key: "env:OPENAI_API_KEY", base_url: "https://api.openai.com/v1", headers: {x: y}}
  sim: {kind: simulated}
models:
  a: {provider: sim, model: sim-a}
  b: {provider: openai, model: gpt-4o-mini, price: {input: 0.1, output: 0.2}}
ensembles:
  emerge: {members: [a, b], aggregator: vote, max_calls: 5}
  one: {members: [{model: a}, b], aggregator: {name: judge, judge: b}}
default: emerge
trace: full
""")
PRINTED = yaml.safe_dump(CONFIG)


@fuzzed(200, document=changed(st.just(CONFIG)))
def test_changed_configs(document: Any) -> None:
    with suppress(yaml.YAMLError):
        text = yaml.safe_dump(document, allow_unicode=True)
        with suppress(ConfigError):
            parse_config(text, source="fuzz")


@fuzzed(
    250,
    text=st.one_of(
        texts,
        nested,
        st.tuples(st.integers(0, len(PRINTED)), texts).map(lambda cut: PRINTED[: cut[0]] + cut[1] + PRINTED[cut[0] :]),
        st.lists(
            st.sampled_from(["a: ", "&x ", "*x", "- ", "\n", "  ", "<<: ", "{", "}", "? ", "!!int ", "1", "!!set"])
        ).map("".join),
    ),
)
def test_config_texts(text: str) -> None:
    with suppress(ConfigError):
        parse_config(text, source="fuzz")


QUESTION_ROW = {"id": "1", "question": "2 + 2?", "choices": ["3", "4"], "answers": ["B"], "tolerance": "1%"}
REQUEST_ROW = {"id": "2", "request": {"messages": [{"role": "user", "content": "3 + 3?"}]}, "answers": ["6"]}
REPLY_ROW = {
    **{"id": "1", "model": "m", "response_text": "B", "completion_tokens": 3, "correct": True, "sample": 0},
    **{"confidence": 0.9, "finish_reason": "stop", "usage": {"prompt_tokens": 3}, "latency_ms": 9, "refusal": None},
    "tool_calls": [{"id": "c", "name": "look", "arguments": "{}"}],
    "logprobs": [["B", -0.1]],
}
LETTER_ROW = {"id": "1", "model": "m", "extracted_answer": "B", "completion_tokens": 3}
MODELS = {"models": [{"model": "m", "tier": "x", "price": {"input": 1, "output": 2}, "family": "f"}]}
RECORDED: list[Any] = [[QUESTION_ROW, REQUEST_ROW], [REPLY_ROW], [LETTER_ROW], MODELS]


def read_all(directory: Path) -> None:
    """Each reading on its own: what one refuses must not hide the next."""
    found = Recordings(directory)

    def replies(task: str) -> Any:
        return found.replies(task, ["1", "2"])

    readings: list[Callable[[str], Any]] = [
        *(found.questions, found.golds, replies, found.samples),
        lambda task: list(found.verdicts(task)),
        lambda task: Matcher(found.questions(task).values()),
        lambda task: [reply.completion() for of in replies(task).values() for reply in of.values()],
    ]
    with suppress(EmergeError):
        found.models()
    for task in found.tasks:
        for reading in readings:
            with suppress(EmergeError):
                reading(task)


def write(directory: Path, parts: list[bytes]) -> None:
    folder = directory / "t"
    folder.mkdir()
    for name, part in zip(["questions", "responses", "letters"], parts, strict=False):
        (folder / f"{name}.jsonl").write_bytes(part)
    (directory / "models.json").write_bytes(parts[3])


def printed(document: Any) -> list[bytes]:
    *tables, models = document
    made = [b"\n".join(json.dumps(row).encode() for row in rows) if isinstance(rows, list) else b"" for rows in tables]
    return [*(made + [b""] * 3)[:3], json.dumps(models).encode()]


@fuzzed(150, document=changed(st.just(RECORDED)).filter(lambda made: isinstance(made, list) and made))
def test_changed_recordings(document: Any) -> None:
    with TemporaryDirectory() as place:
        write(Path(place), printed(document))
        read_all(Path(place))


@fuzzed(
    150, which=st.integers(0, 3), junk=st.one_of(st.binary(max_size=80), nested.map(str.encode), st.just(b"1" * 5000))
)
def test_junk_in_recordings(which: int, junk: bytes) -> None:
    parts = printed(RECORDED)
    parts[which] += b"\n" + junk if which < 3 else junk
    if which == 3 and junk.startswith(b"["):
        parts[3] = junk
    with TemporaryDirectory() as place:
        write(Path(place), parts)
        read_all(Path(place))


@fuzzed(100, cut=st.integers(0, 200), junk=st.binary(max_size=9))
def test_cut_archives(cut: int, junk: bytes) -> None:
    packed = gzip.compress(printed(RECORDED)[0], mtime=0)
    with TemporaryDirectory() as place:
        write(Path(place), printed(RECORDED))
        (Path(place) / "t" / "questions.jsonl.gz").write_bytes(packed[:cut] + junk)
        read_all(Path(place))


def test_what_is_changed_was_valid(tmp_path: Path) -> None:
    parse_config(PRINTED, source="fuzz")
    write(tmp_path, printed(RECORDED))
    found = Recordings(tmp_path)
    assert len(found.questions("t")) == 2 and len(found.models()) == 1
    assert found.replies("t", ["1"])["m"]["1"].completion().text == "B"
    assert found.replies("t_letters", ["1"])["m"]["1"].text == "The answer is (B)."


MATCHER = Matcher([Question(str(n), text) for n, text in enumerate([*QUESTIONS.values(), "a", "1 1 1 1", "x x"])])


@fuzzed(300, before=texts, question=st.sampled_from(["", *QUESTIONS.values()]), after=texts, system=st.none() | texts)
def test_matching(before: str, question: str, after: str, system: str | None) -> None:
    asked = [{"role": "user", "content": f"{before}{question}{after}"}]
    with suppress(NoMatchError, AmbiguousError):
        MATCHER.find([*([{"role": "system", "content": system}] if system is not None else []), *asked])
