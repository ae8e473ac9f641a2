"""What a request would have cost at the baseline model: whose tokens are priced, and when there is no figure."""

from __future__ import annotations

import json

import pytest

from emerge_core.config import parse_config
from emerge_core.config.schema import Config
from emerge_core.engine.baseline import baseline_cost
from emerge_core.telemetry.metrics import Metrics
from emerge_core.types import Call, ChatRequest, Completion, Cost, Decision, Role, Trace, Usage

MILLION = 1_000_000
REQUEST = ChatRequest.of("What is 6 times 7?")


def config(**more: str) -> Config:
    price = {"input": 10, "output": 20, "cached_input": 1}
    models = {
        "small": {"provider": "up", "model": "s", "price": {"input": 1, "output": 2}},
        "big": {"provider": "up", "model": "b", "price": price},
        "unpriced": {"provider": "up", "model": "u"},
    }
    providers = {"up": {"kind": "openai", "base_url": "http://127.0.0.1:1/v1"}}
    return parse_config(json.dumps({"providers": providers, "models": models, **more}), source="test")


def call(id_: str, usage: Usage | None, role: Role = "member") -> Call:
    completion = Completion(text="42", usage=usage, cost=Cost(usd=0.001))
    return Call(id=id_, role=role, model="small", provider="up", status="ok", completion=completion)


def trace(*calls: Call, selected: tuple[str, ...] = ("1",), abstained: bool = False) -> Trace:
    decision = Decision(message=calls[0].completion, selected=selected, rule="vote:majority", abstained=abstained)
    return Trace(request_id="r", name="e", strategy="ensemble", aggregator="vote", calls=calls, decision=decision)


def usd(found: Trace) -> float:
    cost = baseline_cost(config(baseline="big"), found, REQUEST)
    assert cost is not None
    assert cost.known
    return cost.usd * MILLION


def test_the_selected_call_s_tokens_are_priced() -> None:
    found = trace(
        call("1", Usage(input_tokens=90, output_tokens=9)), call("2", Usage(input_tokens=100, output_tokens=7))
    )
    assert usd(found) == pytest.approx(90 * 10 + 9 * 20)


def test_cached_input_has_the_baseline_s_own_price() -> None:
    found = trace(call("1", Usage(input_tokens=100, cached_tokens=80, output_tokens=10)))
    assert usd(found) == pytest.approx(20 * 10 + 80 * 1 + 10 * 20)


@pytest.mark.parametrize("role", ["merge", "adjudication"])
def test_the_members_answers_are_no_input_of_a_single_model(role: Role) -> None:
    member, writer = Usage(input_tokens=50, output_tokens=5), Usage(input_tokens=900, output_tokens=30)
    found = trace(call("1", member), call("2", writer, role), selected=("2",))
    assert usd(found) == pytest.approx(50 * 10 + 30 * 20)


def test_several_choices_share_one_input() -> None:
    usage = Usage(input_tokens=100, output_tokens=10)
    found = trace(call("1", usage), call("2", usage), selected=("1", "2"))
    assert usd(found) == pytest.approx(100 * 10 + 20 * 20)


def test_without_usage_or_price_the_cost_is_not_known() -> None:
    priced = trace(call("1", Usage(input_tokens=1)))
    for found, name in ((trace(call("1", None)), "big"), (priced, "unpriced")):
        cost = baseline_cost(config(baseline=name), found, REQUEST)
        assert cost is not None
        assert not cost.known


def test_no_figure_without_a_baseline_or_an_answer() -> None:
    answered = trace(call("1", Usage(input_tokens=1)))
    abstained = trace(call("1", Usage(input_tokens=1)), selected=(), abstained=True)
    assert baseline_cost(config(), answered, REQUEST) is None
    assert baseline_cost(config(baseline="big"), abstained, REQUEST) is None


@pytest.mark.parametrize("baseline", [Cost(usd=0.25), Cost(known=False), None])
def test_the_metric_is_sent_if_the_figure_is_known(baseline: Cost | None) -> None:
    answered = trace(call("1", Usage(input_tokens=1)))
    emitted: list[str] = []
    with_baseline = Trace(**{name: getattr(answered, name) for name in answered.__slots__} | {"baseline": baseline})
    Metrics("stack", per_model=False, emit=emitted.append).request(with_baseline, ensembles=())
    (line,) = map(json.loads, emitted)
    assert line.get("BaselineCostUSD") == ([0.25] if baseline and baseline.known else None)
