"""The config and its secrets in AWS: read side by side, no harder than needed, and a lost one is never taken for
one that was never there."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from emerge_core.config.aws import ATTEMPTS, AwsSource
from emerge_core.errors import ConfigError
from tests.support.aws.remotes import Aws, serving

NAME = "/emerge/test/config"
DEFAULT = "providers: {p: {kind: simulated}}\nmodels: {a: {provider: p, model: a}}\nensembles: {emerge: {members: [a]}}"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield lambda service: boto3.client(service)


@pytest.fixture
def source(aws: Any, tmp_path: Path) -> Callable[[], AwsSource]:
    (tmp_path / "default.yaml").write_text(DEFAULT)
    return lambda: AwsSource(NAME, default=tmp_path / "default.yaml")


def push(aws: Any, *references: str, headers: dict[str, str] | None = None, name: str = NAME) -> None:
    providers = {f"p{n}": {"kind": "openai", "api_key": each} for n, each in enumerate(references)}
    if headers:
        providers["h"] = {"kind": "openai", "headers": headers}  # type: ignore[dict-item]
    models = {each: {"provider": each, "model": "m"} for each in providers}
    text = json.dumps({"providers": providers, "models": models, "ensembles": {"emerge": {"members": [*models]}}})
    aws("ssm").put_parameter(Name=name, Value=text, Type="String", Overwrite=True)


def keep(aws: Any, name: str, value: str) -> None:
    aws("ssm").put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)


def test_secrets_are_read_side_by_side(aws: Any, source: Any) -> None:
    """Every read waits until all of them are under way."""
    names = [f"emerge/test/{number}" for number in range(10)]
    for name in names:
        aws("secretsmanager").create_secret(Name=name, SecretString=f"sk-{name}")
    push(aws, *(f"secret:{name}" for name in names))
    together = threading.Barrier(len(names))
    client = boto3.client("secretsmanager")

    def wait(**_: Any) -> None:
        together.wait(20)

    client.meta.events.register("before-call", wait)
    clients = {"ssm": boto3.client("ssm"), "secretsmanager": client}
    found = AwsSource(NAME, default=None, client=clients.__getitem__).read()
    assert found.fault is None
    assert found.secrets == {f"secret:{name}": f"sk-{name}" for name in names}


@pytest.mark.parametrize("reference", ["ssm:/emerge/test/keys/a", "secret:emerge/test/a", "secret:emerge/test/a#b"])
def test_a_secret_that_is_missing_or_empty_is_a_fault(aws: Any, source: Any, reference: str) -> None:
    keep(aws, "/emerge/test/keys/b", "sk-b")
    push(aws, reference, "ssm:/emerge/test/keys/b")
    found = source().read()
    assert reference.partition("#")[0] in found.fault
    assert found.key("ssm:/emerge/test/keys/b") == "sk-b"
    with pytest.raises(ConfigError):
        found.key(reference)
    if reference.startswith("ssm"):
        keep(aws, "/emerge/test/keys/a", "  ")
    else:
        aws("secretsmanager").create_secret(Name="emerge/test/a", SecretString=" ")
    assert "empty" in source().read().fault


def test_a_field_of_a_json_secret(aws: Any, source: Any) -> None:
    kept = json.dumps({"openai": "sk-o", "anthropic": " sk-a ", "number": 7})
    made = aws("secretsmanager").create_secret(Name="emerge/test/all", SecretString=kept)
    push(aws, "secret:emerge/test/all#openai", f"secret:{made['ARN']}#anthropic")
    found = source().read()
    assert found.key("secret:emerge/test/all#openai") == "sk-o"
    assert found.key(f"secret:{made['ARN']}#anthropic") == "sk-a"
    push(aws, "secret:emerge/test/all#number", "secret:emerge/test/all#nothing")
    found = source().read()
    assert "no such field" in found.fault
    assert "sk-" not in found.fault


def test_a_header_may_be_a_reference(aws: Any, source: Any) -> None:
    keep(aws, "/emerge/test/keys/h", "sk-h")
    push(aws, headers={"x-api-key": "ssm:/emerge/test/keys/h", "x-plain": "as it is"})
    found = source().read()
    assert found.secrets == {"ssm:/emerge/test/keys/h": "sk-h"}


def test_before_the_first_push_the_default_serves(source: Any) -> None:
    assert source().read().version == "default"


def test_a_deleted_config_is_not_replaced_by_the_default(aws: Any, source: Any) -> None:
    push(aws)
    aws("ssm").put_parameter(Name=NAME, Value=DEFAULT, Type="String", Overwrite=True)
    warm = source()
    assert warm.read().version == "2"
    aws("ssm").delete_parameter(Name=NAME)
    with pytest.raises(ConfigError, match="deleted"):
        warm.read()
    assert source().read().version == "default", "without the mark of a push, a new environment cannot know"
    aws("ssm").put_parameter(Name=f"{NAME}-pushed", Value="2", Type="String")
    with pytest.raises(ConfigError, match="emerge config push"):
        source().read()


def test_a_parameter_that_cannot_be_read_is_not_a_missing_one(aws: Any, source: Any) -> None:
    http = type("Http", (), {"status_code": 400})
    denied = {"Error": {"Code": "AccessDeniedException", "Message": "a secret text"}, "ResponseMetadata": {}}
    client = boto3.client("ssm")
    client.meta.events.register("before-call", lambda **_: (http, denied))
    with pytest.raises(ConfigError, match="AccessDeniedException") as caught:
        AwsSource(NAME, default=None, client=lambda _: client).read()
    assert "secret text" not in str(caught.value)


@pytest.fixture
def ssm(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    Aws.config, Aws.works, Aws.asked = DEFAULT, False, 0
    with serving(Aws) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        yield Aws


def test_the_first_config_is_asked_for_until_it_comes_and_later_ones_once(ssm: Any) -> None:
    source = AwsSource("/emerge/test/config", default=None)
    with pytest.raises(ConfigError, match="InternalServerError"):
        source.read()
    assert ssm.asked == ATTEMPTS
    ssm.works = True
    assert source.read().version == "1"
    ssm.works, ssm.asked = False, 0
    with pytest.raises(ConfigError, match="InternalServerError"):
        source.read()
    assert ssm.asked == 1
