"""How hard SSM is asked for the config: against a server that counts."""

from __future__ import annotations

from typing import Any

import pytest

from emerge_core.config.aws import ATTEMPTS, AwsSource
from emerge_core.errors import ConfigError
from tests.infra.remotes import Aws, serving

CONFIG = "{providers: {sim: {kind: simulated}}, models: {a: {provider: sim, model: a}}}"


@pytest.fixture
def ssm(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    Aws.config, Aws.works, Aws.asked = CONFIG, False, 0
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
