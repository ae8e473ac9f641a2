from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest

from emerge_core.config.schema import ModelConfig, ProviderConfig
from emerge_core.providers.simulated.adapter import Simulated, make
from emerge_core.types import ChatRequest, Completion, EmbeddingRequest, UpstreamError

MCQ = "Which one is it, number {}?\n\nA. red\nB. green\nC. blue\nD. grey"
TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "parameters": {"type": "object", "properties": {"n": {"type": "integer", "minimum": 3}}, "required": ["n"]},
    },
}
OTHER = {"type": "function", "function": {"name": "other"}}
NAMED = {"type": "function", "function": {"name": "other"}}
QUESTIONS = 3000


def panel(*, seed: int = 0, correlation: float = 0.0, **accuracy: float) -> Simulated:
    models = {name: ModelConfig(provider="p", model=name, accuracy=value) for name, value in accuracy.items()}
    config = ProviderConfig(kind="simulated", seed=seed, correlation=correlation)
    return make(config, api_key=None, models=models)


def ask(question: str, *, model: str = "a", of: Simulated | None = None, **fields: Any) -> Completion:
    request = ChatRequest(messages=({"role": "user", "content": question},), **fields)
    return asyncio.run((of or panel(a=1.0)).complete(model, request, timeout_s=1))


def product(number: int) -> str:
    return f"What is {number} * 7?"


def share_right(made: Simulated, model: str, question: Callable[[int], str]) -> float:
    answers = [made.answer(model, question(number)) for number in range(QUESTIONS)]
    return sum(answer is not None and answer.right for answer in answers) / QUESTIONS


@pytest.mark.parametrize("accuracy", [0.0, 0.3, 0.75, 0.95, 1.0])
@pytest.mark.parametrize("question", [product, MCQ.format])
def test_accuracy_is_as_configured(accuracy: float, question: Callable[[int], str]) -> None:
    assert share_right(panel(a=accuracy), "a", question) == pytest.approx(accuracy, abs=0.03)


def test_accuracy_is_that_of_the_answers_said() -> None:
    made = panel(a=0.6)
    answers = [made.answer("a", product(number)) for number in range(QUESTIONS)]
    said = [answer is not None and answer.said == str(number * 7) for number, answer in enumerate(answers)]
    assert sum(said) / QUESTIONS == pytest.approx(0.6, abs=0.03)


def test_the_default_accuracy() -> None:
    assert share_right(panel(), "unknown", product) == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.7, 1.0])
def test_errors_correlate_as_configured(correlation: float) -> None:
    made = panel(correlation=correlation, a=0.7, b=0.7)
    pairs = []
    for number in range(QUESTIONS):
        a, b = made.answer("a", MCQ.format(number)), made.answer("b", MCQ.format(number))
        assert a is not None
        assert b is not None
        pairs.append((a, b))
    wrong = [(not a.right, not b.right) for a, b in pairs]
    mean_a, mean_b = (sum(column) / QUESTIONS for column in zip(*wrong, strict=True))
    both = sum(a and b for a, b in wrong) / QUESTIONS
    phi = (both - mean_a * mean_b) / math.sqrt(mean_a * (1 - mean_a) * mean_b * (1 - mean_b))
    assert phi == pytest.approx(correlation, abs=0.06)
    same_wrong = sum(not a.right and not b.right and a.said == b.said for a, b in pairs) / QUESTIONS / both
    assert same_wrong >= (0.25 if correlation == 0.0 else correlation)


def test_a_stronger_member_is_right_where_a_correlated_weaker_one_is() -> None:
    made = panel(correlation=1.0, weak=0.5, strong=0.9)
    for number in range(300):
        weak, strong = made.answer("weak", product(number)), made.answer("strong", product(number))
        assert weak is not None
        assert strong is not None
        assert strong.right or not weak.right


def test_the_same_seed_gives_the_same_panel() -> None:
    def run(seed: int) -> list[str | None]:
        return [ask(product(number), of=panel(seed=seed, a=0.5)).text for number in range(30)]

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_members_differ() -> None:
    made = panel(a=0.5, b=0.5)
    right = [[share for share in [made.answer(m, product(n))] if share] for m in "ab" for n in range(50)]
    assert [r[0].right for r in right[:50]] != [r[0].right for r in right[50:]]


def test_the_computed_option_is_the_right_one() -> None:
    assert "B" in (ask("What is 6 * 7?\n\nA. 41\nB. 42\nC. 43").text or "")
    assert "(" not in (ask("What is 6 * 7?\nA) 41\nB) 40\nC) 42").text or "")


def test_all_members_mean_the_same_option() -> None:
    made = panel(a=1.0, b=1.0, c=1.0)
    said = {answer.said for model in "abc" if (answer := made.answer(model, MCQ.format(1)))}
    assert len(said) == 1


def test_anything_else_is_answered_by_saying_what_it_is() -> None:
    text = ask("Write a poem about rivers.", model="sim-small").text or ""
    assert "simulated" in text
    assert "sim-small" in text


def test_options_are_read_from_the_last_user_message() -> None:
    request = ChatRequest(
        messages=(
            {"role": "user", "content": MCQ.format(1)},
            {"role": "assistant", "content": "B"},
            {"role": "user", "content": [{"type": "text", "text": "What is 6 * 7?"}]},
        )
    )
    assert "42" in (asyncio.run(panel(a=1.0).complete("a", request, timeout_s=1)).text or "")


@pytest.mark.parametrize(
    ("tools", "choice", "name"),
    [
        ((TOOL, OTHER), "required", "look"),
        ((TOOL, OTHER), NAMED, "other"),
        ((TOOL,), "auto", None),
        ((TOOL,), None, None),
        ((TOOL,), "none", None),
        ((TOOL,), NAMED, None),
    ],
)
def test_tools(tools: tuple[Any, ...], choice: Any, name: str | None) -> None:
    done = ask("Hello", tools=tools, tool_choice=choice)
    assert [call.name for call in done.tool_calls] == ([name] if name else [])
    assert (done.text is None, done.finish_reason) == (bool(name), "tool_calls" if name else "stop")
    if name == "look":
        assert json.loads(done.tool_calls[0].arguments) == {"n": 3}


def test_json_replies_are_valid_and_hold_the_answer() -> None:
    schema = {
        "type": "object",
        "properties": {"reasoning": {"type": "string"}, "answer": {"type": "integer"}},
        "required": ["reasoning", "answer"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    reply = json.loads(ask("What is 6 * 7?", response_format=wanted).text or "")
    jsonschema.validate(reply, schema)
    assert reply["answer"] == 42
    assert json.loads(ask("What is 6 * 7?", response_format={"type": "json_object"}).text or "")["answer"] == "42"
    assert isinstance(json.loads(ask("Hello", response_format={"type": "json_object"}).text or ""), dict)


def test_logprobs_are_of_the_text_and_calibrated() -> None:
    made = panel(a=0.7)
    right: list[float] = []
    wrong: list[float] = []
    for number in range(400):
        question = MCQ.format(number)
        done, answer = ask(question, of=made, logprobs=True, top_logprobs=2), made.answer("a", question)
        assert done.logprobs is not None
        assert answer is not None
        assert "".join(token.token for token in done.logprobs) == done.text
        said = next(token for token in done.logprobs if token.token.strip() == answer.said)
        assert said.logprob == pytest.approx(math.log(answer.sure))
        (right if answer.right else wrong).append(answer.sure)
    assert sum(right) / len(right) > sum(wrong) / len(wrong) + 0.1
    assert ask("What is 6 * 7?").logprobs is None


def test_limits_and_stops_hold() -> None:
    cut = ask("Hello", max_tokens=3)
    assert (cut.text, cut.finish_reason) == ("This is a", "length")
    stopped = ask("Hello", stop=("simulated",))
    assert (stopped.text, stopped.finish_reason) == ("This is a ", "stop")


def test_usage_and_dropped_parameters() -> None:
    done = ask("Hello", temperature=0.5, seed=1, extra={"user": "u"})
    assert done.usage is not None
    assert done.usage.input_tokens > 0
    assert done.usage.output_tokens == math.ceil(len(done.text or "") / 4)
    assert done.dropped_params == ("temperature", "seed", "user")


def test_embeddings_of_like_texts_are_near() -> None:
    texts = ("the red cat sat", "the red cat slept", "quite other words", "")
    made = asyncio.run(panel().embed("e", EmbeddingRequest(inputs=texts), timeout_s=1))
    cat, like, other, empty = made.vectors

    def cosine(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    assert cosine(cat, cat) == pytest.approx(1.0)
    assert cosine(cat, like) > cosine(cat, other) + 0.3
    assert len(empty) == len(cat)
    again = asyncio.run(panel().embed("e", EmbeddingRequest(inputs=texts[:1]), timeout_s=1))
    assert made.vectors == again.vectors + made.vectors[1:]


def test_embeddings_have_the_dimensions_asked_for() -> None:
    made = asyncio.run(panel().embed("e", EmbeddingRequest(inputs=("a b", "c"), dimensions=5), timeout_s=1))
    assert [len(vector) for vector in made.vectors] == [5, 5]
    with pytest.raises(UpstreamError, match="not token ids"):
        asyncio.run(panel().embed("e", EmbeddingRequest(inputs=((1, 2),)), timeout_s=1))


def test_answers_shown_by_an_adjudication_are_not_the_question() -> None:
    from emerge_core.config import parse_config
    from emerge_core.engine.engine import Engine

    config = parse_config(
        "providers: {s: {kind: simulated}}\n"
        "models: {a: {provider: s, model: a, accuracy: 0}, b: {provider: s, model: b, accuracy: 1}, "
        "big: {provider: s, model: big, accuracy: 1}}\n"
        "ensembles: {emerge: {members: [a, b], aggregator: vote, escalate: {to: big, final: adjudicate}}}\n",
        source="test",
    )

    async def once() -> str | None:
        async with Engine(config) as engine:
            request = ChatRequest(messages=({"role": "user", "content": "What is 17 * 23?"},))
            trace = await engine.run(request, "emerge")
        assert trace.decision is not None
        assert trace.decision.rule == "escalation:adjudicate"
        return trace.decision.message.text

    assert "391" in (asyncio.run(once()) or "")
