"""What holds for every aggregator, whatever the candidates."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emerge_core.aggregators import AGGREGATORS, get_aggregator
from emerge_core.errors import ConfigError

NAMES = tuple(AGGREGATORS)

SAID: list[dict[str, Any]] = [
    *({"says": key, "confidence": sure} for key in "ABC" for sure in (None, 0.4, 0.8)),
    {"says": "paris", "kind": "text"},
    {"says": "paris texas", "kind": "text"},
    {"calls": ["f:1"]},
    {"calls": ["f:2"]},
    {"text": "The sun is a star."},
    {"text": "A star is what the sun is."},
    {"text": "Plum cake takes an hour to bake."},
    {"why": "truncated"},
    {"status": "timeout"},
    {"status": "cancelled"},
]


@st.composite
def panels(draw: st.DrawFn) -> list[dict[str, Any]]:
    said = draw(st.lists(st.sampled_from(SAID), min_size=1, max_size=5))
    weights = st.sampled_from([1.0, 1.0, 2.0, 0.1, 0.3])
    panel = [{"position": position, "weight": draw(weights), **what} for position, what in enumerate(said)]
    panel.append({"position": len(said), **draw(st.sampled_from(SAID[:-3]))})  # at least one is usable
    return panel


def options(name: str) -> dict[str, Any]:
    return {"judge": {"judge": "wise"}, "merge": {"merger": "writer"}, "adaptive": {"merger": "writer"}}.get(name, {})


def test_every_row_of_the_table_can_be_configured_and_loaded() -> None:
    from emerge_core.config.schema import AggregatorConfig

    for name, row in AGGREGATORS.items():
        assert AggregatorConfig(name=name).name == name
        assert callable(get_aggregator(name))
        assert {*row.options, *row.needs} <= set(AggregatorConfig.model_fields)
    with pytest.raises(ConfigError, match="there is no aggregator `committee`"):
        get_aggregator("committee")


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None)
@given(panel=panels(), data=st.data())
def test_order_and_repetition_change_nothing_and_no_text_is_invented(
    cand: Any, decides: Any, scripted: Any, name: str, panel: list[dict[str, Any]], data: st.DataObject
) -> None:
    candidates = [cand(**what) for what in panel]
    shuffled = data.draw(st.permutations(candidates))

    def decide(order: list[Any]) -> Any:
        return decides(order, name, asker=scripted('{"best": 1}'), **options(name))

    first, again, other = decide(candidates), decide(candidates), decide(shuffled)
    assert first == again == other
    written = first.selected == ("x1",)
    assert written <= (name in ("merge", "adaptive"))
    if not written:
        winner = next(c for c in candidates if (c.call.id,) == first.selected)
        assert winner.usable
        assert first.message is winner.completion
    assert first.agreement is None or 0 <= first.agreement <= 1 + 1e-9
    assert [vote.weight for vote in first.votes] == pytest.approx(sorted((v.weight for v in first.votes), reverse=True))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40, deadline=None)
@given(panel=panels(), factor=st.sampled_from([0.25, 3.0, 10.0]))
def test_only_the_ratio_of_weights_matters(
    cand: Any, decides: Any, scripted: Any, name: str, panel: list[dict[str, Any]], factor: float
) -> None:
    scaled = [{**what, "weight": what.get("weight", 1.0) * factor} for what in panel]
    one, other = (
        decides([cand(**what) for what in each], name, asker=scripted('{"best": 1}'), **options(name))
        for each in (panel, scaled)
    )
    assert one.selected == other.selected
    assert one.rule == other.rule
    assert one.agreement == pytest.approx(other.agreement)
