"""Recordings as arrays, and the vote over them: the same as the product's own, reply by reply."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emerge_core.aggregators import get_aggregator
from emerge_core.answers import Extractor, candidate
from emerge_core.config.schema import AggregatorConfig
from emerge_core.errors import EmergeError
from emerge_core.evals.offline.arrays import NO_KEY, Answers, read_answers
from emerge_core.evals.offline.voting import NOBODY, right_of, vote
from emerge_core.evals.recordings.recording import Recordings, prompt_of
from emerge_core.types import Call, Candidate, ChatRequest, Completion, Decision, Member

ANSWERS = ("Paris", "the city of Paris", "Lyon", "", "I cannot help with that.", "Well, that is a long story to tell.")


def decided(answers: Answers, recordings: Path, question: int, members: list[int], weights: list[float]) -> Decision:
    """What the vote aggregator itself makes of the recorded replies."""
    id_ = answers.questions[question]
    prompt = prompt_of(Recordings(recordings).questions(answers.task)[id_])
    request = ChatRequest(messages=({"role": "user", "content": prompt},))
    extractor = Extractor.of(request)
    panel: list[Candidate] = []
    for place, row in enumerate(members):
        completion = Completion(text=answers.texts[answers.models[row]][id_].text, finish_reason="stop")
        member = Member(model=answers.models[row], position=place, weight=weights[place])
        call = Call(id=str(place), role="member", model=member.model, provider="p", status="ok", completion=completion)
        panel.append(candidate(extractor, call, member))
    aggregate: Any = get_aggregator("vote")
    made: Decision = asyncio.run(
        aggregate(panel, request=request, options=AggregatorConfig(name="vote"), asker=None, key_of=None)
    )
    return made


@pytest.fixture
def capitals(own_recordings: Path, write_rows: Any) -> Path:
    """Five models that answer at random with texts that contain one another, with nothing, with prose."""
    random = np.random.default_rng(4)
    asked = range(40)
    questions = [
        {"id": f"c{n}", "question": f"Which city is the capital number {n}?", "answers": ["Paris"]} for n in asked
    ]
    rows = [
        {"id": f"c{n}", "model": model, "response_text": str(random.choice(ANSWERS))}
        for n in asked
        for model in "vwxyz"
    ]
    write_rows(own_recordings / "capitals" / "questions.jsonl", questions)
    write_rows(own_recordings / "capitals" / "responses.jsonl", rows)
    return own_recordings


def test_arrays_hold_what_was_said(recordings: Path) -> None:
    answers = read_answers(Recordings(recordings), "sums", ["alpha", "beta", "gamma", "titan"])
    assert (answers.questions, answers.models) == (("s1", "s2", "s3"), ("alpha", "beta", "gamma", "titan"))
    assert answers.right.tolist() == [[1, 1, 0], [1, 0, 1], [0, 0, 1], [1, 1, 1]]
    assert [answers.equal(0, 1).tolist(), answers.equal(1, 2).tolist()] == [[1, 0, 0], [0, 0, 1]]
    assert answers.usable.all()
    assert answers.prompt_tokens.tolist() == [[5, 5, 5]] * 4
    assert answers.costs(3)[0] == pytest.approx((5 * 10 + 100 * 20) / 1e6)


def test_hidden_tokens_have_no_cost(recordings: Path) -> None:
    answers = read_answers(Recordings(recordings), "sums", ["thinker"])
    assert np.isnan(answers.costs(0)).all()


def test_only_questions_that_all_answered_are_kept(recordings: Path) -> None:
    named = read_answers(Recordings(recordings), "sums", ["alpha", "patchy"])
    assert (named.questions, named.left_out) == (("s1", "s3"), 1)
    everyone = read_answers(Recordings(recordings), "sums")
    assert (len(everyone.questions), everyone.left_out, everyone.sparse) == (3, 0, ("patchy",))


def test_letters_carry_their_confidence(recordings: Path) -> None:
    answers = read_answers(Recordings(recordings), "picks_letters")
    assert answers.models == ("alpha", "beta")
    assert answers.confidence[:, 0] == pytest.approx([0.8, 0.9])
    assert answers.confidence[1, 1] == 0
    assert (answers.codes[0, 1], bool(answers.usable[0, 1])) == (NO_KEY, False)


def test_people_have_the_last_word(recordings: Path) -> None:
    assert read_answers(Recordings(recordings), "facts").right.tolist() == [[True], [False]]


def test_unknown_models_are_named(recordings: Path) -> None:
    with pytest.raises(EmergeError, match=r"no answers of omega are recorded in sums; there are: alpha, beta"):
        read_answers(Recordings(recordings), "sums", ["alpha", "omega"])
    with pytest.raises(EmergeError, match="no task 'sum'"):
        read_answers(Recordings(recordings), "sum")


@pytest.mark.parametrize("weights", [[1.0] * 5, [1.0, 2.0, 1.0, 1.5, 0.5], [0.1, 0.2, 0.3, 0.3, 0.1]])
@pytest.mark.parametrize("members", [[0, 1], [2, 0, 4], [4, 3, 2, 1, 0]])
def test_the_vote_is_the_aggregators_own(capitals: Path, members: list[int], weights: list[float]) -> None:
    answers = read_answers(Recordings(capitals), "capitals")
    found = vote(answers, members, weights[: len(members)])
    for question in range(len(answers.questions)):
        if not answers.usable[members, question].any():
            continue
        made = decided(answers, capitals, question, members, weights)
        assert found.winner[question] == int(made.selected[0])
        assert found.agreement[question] == pytest.approx(
            np.nan if made.agreement is None else made.agreement, nan_ok=True
        )


def test_where_nobody_answers_a_refusal_is_what_the_caller_gets(capitals: Path) -> None:
    answers = read_answers(Recordings(capitals), "capitals")
    found = vote(answers, [0, 1])
    none = ~answers.usable[:2].any(axis=0)
    assert none.any()
    for question in np.flatnonzero(none):
        refusals = np.flatnonzero(answers.refused[:2, question])
        assert found.winner[question] == (refusals[0] if len(refusals) else NOBODY)
        assert not right_of(answers, [0, 1], found.winner)[question]
