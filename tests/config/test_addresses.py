"""What would make every request of a provider fail is an error when the config is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from emerge_core.config import find_config, parse_config, warnings
from emerge_core.errors import ConfigError


def config(**provider: Any) -> str:
    up = {"kind": "openai", **provider}
    return json.dumps({"providers": {"up": up}, "models": {"a": {"provider": "up", "model": "a"}}})


@pytest.mark.parametrize(
    "url",
    [
        "http://[::1", "http://127.0.0.1:99999999", "http://127.0.0.1:0", "http://127.0.0.1:x", "http://", "https:///v1",
        "ftp://a/v1", "http://a b/v1", "a.example/v1", "http://:80/v1",
    ],
)  # fmt: skip
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ConfigError, match=r"providers\.up\.base_url \(line 1\): must be a URL that starts with http"):
        parse_config(config(base_url=url), source="f")


@pytest.mark.parametrize("url", ["http://[::1]:11434", "https://a.example", "https://u:p@a.example:8443/v1?k=v"])
def test_an_address(url: str) -> None:
    assert parse_config(config(base_url=url), source="f").providers["up"].base_url == url


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("x-team", "a\r\nx-admin: 1", "has a value with a line break"),
        ("x-team", "a\x00", "has a value with a line break"),
        ("x team", "a", "has a name that HTTP does not allow"),
        ("x-team:", "a", "has a name that HTTP does not allow"),
        ("", "a", "has a name that HTTP does not allow"),
    ],
)
def test_a_header_that_cannot_be_sent(name: str, value: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=rf"providers\.up\.headers \(line 1\): {fault}") as error:
        parse_config(config(headers={name: value}), source="f")
    assert "x-admin" not in str(error.value)


def test_a_header_may_hold_a_tab_and_other_letters() -> None:
    assert parse_config(config(headers={"x-team": "a\tbé"}), source="f")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file or directory"), ("no certificate", "it holds no certificate in PEM form")],
)
def test_certificates_that_cannot_be_used(tmp_path: Path, content: str | None, reason: str) -> None:
    bundle, file = tmp_path / "ca.pem", tmp_path / "emerge.yaml"
    if content is not None:
        bundle.write_text(content)
    file.write_text(config(ca_file=str(bundle)))
    with pytest.raises(ConfigError, match=rf"1 problem\n  providers\.up\.ca_file: cannot be used: {reason}"):
        find_config(str(file), {})


def test_a_key_that_stands_for_itself_names_every_form_of_reference() -> None:
    with pytest.raises(ConfigError) as error:
        parse_config(config(api_key="sk-secret"), source="f")
    for form in ("env:NAME", "ssm:/path", "secret:NAME_OR_ARN"):
        assert form in str(error.value)
    assert "sk-secret" not in str(error.value)


MODELS = {
    "a": {"provider": "p", "model": "x"},
    "same": {"provider": "p", "model": "x"},
    "b": {"provider": "p", "model": "y"},
}


@pytest.mark.parametrize(
    ("members", "warned"),
    [
        (["a", {"model": "a", "temperature": 0.7}, {"model": "a", "temperature": 1}], True),
        (["a", "same"], True),
        (["a", "a", "b"], False),
        (["a"], False),
    ],
)
def test_a_panel_that_is_one_model_several_times(members: list[Any], warned: bool) -> None:
    parts = {"providers": {"p": {"kind": "simulated"}}, "models": MODELS}
    text = json.dumps({**parts, "ensembles": {"e": {"members": members}}})
    found = [each for each in warnings(parse_config(text, source="f")) if "are one model" in each]
    assert bool(found) is warned
