from __future__ import annotations

import pytest

from emerge_core.evals.recordings.recording import Question, prompt_of
from emerge_core.evals.replay.matching import AmbiguousError, Matcher, NoMatchError

EGGS = Question("eggs", "A hen lays 16 eggs each day. How many in three days?")
EGGS_MORE = Question("more", "A hen lays 16 eggs each day. How many in three days? And how many in five days?")
SKY = Question("sky", "Which is true of the sky?", ("It is green.", "It is blue.", "It is tin."))
SKY_AGAIN = Question("sky-2", "Which is true of the sky?", ("It is near.", "It is often grey."))
NUMBERS = Question("numbers", "Which number is even here?", ("10", "12", "21"))
DIGITS = Question("digits", "Which number is even here?", ("0", "2", "1"))
CODE = Question("code", "What does this print?\n\ndef f(s):\n    return s + '  '\nassert f('a') == ??")
ADVERB = Question("adverb", "In adolescence:", ("teenagers sleep late", "voices break"))
TWIN = Question("twin-1", "Name the first month of the year.")
TWIN_2 = Question("twin-2", "Name the first  month\nof the year.")
QUESTIONS = (EGGS, EGGS_MORE, SKY, SKY_AGAIN, NUMBERS, DIGITS, CODE, ADVERB, TWIN, TWIN_2)
REPLIES = {
    "eggs": ["Sixteen a day makes 48 in three days, so the answer is 48.", "48", "46"],
    "sky": ["The answer is (B)."],
}
LONG = "The hen is a bird that people have kept for eggs for thousands of years. " * 30

matcher = Matcher(QUESTIONS, lambda id_: REPLIES.get(id_, []))


def ask(text: str, *, system: str | None = None) -> str:
    head = [{"role": "system", "content": system}] if system else []
    return matcher.find([*head, {"role": "user", "content": text}])


@pytest.mark.parametrize("question", [q for q in QUESTIONS if q not in (TWIN, TWIN_2)], ids=lambda q: q.id)
@pytest.mark.parametrize(
    "wrap",
    [
        "{}",
        "  {}\r\n",
        "## Question:\n\n{}\n\n## Instruction\n\nReason first, then give a JSON object with the fields "
        '"reasoning" and "answer", like {{"reasoning": "…", "answer": "…"}}.',
        "The following are questions (with answers). Think step by step.\n\n"
        + "Question: What is one and one?\nAnswer: Let us think. One and one is two. The answer is 2.\n\n" * 30
        + "Question: {}\nAnswer: Let us think.",
    ],
    ids=["bare", "spaced", "instructions", "examples"],
)
def test_finds_the_question_in_benchmark_prompts(question: Question, wrap: str) -> None:
    assert ask(wrap.format(prompt_of(question))) == question.id


def test_options_may_be_written_otherwise() -> None:
    assert ask("Which is true of the sky? (a) It is near. (b) It is often grey. Reply with a letter.") == "sky-2"
    assert ask("Pick one.\nWhich is true of the sky?\n- It is green.\n- It is blue.\n- It is tin.") == "sky"


def test_the_longest_question_counts() -> None:
    assert ask(f"Please answer: {EGGS_MORE.text}") == "more"
    assert ask(f"Please answer: {EGGS.text}") == "eggs"


def test_all_choices_must_occur() -> None:
    with pytest.raises(NoMatchError, match="contains no recorded question with all its choices"):
        ask("Which is true of the sky?\n\nA. It is green.\nB. It is blue.")


def test_white_space_counts_only_between_equals() -> None:
    one = Question("one", "What is the length of 'a b'?")
    two = Question("two", "What is the length of 'a  b'?")
    found = Matcher([one, two])
    assert found.find([{"role": "user", "content": two.text}]) == "two"
    with pytest.raises(AmbiguousError):
        found.find([{"role": "user", "content": "What is  the length of 'a b'?"}])


def test_ambiguous_messages_name_the_questions() -> None:
    with pytest.raises(AmbiguousError) as twins:
        ask("Name the first month of the  year.")
    assert twins.value.ids == ("twin-1", "twin-2")
    with pytest.raises(AmbiguousError) as skies:
        ask(f"{SKY.text} {' '.join(SKY.choices)} {' '.join(SKY_AGAIN.choices)}")
    assert skies.value.ids == ("sky", "sky-2")
    with pytest.raises(AmbiguousError) as two:
        ask(f"{prompt_of(CODE)}\n\n{prompt_of(EGGS)}")
    assert set(two.value.ids) == {"code", "eggs"}


@pytest.mark.parametrize(
    "text",
    [
        "Hello!",
        f"{EGGS.text}\n\nCandidate 1: 48\nCandidate 2: 46",
        f"Question: {EGGS.text}\n\nAnswer 1: 48\n\nAnswer 2: 51\n\nWhich one is better?",
        f"Question: {EGGS.text}\n\n[Response A]\n48\n\n[Response B]\n51",
        f"Question: {EGGS.text}\n\n<answer id=1>48</answer><answer id=2>50</answer>",
        f"You are an impartial judge. Question: {EGGS.text}\nOne said 48, another 50.",
        f"Combine the following responses into one.\n\nQuestion: {EGGS.text}\n\n- fifty\n- forty-eight",
        f"Question: {EGGS.text}\n\nSomebody said this:\n{REPLIES['eggs'][0]}",
        f"Question: {EGGS.text}\n\nIt was said:\n- 46\n- 48",
        f"{EGGS.text}\n\nProposed answer: 48. Is this answer right?",
        f"{prompt_of(SKY)}\n\nThe answer is (B).\n\nDo you agree?",
        f"{EGGS.text}\n\n{LONG}",
        f"{LONG}\n\n{EGGS.text}",
    ],
)
def test_more_than_a_question_is_no_match(text: str) -> None:
    with pytest.raises(NoMatchError):
        ask(text)


def test_the_conversation_must_end_in_the_question() -> None:
    user, assistant = {"role": "user", "content": EGGS.text}, {"role": "assistant", "content": "48"}
    assert matcher.find([user, assistant, user]) == "eggs"
    for messages in ([], [assistant], [user, assistant], [user, {"role": "user", "content": "Sure?"}]):
        with pytest.raises(NoMatchError):
            matcher.find(messages)
    parts = {"role": "user", "content": [{"type": "text", "text": EGGS.text}]}
    assert matcher.find([parts]) == "eggs"


def test_a_system_prompt_may_say_anything_but_show_answers() -> None:
    assert ask(EGGS.text, system="You are a careful assistant. Keep replies short. End with the answer.") == "eggs"
    for system in (
        "Candidates to choose from follow.",
        "Answer 1: 48\nAnswer 2: 46",
        f"Somebody said: {REPLIES['eggs'][0]}",
    ):
        with pytest.raises(NoMatchError):
            ask(EGGS.text, system=system)


def test_a_recorded_judge_prompt_is_a_question_like_any_other() -> None:
    prompt = f"Question: {EGGS.text}\n\nCandidate 1: 48\nCandidate 2: 46"
    found = Matcher([EGGS, Question("verdict", prompt)])
    messages = [
        {"role": "system", "content": "Choose the best of the candidates."},
        {"role": "user", "content": prompt},
    ]
    assert found.find(messages) == "verdict"
