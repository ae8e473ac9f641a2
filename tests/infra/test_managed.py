"""The template with `Compute=managed`: Lambda Managed Instances, in every combination of mode and architecture."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest

from tests.infra.test_template import body, methods, of_type, replaced_properties
from tests.support.aws.resolve import Resolver

OWN = {"Compute": "managed", "VpcSubnetIds": "subnet-1,subnet-2,subnet-3", "VpcSecurityGroupIds": "sg-1"}
ARN = "arn:aws:lambda:us-east-1:123456789012:capacity-provider:shared"
EXISTING = {"Compute": "managed", "CapacityProviderArn": ARN}
WAYS = list(product(("lambda", "managed"), ("buffered", "stream"), ("arm64", "x86_64")))


@pytest.mark.parametrize(("compute", "mode", "machine"), WAYS)
def test_each_way_has_one_function_that_the_gateway_invokes(
    deployed: Any, compute: str, mode: str, machine: str
) -> None:
    network = {name: value for name, value in OWN.items() if compute == "managed"}
    template = deployed(**{**network, "Compute": compute, "ResponseMode": mode, "Architecture": machine})
    name = "ManagedFunction" if compute == "managed" else "ProxyFunction"
    functions = of_type(template, "AWS::Lambda::Function")
    assert set(functions) == {name, "AuthorizerFunction"}
    assert functions[name]["Architectures"] == [machine]
    assert functions[name]["Runtime"] == "python3.13"
    (alias,) = of_type(template, "AWS::Lambda::Alias")
    assert alias == f"{name}Alias{mode}"
    assert body(template)["info"]["description"] == f"Invokes <{alias}>"
    for method in methods(template).values():
        uri = method["x-amazon-apigateway-integration"]["uri"]
        action = "response-streaming-invocations" if mode == "stream" else "invocations"
        assert uri.endswith(f"/functions/<{name}.Arn>:{mode}/{action}")
    assert of_type(template, "AWS::Lambda::Permission")["ProxyPermission"]["FunctionName"] == {"Ref": alias}
    assert template["Outputs"]["ProxyFunctionName"]["Value"] == {"Ref": name}
    providers = of_type(template, "AWS::Lambda::CapacityProvider")
    assert [each["InstanceRequirements"]["Architectures"] for each in providers.values()] == (
        [[machine]] if compute == "managed" else []
    )


def test_the_function_of_managed_instances(deployed: Any) -> None:
    function = of_type(deployed(**OWN), "AWS::Lambda::Function")["ManagedFunction"]
    usual = of_type(deployed(), "AWS::Lambda::Function")["ProxyFunction"]
    assert function["CapacityProviderConfig"] == {
        "LambdaManagedInstancesCapacityProviderConfig": {
            "CapacityProviderArn": {"Fn::GetAtt": ["CapacityProvider", "Arn"]},
            "PerExecutionEnvironmentMaxConcurrency": 64,
            "ExecutionEnvironmentMemoryGiBPerVCpu": 2,
        }
    }
    assert function["FunctionScalingConfig"] == {"MinExecutionEnvironments": 3, "MaxExecutionEnvironments": 30}
    assert function["LoggingConfig"] == {
        "LogGroup": {"Ref": "ProxyLogs"},
        "LogFormat": "JSON",
        "ApplicationLogLevel": "INFO",
    }
    assert (function["MemorySize"], function["Role"]) == (2048, usual["Role"])
    assert not {"SnapStart", "VpcConfig", "ReservedConcurrentExecutions"} & set(function)
    variables = function["Environment"]["Variables"]
    assert variables.pop("AWS_LAMBDA_EXEC_WRAPPER") == "/var/task/runtime-wrapper"
    assert variables == usual["Environment"]["Variables"]
    debug = deployed(**OWN, LogLevel="DEBUG")
    assert of_type(debug, "AWS::Lambda::Function")["ManagedFunction"]["LoggingConfig"]["ApplicationLogLevel"] == "DEBUG"


def test_a_capacity_provider_of_its_own_or_one_that_is_there(deployed: Any) -> None:
    boundary = "arn:aws:iam::123456789012:policy/bounds"
    own = deployed(
        **OWN, PermissionsBoundary=boundary, ManagedMaxVCpus="64", ManagedInstanceTypes="c8g.large,c7g.large"
    )
    assert of_type(own, "AWS::Lambda::CapacityProvider")["CapacityProvider"] == {
        "VpcConfig": {"SubnetIds": ["subnet-1", "subnet-2", "subnet-3"], "SecurityGroupIds": ["sg-1"]},
        "PermissionsConfig": {"CapacityProviderOperatorRoleArn": {"Fn::GetAtt": ["CapacityProviderRole", "Arn"]}},
        "InstanceRequirements": {"Architectures": ["arm64"], "AllowedInstanceTypes": ["c8g.large", "c7g.large"]},
        "CapacityProviderScalingConfig": {"ScalingMode": "Auto", "MaxVCpuCount": "64"},
    }
    role = of_type(own, "AWS::IAM::Role")["CapacityProviderRole"]
    assert role["ManagedPolicyArns"] == ["arn:aws:iam::aws:policy/AWSLambdaManagedEC2ResourceOperator"]
    assert role["PermissionsBoundary"] == boundary
    plain = of_type(deployed(**OWN), "AWS::Lambda::CapacityProvider")["CapacityProvider"]
    assert plain["InstanceRequirements"] == {"Architectures": ["arm64"]}

    existing = deployed(**EXISTING)
    assert of_type(existing, "AWS::Lambda::CapacityProvider") == {}
    assert "CapacityProviderRole" not in of_type(existing, "AWS::IAM::Role")
    config = of_type(existing, "AWS::Lambda::Function")["ManagedFunction"]["CapacityProviderConfig"]
    assert config["LambdaManagedInstancesCapacityProviderConfig"]["CapacityProviderArn"] == ARN
    assert existing["Outputs"]["CapacityProviderName"]["Value"] == "shared"
    assert own["Outputs"]["CapacityProviderName"]["Value"] == {"Ref": "CapacityProvider"}


def test_the_function_needs_no_interfaces_of_its_own(deployed: Any) -> None:
    """The instances are in the VPC."""
    policies = json.dumps(of_type(deployed(**OWN), "AWS::IAM::Role")["ProxyRole"]["Policies"])
    assert "ec2:" not in policies


CHANGES = [
    *({"LogLevel": "DEBUG"}, {"ManagedMemorySize": "4096"}, {"ManagedMemoryPerVCpu": "4"}, {"Timeout": "90"}),
    *({"ManagedConcurrency": "32"}, {"ManagedMinEnvironments": "6"}, {"ManagedMaxEnvironments": "60"}),
    *({"ModelMetrics": "false"}, {"Tracing": "true"}, {"LayerArn": "arn:l"}, {"DefaultPanel": "bedrock"}),
]


def test_a_changed_parameter_reaches_the_alias_without_new_code(deployed: Any) -> None:
    assert "Description" in replaced_properties()
    (before,) = of_type(deployed(code="same", **OWN), "AWS::Lambda::Version").values()
    for changed in CHANGES:
        after = deployed(code="same", **OWN, **changed)
        ((name, version),) = of_type(after, "AWS::Lambda::Version").items()
        assert version["Description"] != before["Description"], changed
        (alias,) = of_type(after, "AWS::Lambda::Alias").values()
        assert alias["FunctionVersion"] == {"Fn::GetAtt": [name, "Version"]}
        assert len(version["Description"]) <= 256


def test_a_version_has_the_scaling_of_the_function(deployed: Any) -> None:
    """A version that is published without it has Lambda's defaults."""
    (version,) = of_type(deployed(**OWN, ManagedMinEnvironments="5"), "AWS::Lambda::Version").values()
    assert version["FunctionScalingConfig"] == {"MinExecutionEnvironments": "5", "MaxExecutionEnvironments": 30}


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        (OWN, []),
        (EXISTING, []),
        ({**OWN, "SnapStart": "true"}, ["SnapStart does not go with Compute=managed"]),
        ({**OWN, "ProvisionedConcurrency": "2"}, ["ProvisionedConcurrency does not go with Compute=managed"]),
        ({**OWN, "ReservedConcurrency": "2"}, ["ReservedConcurrency does not go with Compute=managed"]),
        (
            {"Compute": "managed"},
            ["Compute=managed needs CapacityProviderArn, or", "Compute=managed with VpcSubnetIds needs"],
        ),
        ({"Compute": "managed", "VpcSubnetIds": "subnet-1"}, ["Compute=managed with VpcSubnetIds needs"]),
    ],
)
def test_what_does_not_go_together_is_refused_with_words(
    translated: Any, parameters: dict[str, str], said: list[str]
) -> None:
    broken = Resolver(translated(**parameters), parameters).broken_rules()
    assert [each for each, start in zip(broken, said, strict=True) if not each.startswith(start)] == []


@pytest.mark.parametrize(("parameters", "provider"), [(OWN, {"Ref": "CapacityProvider"}), (EXISTING, "shared")])
def test_alarms_and_dashboard_know_the_environments(deployed: Any, parameters: dict[str, str], provider: Any) -> None:
    template = deployed(**parameters)
    alarms = of_type(template, "AWS::CloudWatch::Alarm")
    dimensions = [
        {"Name": "CapacityProviderName", "Value": provider},
        {"Name": "FunctionName", "Value": {"Ref": "ManagedFunction"}},
    ]
    of_saturation = [each["MetricStat"]["Metric"] for each in alarms["SaturationAlarm"]["Metrics"][1:]]
    assert [each["MetricName"] for each in of_saturation] == [
        "ExecutionEnvironmentConcurrency",
        "ExecutionEnvironmentConcurrencyLimit",
    ]
    others = [alarms["EnvironmentCpuAlarm"], alarms["EnvironmentMemoryAlarm"]]
    assert all(each["Dimensions"] == dimensions for each in [*of_saturation, *others])
    for name in ("ThrottlesAlarm", "FunctionErrorsAlarm"):
        assert alarms[name]["Dimensions"] == [{"Name": "FunctionName", "Value": {"Ref": "ManagedFunction"}}]
    usual = deployed()
    assert not {"SaturationAlarm", "EnvironmentCpuAlarm"} & set(of_type(usual, "AWS::CloudWatch::Alarm"))

    charts = [
        json.loads(of_type(each, "AWS::CloudWatch::Dashboard")["Dashboard"]["DashboardBody"])["widgets"]
        for each in (usual, template)
    ]
    assert len(charts[1]) == len(charts[0]) + 3
    text = json.dumps(charts[1])
    assert "<ProxyFunction>" not in text
    assert "<ManagedFunction>" not in json.dumps(charts[0])
    for metric in ("ConcurrencyThrottles", "CPUThrottles", "ExecutionEnvironmentConcurrencyLimit"):
        assert metric in text
        assert metric not in json.dumps(charts[0])
    places = [(each["x"], each["y"]) for each in charts[1]]
    assert len(set(places)) == len(places)
