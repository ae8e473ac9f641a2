"""Invariants of answer keys: clothes do not matter, order does not matter, no text breaks them, time is linear."""

from __future__ import annotations

import string
from collections.abc import Callable

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from emerge_core.answers import Extractor, group_keys, hedges, is_refusal, same
from emerge_core.types import AnswerKey, ChatRequest, Completion, Member, TokenLogprob

QUESTIONS = {
    "open": "Which city is the capital of Australia?",
    "number": "How many clips did she sell altogether?",
    "options": "Which city lies on the Seine?\n\nA. London\nB. Paris\nC. Rome",
    "code": "What does this print? Give a literal.\n```python\nprint(f('x'))\n```",
    "polar": "Is the Pacific larger than the Atlantic?",
}
EXTRACTORS = {
    name: Extractor.of(ChatRequest(messages=({"role": "user", "content": text},))) for name, text in QUESTIONS.items()
}

CLOTHES: list[Callable[[str], str]] = [
    lambda value: value,
    lambda value: f"**{value}**",
    lambda value: f"`{value}`",
    lambda value: f"{value}.",
    lambda value: f"  {value}\n",
    lambda value: f'"{value}"',
    lambda value: f"Answer: {value}",
    lambda value: f"**Answer:** {value}",
    lambda value: f"Final answer: **{value}**",
    lambda value: f"The answer is {value}.",
    lambda value: f"The answer is **{value}**.",
    lambda value: f"The final answer is: {value}",
    lambda value: f"Let us think it over, step by step.\n\nThe answer is {value}",
    lambda value: f"## Final Answer\n\n{value}",
    lambda value: f"#### {value}",
    lambda value: f"\\boxed{{{value}}}",
    lambda value: f"$\\boxed{{\\text{{{value}}}}}$",
    lambda value: f'{{"answer": "{value}"}}',
    lambda value: f'```json\n{{"reasoning": "so it is", "answer": "{value}"}}\n```',
    lambda value: f'{{\n"reasoning": "broken\nlines",\n"answer": "{value}"\n}}',
    lambda value: f"<think>The answer is 1, or 2.</think>\nThe answer is {value}.",
]
clothes = st.sampled_from(CLOTHES)
numbers = st.integers(-(10**9), 10**9)


def key(kind: str, text: str) -> AnswerKey | None:
    return EXTRACTORS[kind].key(Completion(text=text, finish_reason="stop"))


@given(
    numbers,
    clothes,
    st.sampled_from(["{}", "{:,}", "{}.0", "{}.00", "{:,}.00", "${}", "${:,}.00", "{}%", "{} eggs", "{:,} km"]),
)
def test_a_number_in_any_clothes_is_the_same_number(value: int, wrap: Callable[[str], str], spelling: str) -> None:
    assert key("number", wrap(spelling.format(value))) == AnswerKey("number", str(value))


@given(st.sampled_from("ABC"), clothes, st.sampled_from(["{}", "({})", "{}.", "{})", "Option {}"]))
def test_a_letter_in_any_clothes_is_the_same_letter(letter: str, wrap: Callable[[str], str], spelling: str) -> None:
    assert key("options", wrap(spelling.format(letter))) == AnswerKey("letter", letter)


@given(st.sampled_from([("A", "London"), ("B", "Paris"), ("C", "Rome")]), clothes)
def test_an_option_text_is_its_letter(option: tuple[str, str], wrap: Callable[[str], str]) -> None:
    assert key("options", wrap(option[1])) == AnswerKey("letter", option[0])


@given(st.booleans(), clothes, st.sampled_from([str.upper, str.lower, str.capitalize]))
def test_a_boolean_in_any_clothes(value: bool, wrap: Callable[[str], str], case: Callable[[str], str]) -> None:
    for word in ("yes", "true") if value else ("no", "false"):
        assert key("polar", wrap(case(word))) == AnswerKey("boolean", "true" if value else "false")


@given(
    st.text(string.ascii_lowercase, min_size=4, max_size=12),
    clothes,
    st.sampled_from([str.upper, str.lower, str.title]),
)
@example("null", CLOTHES[0], str.lower)
def test_a_word_in_any_clothes(word: str, wrap: Callable[[str], str], case: Callable[[str], str]) -> None:
    plain = key("open", word)
    if plain is not None and plain.kind == "text":
        assert key("open", wrap(case(word))) == plain


literals = st.recursive(
    st.none() | st.booleans() | st.integers(-999, 999) | st.text("ab '\"", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=2),
    max_leaves=6,
)


# An unstated text of more than 200 characters is prose; spaces may double these.
@given(st.lists(literals, max_size=4).filter(lambda value: len(repr(value)) <= 100))
def test_a_literal_is_compared_by_value(value: list[object]) -> None:
    plain = key("code", repr(value))
    spaced = repr(value).replace(", ", " ,  ") if not any(quote in repr(value) for quote in "'\"") else repr(value)
    assert plain is not None
    assert key("code", spaced) == plain
    assert key("code", f"The answer is `{value!r}`.") == plain or "`" in repr(value)


PIECES = [*"abAB .,:;()[]{}\"'`*_#$\\/%-+=0123456789\n\t€–−“”é", "answer", "is ", "\\boxed{", "\\frac{", "The answer "]
noise = st.lists(st.sampled_from(PIECES), max_size=60).map("".join) | st.text(max_size=40)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(noise, st.sampled_from(sorted(QUESTIONS)), st.sampled_from(["stop", "length"]))
def test_no_text_breaks_anything(text: str, kind: str, reason: str) -> None:
    extractor = EXTRACTORS[kind]
    completion = Completion(text=text, finish_reason=reason, logprobs=(TokenLogprob(token=text, logprob=-0.1),))
    found = extractor.key(completion)
    assert found == extractor.key(completion)
    extractor.why_unusable(completion)
    confidence = extractor.confidence(completion, Member(model="m", calibration=((0.5, 0.2), (1.0, 0.9))))
    assert confidence in (None, 0.2, 0.9)
    extractor.gold_key(text)
    hedges(text)
    is_refusal(text)
    if found is not None:
        assert same(found, found)


@given(noise, noise)
def test_no_question_breaks_anything(question: str, text: str) -> None:
    extractor = Extractor.of(ChatRequest(messages=({"role": "user", "content": question},)))
    extractor.key(Completion(text=text))
    extractor.why_unusable(Completion(text=text))


text_keys = st.lists(
    st.lists(st.sampled_from(["paris", "rome", "france", "not", "or", "2", "new"]), min_size=1, max_size=3).map(
        lambda found: AnswerKey("text", " ".join(found))
    )
    | st.sampled_from([AnswerKey("number", "2"), AnswerKey("letter", "B"), AnswerKey("boolean", "true")]),
    max_size=7,
)


@given(text_keys, st.randoms(use_true_random=False))
def test_groups_do_not_depend_on_the_order(keys: list[AnswerKey], random: st.DataObject) -> None:
    order = list(range(len(keys)))
    random.shuffle(order)  # type: ignore[attr-defined]
    straight, shuffled = group_keys(keys), group_keys([keys[index] for index in order])
    position = {index: place for place, index in enumerate(order)}
    for one in range(len(keys)):
        for other in range(len(keys)):
            together = straight[one] == straight[other]
            assert together == (shuffled[position[one]] == shuffled[position[other]])
            if keys[one] == keys[other]:
                assert together


@given(text_keys)
def test_sameness_is_symmetric(keys: list[AnswerKey]) -> None:
    for one in keys:
        for other in keys:
            assert same(one, other) == same(other, one)
