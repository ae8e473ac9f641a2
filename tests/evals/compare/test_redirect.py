from __future__ import annotations

import pytest

from emerge_core.config import parse_config
from emerge_core.config.schema import PriceConfig
from emerge_core.errors import EmergeError
from emerge_core.evals.compare.redirect import check_recorded, panel_of, redirect
from emerge_core.evals.recordings.recording import RecordedModel

CONFIG = parse_config(
    """
providers:
  openai: {kind: openai, api_key: env:OPENAI_API_KEY, headers: {x-team: secret}}
  anthropic: {kind: anthropic, api_key: env:ANTHROPIC_API_KEY}
  local: {kind: ollama, base_url: http://10.0.0.1:11434}
  toy: {kind: simulated}
models:
  mini: {provider: openai, model: gpt-4o-mini, timeout_s: 5}
  haiku: {provider: anthropic, model: claude-3-5-haiku-20241022, price: {input: 7, output: 8}}
  flash: {provider: local, model: flash-1}
  big: {provider: openai, model: big-1}
  judge: {provider: anthropic, model: judge-1}
  toy: {provider: toy, model: toy}
  spare: {provider: openai, model: spare-1}
embedders:
  small: {provider: openai, model: text-embedding-3-small}
ensembles:
  vote: {members: [mini, haiku, flash], aggregator: vote, deadline_s: 5, escalate: {to: big}}
  judged: {members: [mini, haiku, toy], aggregator: {name: judge, judge: judge}}
  merged: {members: [mini, flash], aggregator: {name: adaptive, merger: mini, embedder: small}}
trace: "off"
""",
    source="test",
)
KNOWN = {
    "gpt-4o-mini": RecordedModel("small", (0.1, 0.2)),
    "claude-3-5-haiku-20241022": RecordedModel("small", (1.0, 2.0)),
    "flash-1": RecordedModel("small"),
}


def test_the_panel_leaves_out_who_only_judges() -> None:
    panel = panel_of(CONFIG)
    assert panel.recorded == ("mini", "haiku", "flash", "big", "spare")
    assert panel.simulated == ("toy",)
    assert panel.members == ("mini", "haiku", "flash", "toy")


def test_providers_keep_their_kind_and_go_to_the_replay_server() -> None:
    providers = redirect(CONFIG, "http://127.0.0.1:9", KNOWN).providers
    assert {name: (each.kind, each.base_url) for name, each in providers.items()} == {
        "openai": ("openai", "http://127.0.0.1:9/v1"),
        "anthropic": ("anthropic", "http://127.0.0.1:9"),
        "local": ("ollama", "http://127.0.0.1:9"),
        "toy": ("simulated", None),
    }
    assert providers["openai"].headers == {}
    assert providers["openai"].api_key == "env:EMERGE_REPLAY_KEY"


def test_prices_are_the_configs_else_the_recorded_models_else_the_catalogues() -> None:
    config = CONFIG.model_copy(
        update={"models": {**CONFIG.models, "big": CONFIG.models["big"].model_copy(update={"model": "gpt-4o"})}}
    )
    models = redirect(config, "http://127.0.0.1:9", KNOWN).models
    assert models["haiku"].price == PriceConfig(input=7, output=8)
    assert models["mini"].price == PriceConfig(input=0.1, output=0.2)
    assert models["flash"].price is None
    assert models["big"].price is not None
    assert models["mini"].timeout_s is None


def test_ensembles_are_measured_without_haste() -> None:
    config = redirect(CONFIG, "http://127.0.0.1:9", KNOWN)
    assert config.trace == "summary"
    assert {each.deadline_s for each in config.ensembles.values()} == {900}
    assert not any(each.early_decision for each in config.ensembles.values())
    assert config.ensembles["merged"].aggregator.embedder is None
    early = redirect(CONFIG, "http://127.0.0.1:9", KNOWN, early_decision=True)
    assert all(each.early_decision for each in early.ensembles.values())


def test_live_helpers_stay_where_they_are() -> None:
    config = redirect(CONFIG, "http://127.0.0.1:9", KNOWN, live=True)
    assert config.ensembles["judged"].aggregator.judge == "live/judge"
    assert config.models["live/judge"].provider == "live/anthropic"
    assert config.providers["live/anthropic"] == CONFIG.providers["anthropic"]
    assert config.ensembles["merged"].aggregator.merger == "live/mini"
    assert config.models["mini"].provider == "openai"
    assert config.ensembles["merged"].aggregator.embedder == "small"
    assert config.embedders["small"].provider == "live/openai"


def test_unrecorded_models_are_named() -> None:
    with pytest.raises(
        EmergeError, match=r"no answers of big \(big-1\), spare \(spare-1\) are recorded in sums; .*flash-1"
    ):
        check_recorded(CONFIG, panel_of(CONFIG), {**KNOWN}, "sums")
