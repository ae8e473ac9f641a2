"""An account with one deployed stack, by moto. The calls that moto lacks are answered here, after botocore has
checked what was sent: GetUsage, GetAccountSettings, Invoke, and the stack's list of alarms."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote_plus

import boto3
import pytest
from botocore.response import StreamingBody
from moto import mock_aws

from emerge_core.operate.stack import Stack, find_stack

STACK = "mine"
SIMULATED = """\
providers: {p: {kind: simulated}}
models: {a: {provider: p, model: a, family: x}, b: {provider: p, model: b, family: y}}
ensembles: {emerge: {members: [a, b], aggregator: consensus}}
default: emerge
"""


@dataclass
class Account:
    """`usage`, `limits` and `invoked` are what the calls that moto lacks answer."""

    usage: dict[str, list[list[int]]] = field(default_factory=dict)
    limits: dict[str, int] = field(
        default_factory=lambda: {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": 1000}
    )
    invoked: Callable[[dict[str, Any]], bytes | Exception] = lambda event: b""
    alarms: list[str] = field(default_factory=list)
    provider: dict[str, str] = field(default_factory=lambda: {"State": "Active"})
    scaling: tuple[int, int] = (3, 30)
    metrics: dict[str, float] = field(default_factory=dict)
    invocations: list[dict[str, Any]] = field(default_factory=list)

    def client(self, service: str) -> Any:
        return self._made(service)

    @cache  # noqa: B019
    def _made(self, service: str) -> Any:
        made = _session().client(service, region_name="us-east-1")
        events = made.meta.events
        events.register("before-call.api-gateway.GetUsage", self._usage)
        events.register("before-call.lambda.GetAccountSettings", lambda **_: _answer(AccountLimit=self.limits))
        events.register("before-call.lambda.Invoke", self._invoke)
        events.register("before-call.lambda.GetCapacityProvider", lambda **_: _answer(CapacityProvider=self.provider))
        events.register("before-call.lambda.GetFunctionScalingConfig", self._scaling)
        events.register("before-call.cloudwatch.GetMetricData", self._metrics)
        events.register("before-call.cloudformation.ListStackResources", self._resources)
        return made

    def __hash__(self) -> int:
        return id(self)

    def _usage(self, **_: Any) -> Any:
        return _answer(items=self.usage)

    def _resources(self, **_: Any) -> Any:
        kind = {"ResourceType": "AWS::CloudWatch::Alarm", "ResourceStatus": "CREATE_COMPLETE", "LogicalResourceId": "A"}
        return _answer(StackResourceSummaries=[{**kind, "PhysicalResourceId": name} for name in self.alarms])

    def _scaling(self, **_: Any) -> Any:
        least, most = self.scaling
        applied = {"MinExecutionEnvironments": least, "MaxExecutionEnvironments": most}
        return _answer(AppliedFunctionScalingConfig=applied)

    def _metrics(self, params: dict[str, Any], **_: Any) -> Any:
        sent = unquote_plus(str(params["body"]))
        order = re.findall(r"MetricName=\W*(\w+)", sent)
        return _answer(
            MetricDataResults=[
                {"Id": f"m{number}", "Values": [self.metrics[name]] if name in self.metrics else []}
                for number, name in enumerate(order)
            ]
        )

    def _invoke(self, params: dict[str, Any], **_: Any) -> Any:
        event = json.loads(params["body"])
        self.invocations.append({"url": params["url_path"], "query": params["query_string"], **event})
        reply = self.invoked(event)
        failed = isinstance(reply, Exception)
        content = json.dumps({"errorType": type(reply).__name__}).encode() if isinstance(reply, Exception) else reply
        body = StreamingBody(io.BytesIO(content), len(content))
        return _answer(Payload=body, StatusCode=200, **({"FunctionError": "Unhandled"} if failed else {}))

    @property
    def stack(self) -> Stack:
        return find_stack(self.client, STACK)

    def deploy(self, **parameters: str) -> None:
        """The stack of template.yaml as far as the commands see it: parameters, outputs, function, plan, alarm."""
        gateway, functions = self.client("apigateway"), self.client("lambda")
        plan = gateway.create_usage_plan(name=STACK)["id"]
        mode = parameters.get("ResponseMode", "buffered")
        outputs = {
            "BaseUrl": "https://api.example/prod/v1",
            "UsagePlanId": plan,
            "ProxyFunctionName": f"{STACK}-proxy",
            "ProxyAlias": mode,
            "ConfigParameter": f"/emerge/{STACK}/config",
            "SecretsPath": f"/emerge/{STACK}/keys/",
            **({"CapacityProviderName": "mine-provider"} if parameters.get("Compute") == "managed" else {}),
        }
        self._function(functions, mode)
        given = {"Timeout": "60", "ResponseMode": mode, "MonthlyQuota": "0", **parameters}
        template = {
            "Parameters": {name: {"Type": "String", "Default": ""} for name in given},
            "Resources": {"ProxyLogs": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "/emerge/mine"}}},
            "Outputs": {name: {"Value": value} for name, value in outputs.items()},
        }
        self.client("cloudformation").create_stack(
            StackName=STACK,
            TemplateBody=json.dumps(template),
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in given.items()],
        )

    def _function(self, functions: Any, alias: str) -> None:
        trust = json.dumps({"Version": "2012-10-17", "Statement": []})
        role = self.client("iam").create_role(RoleName="proxy", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            archive.writestr("app.py", "")
        made = functions.create_function(
            FunctionName=f"{STACK}-proxy",
            Runtime="python3.13",
            Handler="app.handler",
            Role=role,
            Code={"ZipFile": code.getvalue()},
            Environment={"Variables": {"EMERGE_STACK": STACK}},
            Publish=True,
        )
        functions.create_alias(FunctionName=f"{STACK}-proxy", Name=alias, FunctionVersion=made["Version"])


@cache
def _session() -> Any:
    """One for all tests: reading botocore's models is what takes the time."""
    return boto3.Session(aws_access_key_id="test", aws_secret_access_key="test")


def _answer(**parsed: Any) -> Any:
    return SimpleNamespace(status_code=200), {**parsed, "ResponseMetadata": {"HTTPStatusCode": 200}}


@contextmanager
def empty_account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """An account without a stack, which the commands' clients talk to."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        made = Account()
        monkeypatch.setattr("emerge_core.operate.aws.connect", lambda region, profile: made.client)
        yield made
