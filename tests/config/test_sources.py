"""Where the config comes from: a file, EMERGE_CONFIG, keys in the environment, a local Ollama."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from emerge_core.config import Config, default_config, detect_config, find_config, parse_config, resolve_key, warnings
from emerge_core.config.references import reference_problems
from emerge_core.config.sources import local_ollama_models
from emerge_core.errors import ConfigError

NOWHERE = "http://127.0.0.1:9"
SMALL = "providers: {p: {kind: simulated}}\nmodels: {a: {provider: p, model: x}}\n"


def panel(config: Config) -> list[str]:
    return [config.models[member.model].model for member in config.ensembles["emerge-panel"].members]


def test_the_default_is_a_simulated_panel_of_three_families() -> None:
    config = default_config()
    assert config.default == "emerge"
    routes = config.ensembles["emerge"].routes
    assert set(routes) == {"tools", "json", "choices", "short", "open_ended"}
    assert {form for form, name in routes.items() if name != "emerge-panel"} == {"open_ended"}
    prose = config.ensembles[routes["open_ended"]]
    assert (prose.aggregator.name, prose.aggregator.merger) == ("merge", "sim-a")
    assert [member.model for member in prose.members] == list(config.models)
    assert len(panel(config)) == 3
    assert len({model.family for model in config.models.values()}) == 3
    assert all(0.7 < (model.accuracy or 0) < 0.9 for model in config.models.values())
    assert warnings(config, {}) == []


@pytest.mark.parametrize(
    ("environ", "ollama", "expected"),
    [
        ({"OPENAI_API_KEY": "k"}, (), ["gpt-4.1-mini"] * 3),
        (
            {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k", "GEMINI_API_KEY": "k"},
            ("llama3.2:3b",),
            ["gpt-4.1-mini", "claude-haiku-4-5", "gemini-2.5-flash"],
        ),
        ({"GROQ_API_KEY": "k"}, ("qwen2.5:7b", "phi3"), ["llama-3.3-70b-versatile", "qwen2.5:7b", "phi3"]),
        ({}, ("qwen2.5:7b",), ["qwen2.5:7b"] * 3),
        ({}, ("qwen2.5:7b", "qwen3:4b", "llama3.2", "phi3"), ["qwen2.5:7b", "llama3.2", "phi3"]),
        ({}, ("nomic-embed-text", "gpt-oss:120b-cloud", "phi3"), ["phi3"] * 3),
        (
            {"AWS_ACCESS_KEY_ID": "k", "AWS_REGION": "us-east-1"},
            (),
            ["openai.gpt-oss-20b-1:0", "qwen.qwen3-32b-v1:0", "mistral.ministral-3-14b-instruct"],
        ),
        ({"AWS_ACCESS_KEY_ID": "k"}, (), ["sim-a", "sim-b", "sim-c"]),
        ({"AWS_REGION": "us-east-1"}, (), ["sim-a", "sim-b", "sim-c"]),
        ({"AWS_PROFILE": "p", "AWS_DEFAULT_REGION": "us-east-1"}, ("phi3",), ["phi3"] * 3),
        ({"OPENAI_API_KEY": "  "}, (), ["sim-a", "sim-b", "sim-c"]),
        ({}, ("nomic-embed-text",), ["sim-a", "sim-b", "sim-c"]),
    ],
)
def test_what_is_at_hand_is_used(environ: Mapping[str, str], ollama: Sequence[str], expected: list[str]) -> None:
    config, source = detect_config(environ, ollama)
    assert panel(config) == expected
    assert reference_problems(config) == []
    for model in {} if "simulated" in source else config.models.values():
        assert model.provider in source
        assert model.model in source


@pytest.mark.parametrize(
    ("environ", "ollama", "expected"),
    [
        ({"OPENAI_API_KEY": "k"}, (), ["text-embedding-3-small"]),
        ({"ANTHROPIC_API_KEY": "k"}, (), []),
        ({}, ("phi3", "nomic-embed-text:latest", "bge-m3"), ["nomic-embed-text:latest", "bge-m3"]),
        ({}, (), ["sim-embed"]),
    ],
)
def test_what_embeds_is_served_under_its_own_name(
    environ: Mapping[str, str], ollama: Sequence[str], expected: list[str]
) -> None:
    config, _ = detect_config(environ, ollama)
    assert list(config.embedders) == [embedder.model for embedder in config.embedders.values()] == expected
    assert reference_problems(config) == []


def test_samples_of_a_lone_model_differ_in_temperature() -> None:
    config, _ = detect_config({"ANTHROPIC_API_KEY": "k"})
    assert [member.temperature for member in config.ensembles["emerge-panel"].members] == [None, 0.7, 1.0]


@pytest.mark.parametrize(
    ("environ", "ollama", "writer"),
    [
        ({"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k", "GEMINI_API_KEY": "k"}, (), "claude-haiku-4-5"),
        ({"MISTRAL_API_KEY": "k", "OPENAI_API_KEY": "k", "GEMINI_API_KEY": "k"}, (), "gemini-2.5-flash"),
        ({"GROQ_API_KEY": "k"}, ("qwen2.5:7b", "phi3"), "llama-3.3-70b-versatile"),
        ({}, ("qwen2.5:7b", "llama3.2", "phi3"), "qwen2.5:7b"),
        ({"AWS_ACCESS_KEY_ID": "k", "AWS_REGION": "us-east-1"}, (), "qwen3-32b"),
        ({}, (), "sim-a"),
    ],
)
def test_prose_is_merged_by_the_strongest_model_or_written_by_it_alone(
    environ: Mapping[str, str], ollama: Sequence[str], writer: str
) -> None:
    config, _ = detect_config(environ, ollama)
    prose = config.ensembles[config.ensembles["emerge"].routes["open_ended"]]
    assert (prose.aggregator.name, prose.aggregator.merger) == ("merge", writer)
    assert prose.members == config.ensembles["emerge-panel"].members
    config, _ = detect_config({**environ, "EMERGE_OPEN_ENDED": "fallback"}, ollama)
    prose = config.ensembles[config.ensembles["emerge"].routes["open_ended"]]
    assert (prose.strategy.name, prose.members[0].model) == ("fallback", writer)
    assert {member.model for member in prose.members} == set(config.models)
    assert reference_problems(config) == []


def test_one_model_votes_with_its_samples_and_writes_prose_alone() -> None:
    config, _ = detect_config({"ANTHROPIC_API_KEY": "k", "EMERGE_OPEN_ENDED": "merge"})
    routes = config.ensembles["emerge"].routes
    assert {form for form, name in routes.items() if name == "emerge-panel"} == {"tools", "json", "choices", "short"}
    prose = config.ensembles[routes["open_ended"]]
    assert (prose.strategy.name, [member.model for member in prose.members]) == ("fallback", ["claude-haiku-4-5"])


def test_an_unknown_way_to_answer_prose_is_refused() -> None:
    with pytest.raises(ConfigError, match="EMERGE_OPEN_ENDED: must be `merge` or `fallback`, not 'vote'"):
        detect_config({"EMERGE_OPEN_ENDED": "vote"})


def test_local_models_are_known_to_be_free() -> None:
    config, _ = detect_config({}, ["qwen2.5:7b", "hf.co/Someone/A Model:Q4"])
    assert all(model.price and model.price.input == model.price.output == 0 for model in config.models.values())
    assert "hf.co/Someone/A-Model:Q4" in config.models


def test_a_file_wins_over_the_environment(tmp_path: Path) -> None:
    file, other = tmp_path / "a.yaml", tmp_path / "b.yaml"
    file.write_text(SMALL)
    other.write_text("nonsense")
    config, source = find_config(str(file), {"EMERGE_CONFIG": str(other), "OPENAI_API_KEY": "k"})
    assert list(config.models) == ["a"]
    assert source == str(file)
    config, _ = find_config(None, {"EMERGE_CONFIG": str(file), "OPENAI_API_KEY": "k"})
    assert list(config.models) == ["a"]


def test_ssm_is_for_aws() -> None:
    with pytest.raises(ConfigError, match="ssm:/emerge/prod/config: configs in SSM are read only on AWS"):
        find_config(None, {"EMERGE_CONFIG": "ssm:/emerge/prod/config"})


def test_without_anything_it_is_simulated() -> None:
    config, source = find_config(None, {}, ollama_url=NOWHERE)
    assert config == default_config()
    assert source.startswith("the simulated panel")


def test_a_local_ollama_is_asked_for_its_models(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def tags(_: Request) -> Response:
        return JSONResponse({"models": [{"name": "qwen2.5:7b"}, {"name": "phi3:latest"}]})

    monkeypatch.setenv("http_proxy", NOWHERE)
    with server(Starlette(routes=[Route("/api/tags", tags)])) as url:
        assert local_ollama_models(url, timeout_s=5) == ["qwen2.5:7b", "phi3:latest"]


@pytest.mark.parametrize("body", [{"models": None}, {"models": [{}]}, {"models": [{"name": 4}]}, ["x"], {}])
def test_something_else_on_that_port_is_no_ollama(server: Any, body: Any) -> None:
    async def tags(_: Request) -> Response:
        return JSONResponse(body)

    with server(Starlette(routes=[Route("/api/tags", tags)])) as url:
        assert local_ollama_models(url, timeout_s=5) == []


def test_keys_are_read_from_the_environment() -> None:
    assert resolve_key("env:KEY", {"KEY": " sk-x\n"}) == "sk-x"
    assert resolve_key(None, {}) is None


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("env:MY_KEY", "environment variable MY_KEY is not set"),
        ("ssm:/emerge/key", "ssm: references are read only on AWS"),
        ("secret:name", "secret: references are read only on AWS"),
        ("sk-verysecret", "write env:NAME"),
    ],
)
def test_a_key_that_cannot_be_read(reference: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected) as caught:
        resolve_key(reference, {"MY_KEY": ""})
    assert "verysecret" not in str(caught.value)


PANEL = """
providers:
  one: {{kind: openai, api_key: env:ONE}}
  two: {{kind: anthropic, api_key: env:ONE}}
models:
  a: {{provider: one, model: a, family: gpt}}
  b: {{provider: one, model: b, family: gpt}}
  c: {{provider: two, model: c, family: claude}}
ensembles:
  e: {{{}}}
"""


@pytest.mark.parametrize(
    ("ensemble", "expected"),
    [
        ("members: [a, c, b]", ["e: a and b are of the same family (gpt) and tend to err together"]),
        ("members: [a, c]", ["e: a panel of two without escalation has no majority when its members differ"]),
        ("members: [a, c], escalate: {to: b}", []),
        ("members: [a, c], escalate: {to: c}", ["e: the escalation target c is in the panel already"]),
        (
            "members: [a, a, a]",
            ["e: its 3 members are one model (a): its samples err together, so a vote of them gains little over one"],
        ),
        (
            "members: [a, c], aggregator: {name: judge, judge: c}",
            ["e: the judge c is in the panel, and may favour its own answer"],
        ),
        (
            "members: [a, c], aggregator: {name: merge, merger: c}",
            [],  # the strongest member merges: as without a config
        ),
        ("members: [a, c, a], max_calls: 2", ["e: max_calls 2 leaves some of the 3 members unasked"]),
        ("members: [a, c], strategy: cascade", []),
        ("members: [a], strategy: cascade", ["e: a cascade of one model has no other to ask"]),
        (
            "members: [a, c], strategy: cascade, aggregator: vote",
            ["e: a cascade answers without its aggregator (a cascade of `stop: agree` votes)"],
        ),
        (
            "members: [a], escalate: {to: c}",
            ["e: a panel of one agrees with itself: it escalates only when it gives no answer"],
        ),
    ],
)
def test_warnings_of_ensembles(ensemble: str, expected: list[str]) -> None:
    assert warnings(parse_config(PANEL.format(ensemble), source="t"), {"ONE": "x"}) == expected


def test_warnings_of_this_machine() -> None:
    text = SMALL.replace(
        "providers: {",
        "providers: {o: {kind: openai, api_key: env:NOT_SET}, a: {kind: anthropic}, "
        "s: {kind: openai, api_key: ssm:/k}, f: {kind: openai, base_url: http://127.0.0.1:1, ca_file: /nowhere.pem}, ",
    )
    config = parse_config(text, source="t")
    everything = "\n".join(warnings(config, {}))
    assert "provider o: environment variable NOT_SET is not set: its models will fail" in everything
    assert "provider a has no api_key" in everything
    assert "provider s: ssm: references are read only on AWS" in everything
    assert "provider f has no api_key" not in everything
    assert "provider o is not used by any model" in everything
    assert "there is no ensemble: models can only be called one by one" in everything
    assert "NOT_SET" not in "\n".join(warnings(config))
