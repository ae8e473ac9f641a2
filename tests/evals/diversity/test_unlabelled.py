"""Reliability from agreement alone, where the truth is known: simulated, and recorded with the gold withheld."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emerge_core.cli import main
from emerge_core.errors import EmergeError
from emerge_core.evals.diversity.dawid_skene import DIFFICULTY_SD, Labels, reliabilities
from emerge_core.evals.diversity.unlabelled import MARGIN, accuracy_intervals, agreement, estimate, partition, refits
from emerge_core.evals.offline.arrays import NO_KEY, read_answers
from emerge_core.evals.recordings.recording import Recordings
from tests.support.paths import RECORDINGS

needs_recordings = pytest.mark.skipif(
    not RECORDINGS.is_dir(), reason=f"no recordings in {RECORDINGS} (EMERGE_RECORDINGS)"
)


def answering(accuracies: list[float], questions: int, wrong: int, *, hard: float = 0.0, seed: int = 0) -> Any:
    """(models, questions): 0 is right, 1 to `wrong` are not. `hard`: sd of the questions' difficulty in logits."""
    draw = np.random.default_rng(seed)
    difficulty = hard * draw.standard_normal(questions)
    skills = np.log(np.array(accuracies) / (1 - np.array(accuracies)))
    chance = 1 / (1 + np.exp(difficulty - skills[:, None]))
    right = draw.random(chance.shape) < chance
    return np.where(right, 0, draw.integers(1, wrong + 1, chance.shape)), right.mean(axis=1)


def test_recovers_what_was_simulated() -> None:
    codes, truth = answering([0.9, 0.8, 0.7, 0.6, 0.5], 1500, wrong=6, hard=DIFFICULTY_SD)
    fit = reliabilities(codes)
    assert np.abs(fit.right - truth).max() < 0.04
    assert fit.coincide == pytest.approx(1 / 6, abs=0.05)
    assert np.argsort(fit.right).tolist() == np.argsort(truth).tolist()
    assert np.allclose(fit.posterior.sum(axis=1), 1)


def test_the_posterior_knows_when_it_is_right() -> None:
    codes, _ = answering([0.8, 0.75, 0.7, 0.65], 2000, wrong=5, hard=DIFFICULTY_SD, seed=1)
    fit = reliabilities(codes)
    # answer 0 is the truth, where anybody gave it; of what is believed with about 0.8, about 0.8 is so
    believed, best = fit.posterior[:, :-1].max(axis=1), fit.posterior[:, :-1].argmax(axis=1)
    band = (believed > 0.7) & (believed < 0.9)
    assert band.sum() > 100
    assert np.mean(best[band] == 0) == pytest.approx(believed[band].mean(), abs=0.1)


def test_errors_that_are_shared_inflate_it() -> None:
    """The stated limit: two copies of one weak model and two others."""
    codes, truth = answering([0.55, 0.75, 0.75], 1500, wrong=6, seed=2)
    copied = np.concatenate([codes[:1], codes])
    fit = reliabilities(copied)
    assert fit.right[0] - truth[0] > 0.05
    assert fit.right[0] > fit.right[2] - 0.05


def test_agreement_counts_what_both_answer() -> None:
    codes = np.array([[0, 0, NO_KEY, 1], [0, 1, 0, NO_KEY], [NO_KEY] * 4])
    found = agreement(codes)
    assert found[0, 1] == 0.5
    assert np.isnan(found[0, 2])


def unlabelled(tmp_path: Path, said: dict[str, list[str]]) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    count = len(next(iter(said.values())))
    questions = [{"id": f"q{n}", "question": f"What is {n} + {n}?"} for n in range(count)]
    rows = [
        {"id": f"q{n}", "model": model, "response_text": text}
        for model, texts in said.items()
        for n, text in enumerate(texts)
    ]
    (folder / "questions.jsonl").write_text("\n".join(map(json.dumps, questions)))
    (folder / "responses.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def simulated(seed: int = 5) -> dict[str, list[str]]:
    codes, _ = answering([0.9, 0.8, 0.75, 0.5], 100, wrong=5, hard=DIFFICULTY_SD, seed=seed)
    return {
        name: [f"The answer is {code + 7 * n}." for n, code in enumerate(row)]
        for name, row in zip("abcd", codes, strict=True)
    }


def test_a_hundred_unlabelled_prompts_get_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = unlabelled(tmp_path, simulated())
    out = tmp_path / "out.json"
    assert main(["diversity", "--recordings", str(root), "--task", "own", "--json", str(out)]) == 0
    said = capsys.readouterr().out
    assert "own: 100 questions without gold answers" in said
    assert "a, b, c. Its vote is expected to be right on" in said
    assert "These are estimates, not measurements" in said
    found = json.loads(out.read_text())
    assert found["panel"] == ["a", "b", "c"]
    for low_high in found["accuracy"]:
        assert low_high["low"] < low_high["value"] < low_high["high"]
    assert len(found["to_label"]) == 10


def label(root: Path, count: int) -> None:
    path = root / "own" / "questions.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    labelled = [
        {**row, "answers": [str(7 * n)], "answer_format": "number"} if n < count else row for n, row in enumerate(rows)
    ]
    path.write_text("\n".join(map(json.dumps, labelled)))


def test_some_labels_are_measured_on_and_anchor_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out, page = unlabelled(tmp_path, simulated()), tmp_path / "out.json", tmp_path / "out.html"
    label(root, 40)
    arguments = ["diversity", "--recordings", str(root), "--task", "own", "--json", str(out), "--html", str(page)]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "own: 40 questions, 0 left out" in said
    assert "own: all 100 questions, of which 40 have gold answers" in said
    assert "The 40 labels moved the estimates by" in said
    found = json.loads(out.read_text())["all_questions"]
    assert (found["questions"], found["labelled"]) == (100, 40)
    assert not {f"q{n}" for n in range(40)} & set(found["to_label"])
    assert "40 of 100 have gold answers" in page.read_text()
    label(root, 100)
    assert main(arguments) == 0
    assert "all 100 questions" not in capsys.readouterr().out


def covered(labels: int, picked: bool, copies: int) -> tuple[float, float, float]:
    """Over eight simulated workloads: how often the interval holds the truth, its width, the mean error. Of
    `copies`, the first two models make the same errors, which the model does not know of."""
    held, width, error = [], [], []
    for seed in range(8):
        codes, _ = answering([0.85, 0.75, 0.7, 0.6], 100, wrong=4, hard=DIFFICULTY_SD, seed=seed)
        codes[3 : 3 + copies] = codes[0]
        right = codes == 0
        draw = np.random.default_rng(seed)
        order = np.argsort(-disputed(codes)) if picked else draw.permutation(100)
        known = np.isin(np.arange(100), order[:labels])
        draws = draw.multinomial(100, np.full(100, 0.01), size=25)
        fit, drawn = refits(codes, draws, Labels(known, right) if labels else None)
        found = np.array(accuracy_intervals(fit, drawn, MARGIN * (1 - known.mean())))
        truth = right.mean(axis=1)
        held.append((found[:, 1] <= truth) & (truth <= found[:, 2]))
        width.append(found[:, 2] - found[:, 1])
        error.append(np.abs(found[:, 0] - truth))
    return float(np.mean(held)), float(np.mean(width)), float(np.mean(error))


def disputed(codes: Any) -> Any:
    return np.array([len(set(column)) for column in codes.T])


@pytest.mark.parametrize("picked", [False, True], ids=["labels at random", "labels where models differ"])
def test_labels_narrow_the_intervals_and_keep_them_honest(picked: bool) -> None:
    held, width, error = zip(*(covered(labels, picked, 0) for labels in (0, 40)), strict=True)
    assert min(held) >= 0.93
    assert width[1] < width[0]
    assert error[1] < error[0]


def test_labels_correct_what_agreement_cannot_see() -> None:
    """Two models that err alike are believed; labels take away part of it, and the more the more there are."""
    unaided, aided = covered(0, False, 1), covered(40, False, 1)
    print("held, width, error:", unaided, aided)
    assert unaided[2] > 0.05
    assert aided[2] < 0.75 * unaided[2]
    assert aided[0] > unaided[0]


def test_where_all_is_labelled_the_estimate_is_the_measurement() -> None:
    codes, truth = answering([0.9, 0.7, 0.5], 80, wrong=3, seed=1)
    fit = reliabilities(codes, labels=Labels(np.ones(80, dtype=np.bool_), codes == 0))
    assert np.allclose(fit.right, truth)
    assert np.allclose(fit.posterior.max(axis=1), 1)


def test_few_questions_are_called_few(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = unlabelled(tmp_path, {**simulated(), "d": ["nothing in common"] * 100})
    page = tmp_path / "report.html"
    arguments = ["diversity", "--recordings", str(root), "--task", "own", "--html", str(page)]
    assert main([*arguments, "--limit", "1"]) == 0
    for said in (capsys.readouterr().out, page.read_text()):
        assert "1 question(s) are too few for an estimate" in said
        assert "-1" not in said.replace(str(tmp_path), "")
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "too few for an estimate" not in said
    assert f"report: {page}" in said


def test_what_cannot_be_estimated_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = simulated()
    prose = [
        f"Well, that rather depends on what one means by {n}; there are many ways to see it. " * 4 for n in range(100)
    ]
    root = unlabelled(tmp_path, {"a": said["a"], "b": said["b"], "talker": prose})
    assert main(["diversity", "--recordings", str(root), "--task", "own"]) == 0
    printed = capsys.readouterr().out
    assert "it takes 3 models whose replies state answers that can be compared, and there are 2" in printed
    assert "estimated right" not in printed


@needs_recordings
@pytest.mark.parametrize(("task", "within"), [("gsm8k", 0.03), ("crux", 0.07), ("mmlu_pro", 0.08)])
def test_withheld_gold_is_nearly_found(task: str, within: float) -> None:
    """Mean error over small and mid models; the first hundred questions, as a user has them."""
    recordings = Recordings(RECORDINGS)
    known = recordings.models()
    replies = recordings.replies(task, recordings.questions(task))
    models = [name for name in replies if known[name].tier in ("small", "mid")][:8]
    answers = read_answers(recordings, task, models, gold=False)
    found = estimate(answers, models, limit=100, resamples=40)
    truth = np.array([answers.right[answers.index(name), :100].mean() for name in found.models])
    values = np.array([each.value for each in found.accuracy])
    print(f"{task}: mean error {np.abs(values - truth).mean():.3f}, bias {np.mean(values - truth):+.3f}")
    assert np.abs(values - truth).mean() < within
    covered = [each.low <= right <= each.high for each, right in zip(found.accuracy, truth, strict=True)]
    assert np.mean(covered) >= 0.75


@needs_recordings
def test_sentences_without_keys_are_not_estimated() -> None:
    """On TriviaQA most replies are sentences: what they have in common is not seen."""
    answers = read_answers(Recordings(RECORDINGS), "triviaqa", gold=False)
    with pytest.raises(EmergeError, match="reliability cannot be estimated from agreement"):
        estimate(answers, limit=200)
    codes, alone = (partition(answers, rows, 200) for rows in (range(5), [0]))
    assert (codes[0] != NO_KEY).sum() == (alone[0] != NO_KEY).sum()
