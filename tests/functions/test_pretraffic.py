"""CodeDeploy's hook before traffic, with the real function behind Lambda's Invoke."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.aws.account import Account, empty_account
from tests.support.aws_lambda.function import Context
from tests.support.paths import PROXY, ROOT

VERSION = "arn:aws:lambda:us-east-1:123456789012:function:mine-proxy:7"
HOOK = {"DeploymentId": "d-1", "LifecycleEventHookExecutionId": "e-1"}


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    with empty_account(monkeypatch) as made:
        monkeypatch.setattr("boto3.client", made.client)
        monkeypatch.setenv("NEW_VERSION", VERSION)
        yield made


@pytest.fixture
def verdict(account: Account) -> Callable[[], str]:
    """Runs the hook; what CodeDeploy was told."""
    told: list[dict[str, Any]] = []

    def receive(params: dict[str, Any], **_: Any) -> Any:
        told.append(json.loads(params["body"]))
        return SimpleNamespace(status_code=200), {"lifecycleEventHookExecutionId": "e-1"}

    operation = "before-call.codedeploy.PutLifecycleEventHookExecutionStatus"
    account.client("codedeploy").meta.events.register(operation, receive)
    path = ROOT / "functions" / "pretraffic" / "pretraffic.py"
    spec = importlib.util.spec_from_file_location("pretraffic", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run() -> str:
        told.clear()
        module.handler(HOOK, None)
        (said,) = told
        assert (said["deploymentId"], said["lifecycleEventHookExecutionId"]) == ("d-1", "e-1")
        status: str = said["status"]
        return status

    return run


def behind(account: Account, function: Any) -> None:
    account.invoked = lambda event: json.dumps(function.module.handler(event, Context())).encode()


def test_a_version_that_answers(account: Account, verdict: Callable[[], str], lambda_function: Any) -> None:
    function = lambda_function(EMERGE_CONFIG=str(PROXY / "default.yaml"))
    behind(account, function)
    assert verdict() == "Succeeded"
    assert {event["url"] for event in account.invocations} == {
        "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A123456789012%3Afunction%3Amine-proxy%3A7/invocations"
    }
    function.read()
    (line,) = function.logged("request")
    assert (line["status"], line["ensemble"], line["key_id"]) == (200, "emerge", "pre-traffic")


def test_a_version_whose_models_all_fail(
    account: Account, verdict: Callable[[], str], lambda_function: Any, tmp_path: Any
) -> None:
    config = tmp_path / "emerge.yaml"
    config.write_text(
        'providers: {dead: {kind: openai, base_url: "http://127.0.0.1:9", max_retries: 0}}\n'
        "models: {a: {provider: dead, model: a}}\n"
    )
    behind(account, lambda_function(EMERGE_CONFIG=str(config)))
    assert verdict() == "Failed"


def test_a_version_without_a_config(account: Account, verdict: Callable[[], str], lambda_function: Any) -> None:
    behind(account, lambda_function(EMERGE_CONFIG="/nowhere.yaml", EMERGE_DEFAULT_CONFIG=None))
    assert verdict() == "Failed"


@pytest.mark.parametrize("reply", [b"", b"nonsense", b'{"statusCode": 200}', ImportError("no module")])
def test_a_version_that_crashes_or_is_another(account: Account, verdict: Callable[[], str], reply: Any) -> None:
    account.invoked = lambda event: reply
    assert verdict() == "Failed"


def test_a_streaming_version(account: Account, verdict: Callable[[], str]) -> None:
    head = b'{"statusCode": 200, "headers": {}}' + b"\0" * 8
    account.invoked = lambda event: head + b'{"data": [{"id": "emerge"}]}'
    assert verdict() == "Succeeded"
    account.invoked = lambda event: head.replace(b"200", b"503") + b'{"error": {"code": "config_error"}}'
    assert verdict() == "Failed"
