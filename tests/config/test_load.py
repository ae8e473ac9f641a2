"""Wrong configs and what is said about them."""

# ruff: noqa: E501  (one case is one line of the table)

from __future__ import annotations

from pathlib import Path

import pytest

from emerge_core.config import ensemble_of, load_config, parse_config
from emerge_core.errors import ConfigError

GOOD = """\
providers:
  openai: {kind: openai, api_key: env:OPENAI_API_KEY}
  anthropic: {kind: anthropic, api_key: ssm:/emerge/prod/keys/anthropic}
  local: {kind: ollama}
  pretend: {kind: simulated, seed: 3}
models:
  mini: {provider: openai, model: gpt-4o-mini, family: gpt}
  haiku: {provider: anthropic, model: claude-3-5-haiku-latest, timeout_s: 20, max_retries: 1}
  qwen: {provider: local, model: "qwen2.5:7b", price: {input: 0, output: 0}, supports: {tools: true}, context: 32768}
  sonnet: {provider: anthropic, model: claude-sonnet-4-5, timeout_s: 90}
  sim: {provider: pretend, model: sim, accuracy: 0.8}
embedders:
  small: {provider: openai, model: text-embedding-3-small}
ensembles:
  emerge:
    members:
      - mini
      - {model: haiku, weight: 1.4, temperature: 0.7, reliability: 0.81}
      - {model: qwen, calibration: [[0.5, 0.31], [0.9, 0.74], [1.0, 0.93]]}
    strategy: ensemble
    aggregator: adaptive
    deadline_s: 20
    min_answers: 2
    escalate: {to: sonnet, below_agreement: 0.5, final: vote}
    answer_key: ["/label", "/score"]
  careful: {members: [mini, haiku, qwen], aggregator: {name: judge, judge: sonnet}}
  cheap: {members: [qwen, mini], strategy: {name: cascade, stop: agree, order: config}}
default: emerge
trace: summary
"""


def fault(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, source="emerge.yaml")
    return str(caught.value)


def test_a_whole_config_is_read() -> None:
    config = parse_config(GOOD, source="emerge.yaml")
    emerge = config.ensembles["emerge"]
    assert [member.model for member in emerge.members] == ["mini", "haiku", "qwen"]
    assert emerge.members[1].weight == 1.4
    assert emerge.members[2].calibration == ((0.5, 0.31), (0.9, 0.74), (1.0, 0.93))
    assert emerge.aggregator.name == "adaptive"
    assert [step.final for step in emerge.escalate] == ["vote"]
    assert config.ensembles["careful"].aggregator.judge == "sonnet"
    assert config.ensembles["cheap"].strategy.stop == "agree"
    assert config.providers["local"].base_url == "http://127.0.0.1:11434"
    assert config.models["qwen"].supports.tools is True
    assert config.models["qwen"].supports.images is None


@pytest.mark.parametrize(
    ("was", "becomes", "expected"),
    [
        # unknown keys: the place, the nearest key, the known ones
        (
            "weight: 1.4",
            "wieght: 1.4",
            "ensembles.emerge.members[1].wieght (line 18): unknown key, did you mean `weight`? "
            "(known here: model, weight, temperature, reliability, calibration)",
        ),
        ("providers:", "provders:", "provders (line 1): unknown key, did you mean `providers`?"),
        ("deadline_s: 20", "deadline: 20", "ensembles.emerge.deadline (line 22): unknown key, did you mean `deadline_s`?"),
        ("{tools: true}", "{tool: true}", "models.qwen.supports.tool (line 9): unknown key, did you mean `tools`?"),
        ("{input: 0, output: 0}", "{in: 0, output: 0}", "models.qwen.price.input (line 9): is missing"),
        ("judge: sonnet", "juge: sonnet", "ensembles.careful.aggregator.juge (line 26): unknown key, did you mean `judge`?"),
        ("stop: agree", "zzz: 1", "ensembles.cheap.strategy.zzz (line 27): unknown key (known here: name, stop, order)"),
        # values of the wrong kind
        ("kind: ollama", "kind: olama", "providers.local.kind (line 4): must be one of openai, anthropic, ollama, bedrock, simulated"),
        ("kind: ollama", "kind: olama", ", did you mean `ollama`?"),
        ("kind: ollama", "base_url: http://x", "providers.local.kind (line 4): is missing (one of openai, anthropic,"),
        ("aggregator: adaptive", "aggregator: adaptve", "ensembles.emerge.aggregator (line 21): must be one of vote,"),
        ("aggregator: adaptive", "aggregator: {name: vot}", "emerge.aggregator.name (line 21): must be one of vote,"),
        ("aggregator: adaptive", "aggregator: [vote]", "ensembles.emerge.aggregator (line 21): must be a mapping (known here:"),
        ("deadline_s: 20", "deadline_s: soon", "ensembles.emerge.deadline_s (line 22): must be a number"),
        ("deadline_s: 20", "deadline_s: 0", "ensembles.emerge.deadline_s (line 22): must be greater than 0"),
        ("deadline_s: 20", "deadline_s: .inf", "ensembles.emerge.deadline_s (line 22): must be a number"),
        ("deadline_s: 20", "deadline_s: 1e999", "ensembles.emerge.deadline_s (line 22): must be a finite number"),
        ("min_answers: 2", "min_answers: 1.5", "ensembles.emerge.min_answers (line 23): must be a whole number"),
        ("tools: true", "tools: maybe", "models.qwen.supports.tools (line 9): must be true or false"),
        ("family: gpt", "family: 4", "models.mini.family (line 7): must be text: put it in quotes"),
        ("below_agreement: 0.5", "below_agreement: 50", "escalate.below_agreement (line 24): must be less than or equal to 1"),
        ("[mini, haiku, qwen]", "mini", "ensembles.careful.members (line 26): must be a list"),
        ("[mini, haiku, qwen]", "[]", "ensembles.careful.members (line 26): must have at least one entry"),
        ("[mini, haiku, qwen]", "[mini, 4]", "ensembles.careful.members[1] (line 26): must be a mapping (known here: model,"),
        ('"/label"', "label", 'ensembles.emerge.answer_key[0] (line 25): must be a JSON pointer, such as "/label"'),
        ('"/label"', '"/a~b"', "ensembles.emerge.answer_key[0] (line 25): in a JSON pointer a ~ is written ~0"),
        ("  mini:", '  "mi ni":', 'models["mi ni"] (line 7): names start with a letter or digit'),
        ("kind: ollama", "kind: ollama, base_url: localhost", "providers.local.base_url (line 4): must be a URL that starts"),
        # names that must exist
        (
            "[mini, haiku, qwen]",
            "[mini, haku, qwen]",
            "ensembles.careful.members[1] (line 26): there is no model `haku`, did you mean `haiku`? "
            "(there are: mini, haiku, qwen, sonnet, sim)",
        ),
        ("provider: local", "provider: locl", "models.qwen.provider (line 9): there is no provider `locl`, did you mean `local`?"),
        ("provider: openai, model: text", "provider: zzz, model: text", "embedders.small.provider (line 13): there is no provider `zzz` (there are: openai,"),
        ("provider: openai, model: text", "provider: anthropic, model: text", "embedders.small.provider (line 13): anthropic has no embeddings"),
        ("to: sonnet", "to: sonet", "ensembles.emerge.escalate.to (line 24): there is no model `sonet`, did you mean `sonnet`?"),
        ("judge: sonnet", "judge: opus", "ensembles.careful.aggregator.judge (line 26): there is no model `opus` (there are:"),
        ("aggregator: adaptive", "aggregator: {name: merge, merger: x}", "emerge.aggregator.merger (line 21): there is no model `x`"),
        ("aggregator: adaptive", "aggregator: {name: consensus, embedder: smal}", "there is no embedder `smal`, did you mean `small`? (there are: small)"),
        ("default: emerge", "default: emrge", "default (line 28): there is no ensemble or model `emrge`, did you mean `emerge`?"),
        ("  careful:", "  mini:", "ensembles.mini (line 26): there is also a model `mini`"),
        # options that nothing uses, and options that something needs
        ("aggregator: adaptive", "aggregator: judge", "ensembles.emerge.aggregator.judge (line 21): is missing: aggregator judge needs"),
        ("aggregator: adaptive", "aggregator: merge", "ensembles.emerge.aggregator.merger (line 21): is missing: aggregator merge needs"),
        ("name: judge", "name: vote", "ensembles.careful.aggregator.judge (line 26): is not used by aggregator vote, only by judge"),
        ("aggregator: adaptive", "aggregator: {name: vote, merger: mini}", "is not used by aggregator vote, only by merge and adaptive"),
        ("aggregator: adaptive", "aggregator: {name: vote, two_orders: true}", "emerge.aggregator.two_orders (line 21): is not used"),
        ("strategy: ensemble", "strategy: {name: ensemble, stop: agree}", "emerge.strategy.stop (line 20): is not used by strategy ensemble, only by cascade"),
        ("strategy: ensemble", "strategy: {order: cost}", "ensembles.emerge.strategy.order (line 20): is not used by strategy ensemble"),
        ("strategy: ensemble", "strategy: cascade", "ensembles.emerge.escalate (line 24): cannot go with strategy cascade"),
        ("min_answers: 2", "min_answers: 4", "ensembles.emerge.min_answers (line 23): is more than the ensemble has members (3)"),
        ("[0.9, 0.74]", "[0.4, 0.74]", "ensembles.emerge.members[2].calibration (line 19): the upper bounds of its bins must ascend"),
        ("[1.0, 0.93]", "[0.95, 0.93]", "ensembles.emerge.members[2].calibration (line 19): the last bin must end at 1.0"),
        ("kind: ollama", "kind: ollama, seed: 1", "providers.local.seed (line 4): is not used by a provider of kind ollama"),
        ("seed: 3", "api_key: env:X", "providers.pretend.api_key (line 5): is not used by a provider of kind simulated"),
        ("family: gpt", "accuracy: 0.5", "models.mini.accuracy (line 7): is only for models of a simulated provider"),
        # the text itself
        ("  local:", "  openai:", "emerge.yaml: not valid YAML (line 4): key `openai` is there twice (first in line 2)"),
        ("default: emerge", "default: [emerge", "emerge.yaml: not valid YAML (line 29): did not find expected"),
        ("default: emerge", "default: *zz", "emerge.yaml: not valid YAML (line 28): found undefined alias"),
        ("default: emerge", "---\ndefault: emerge", "emerge.yaml: not valid YAML (line 28): "),
        ("default: emerge", "? [a]\n: b", "emerge.yaml: not valid YAML (line 28): a key must be plain text"),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_place(was: str, becomes: str, expected: str) -> None:
    assert was in GOOD
    assert expected in fault(GOOD.replace(was, becomes, 1))


def test_every_fault_has_its_line() -> None:
    text = GOOD.replace("weight: 1.4", "wieght: 1.4").replace("kind: ollama", "kind: olama").replace("trace:", "trac:")
    header, *faults = fault(text).splitlines()
    assert header == "emerge.yaml: 3 problems"
    assert len(faults) == 3


def test_a_list_is_not_too_short_because_its_one_entry_is_at_fault() -> None:
    text = GOOD.replace("[qwen, mini]", "[{model: qwen, weight: -1}]")
    assert fault(text).splitlines()[1:] == ["  ensembles.cheap.members[0].weight (line 27): must be greater than 0"]
    assert "members (line 27): must have at least one entry" in fault(GOOD.replace("[qwen, mini]", "[]"))


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("env:OPENAI_API_KEY", "sk-verysecret"),
        ("env:OPENAI_API_KEY", "12345"),
        ("api_key: env:OPENAI_API_KEY", "api_key:sk-verysecret"),
        ("api_key: env:OPENAI_API_KEY", "apikey: sk-verysecret"),
        ("api_key: env:OPENAI_API_KEY", "base_url: 'x://me:sk-verysecret@host'"),
        ("api_key: env:OPENAI_API_KEY", "headers: {Authorization: [sk-verysecret]}"),
        ("api_key: env:OPENAI_API_KEY", "headers: sk-verysecret"),
        ("{kind: openai, api_key: env:OPENAI_API_KEY}", "sk-verysecret"),
        ("{kind: openai, api_key: env:OPENAI_API_KEY}", "{kind: sk-verysecret}"),
        ("{kind: openai, api_key: env:OPENAI_API_KEY}", "{kind: openai, api_key: 'sk-verysecret}"),
        (
            "{kind: openai, api_key: env:OPENAI_API_KEY}",
            "{kind: openai, api_key: sk-verysecret, api_key: sk-verysecret}",
        ),
    ],
)
def test_no_fault_shows_a_secret(was: str, becomes: str) -> None:
    said = fault(GOOD.replace(was, becomes, 1))
    assert "sk-very" not in said
    assert "12345" not in said


def test_a_literal_key_is_told_what_to_write() -> None:
    said = fault(GOOD.replace("env:OPENAI_API_KEY", "sk-verysecret"))
    assert "providers.openai.api_key (line 2): write env:NAME" in said


def test_a_forgotten_space_is_seen() -> None:
    said = fault(GOOD.replace("api_key: env:", "api_key:env:", 1))
    assert "providers.openai.api_key (line 2): a space is missing after the colon" in said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "emerge.yaml: is empty; a config needs providers, models and ensembles"),
        ("# nothing\n", "emerge.yaml: is empty"),
        ("- a\n- b\n", "emerge.yaml: must be a mapping with the keys providers, models,"),
        ("just words", "emerge.yaml: must be a mapping"),
        ("{}", "providers: is missing"),
        ("a: \x00", "emerge.yaml: not valid YAML: a character that YAML does not allow"),
        ("a: \ud800", "emerge.yaml: not valid YAML: a character that is no Unicode"),
        ("a: " + "9" * 5000, "emerge.yaml: not valid YAML: a value that cannot be read"),
        ("{providers: {}, models: {}}", "models (line 1): at least one model is needed"),
    ],
)
def test_what_is_no_config(text: str, expected: str) -> None:
    assert expected in fault(text)


def test_a_section_without_content_is_left_out() -> None:
    config = parse_config(GOOD.replace("trace: summary", "trace:"), source="emerge.yaml")
    assert config.trace == "summary"


def test_words_of_yaml_1_1_stay_names() -> None:
    text = """
providers: {on: {kind: simulated}}
models:
  no: {provider: on, model: yes}
  12:30: {provider: on, model: off}
  4.10: {provider: on, model: n}
ensembles: {y: {members: [no, 12:30, "4.10"]}}
default: y
"""
    config = parse_config(text, source="emerge.yaml")
    assert list(config.models) == ["no", "12:30", "4.10"]
    assert config.models["no"].model == "yes"
    assert [member.model for member in config.ensembles["y"].members] == ["no", "12:30", "4.10"]


def test_anchors_and_merge_keys_work() -> None:
    text = """
providers: {p: {kind: simulated}}
models:
  a: &base {provider: p, model: x, timeout_s: 5}
  b: {<<: *base, model: y}
"""
    config = parse_config(text, source="emerge.yaml")
    assert config.models["b"].model == "y"
    assert config.models["b"].timeout_s == 5


def test_json_is_yaml_too() -> None:
    text = '{"providers": {"p": {"kind": "simulated"}}, "models": {"a": {"provider": "p", "model": "x"}}}'
    assert list(parse_config(text, source="emerge.json").models) == ["a"]


def test_one_model_may_sit_twice_in_a_panel() -> None:
    text = GOOD.replace("[mini, haiku, qwen]", "[mini, {model: mini, temperature: 1}]")
    assert len(parse_config(text, source="emerge.yaml").ensembles["careful"].members) == 2


def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "emerge.yaml"
    file.write_text("\ufeff" + GOOD, encoding="utf-8")
    assert load_config(file).default == "emerge"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read: No such file"):
        load_config(tmp_path / "nowhere.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_config(tmp_path)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not a UTF-8 text file"):
        load_config(binary)


def test_a_model_is_an_ensemble_of_one() -> None:
    config = parse_config(GOOD, source="emerge.yaml")
    alone = ensemble_of(config, "sonnet")
    assert alone is not None
    assert [member.model for member in alone.members] == ["sonnet"]
    assert alone.aggregator.name == "vote"
    assert alone.deadline_s == 90
    assert ensemble_of(config, "emerge") is config.ensembles["emerge"]
    assert ensemble_of(config, "small") is None
    assert ensemble_of(config, "nobody") is None
