"""The template is the tested thing: translated as CloudFormation gets it, for each way to deploy it."""

from __future__ import annotations

import json
import re
import subprocess
import time
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from emerge_core.api.cors import read_origins
from emerge_core.config import detect, load_config
from emerge_core.telemetry import metrics
from tests.support.aws.resolve import Resolver
from tests.support.paths import TOOLS

ROOT = Path(__file__).parents[2]
EMITTED = {*metrics.REQUEST_METRICS, *metrics.BASELINE_METRICS, *metrics.STACK_METRICS, *metrics.MODEL_METRICS}
OUR_FAULTS = {"FunctionErrorsAlarm", "UnhandledErrorsAlarm", "ConfigErrorsAlarm"}
OPEN = [("/healthz", "get")]
WAYS = [{"ResponseMode": mode, "SnapStart": snap} for mode, snap in product(("buffered", "stream"), ("false", "true"))]
EVERYTHING = {
    "VpcSubnetIds": "subnet-1,subnet-2",
    "VpcSecurityGroupIds": "sg-1",
    "ExtraSecretArns": "arn:aws:secretsmanager:us-east-1:123456789012:secret:team-abcdef",
    "KmsKeyArn": "arn:aws:kms:us-east-1:123456789012:key/k",
    "AlarmEmail": "ops@example.com",
    "Tracing": "true",
    "MonthlyQuota": "1000",
    "DomainName": "llm.example.com",
    "DomainCertificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/c",
    "DomainPath": "x",
    "LogsKmsKeyArn": "arn:aws:kms:us-east-1:123456789012:key/l",
    "WebAclArn": "arn:aws:wafv2:us-east-1:123456789012:regional/webacl/w/1",
    "AccessLog": "on",
    "ApiGatewayLogsRole": "create",
    "PermissionsBoundary": "arn:aws:iam::123456789012:policy/bounds",
    "LayerArn": "arn:aws:lambda:us-east-1:123456789012:layer:collector:1",
    "CorsOrigins": "https://app.example.com,http://localhost:3000",
    "OtlpEndpoint": "http://localhost:4318",
    "PreTrafficCheck": "true",
    "AuthorizerConcurrency": "10",
    "DefaultPanel": "bedrock",
    "BedrockModelArns": "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0",
    "BedrockGuardrailArns": "arn:aws:bedrock:us-east-1:123456789012:guardrail/gr1",
}
each_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(way.values()))


def of_type(template: Any, kind: str) -> dict[str, Any]:
    return {name: each["Properties"] for name, each in template["Resources"].items() if each["Type"] == kind}


def body(template: Any) -> Any:
    return template["Resources"]["Api"]["Properties"]["Body"]


def methods(template: Any) -> dict[tuple[str, str], Any]:
    paths = body(template)["paths"]
    return {(path, verb): method for path, verbs in paths.items() for verb, method in verbs.items()}


@each_way
def test_every_method_but_healthz_wants_authorizer_and_key(deployed: Any, way: dict[str, str]) -> None:
    found = methods(deployed(**way))
    assert {path for path, _ in found} == {"/healthz", "/", "/{proxy+}"}
    for place, method in found.items():
        assert method["security"] == ([] if place in OPEN else [{"bearer": [], "key": []}])


def test_the_authorizer_names_the_key_to_the_usage_plan(deployed: Any) -> None:
    template = deployed()
    assert body(template)["x-amazon-apigateway-api-key-source"] == "AUTHORIZER"
    schemes = body(template)["components"]["securitySchemes"]
    assert schemes["key"] == {"type": "apiKey", "in": "header", "name": "x-api-key"}
    bearer = schemes["bearer"]
    authorizer = bearer["x-amazon-apigateway-authorizer"]
    assert (bearer["name"], bearer["x-amazon-apigateway-authtype"], authorizer["type"]) == (
        *("Authorization", "custom"),
        "token",
    )
    assert authorizer["authorizerUri"].endswith("functions/<AuthorizerFunction.Arn>/invocations")
    pattern = re.compile(authorizer["identityValidationExpression"])
    assert pattern.fullmatch("Bearer emk_" + "a" * 43)
    assert not pattern.fullmatch("Bearer sk-something")
    (stage,) = of_type(template, "AWS::ApiGateway::UsagePlan")["UsagePlan"]["ApiStages"]
    assert stage == {"ApiId": {"Ref": "Api"}, "Stage": {"Ref": "ApiStage"}}
    assert of_type(template, "AWS::ApiGateway::ApiKey") == {}
    assert list(of_type(template, "AWS::ApiGateway::Stage")) == ["ApiStage"]
    assert body(template).get("swagger") is None
    assert template["Resources"]["Api"]["Properties"]["EndpointConfiguration"] == {"Types": ["REGIONAL"]}


def test_the_usage_plan_s_limits(deployed: Any) -> None:
    plan = of_type(deployed(), "AWS::ApiGateway::UsagePlan")["UsagePlan"]
    assert plan["Throttle"] == {"RateLimit": 20, "BurstLimit": 40}
    assert "Quota" not in plan
    plan = of_type(deployed(MonthlyQuota="500", ThrottleRate="5"), "AWS::ApiGateway::UsagePlan")["UsagePlan"]
    assert (plan["Quota"], plan["Throttle"]["RateLimit"]) == ({"Limit": "500", "Period": "MONTH"}, "5")


@each_way
def test_gateway_function_and_alias_speak_one_protocol(deployed: Any, way: dict[str, str]) -> None:
    mode, streams = way["ResponseMode"], way["ResponseMode"] == "stream"
    template = deployed(**way)
    (alias,) = of_type(template, "AWS::Lambda::Alias")
    assert (alias, of_type(template, "AWS::Lambda::Alias")[alias]["Name"]) == (f"ProxyFunctionAlias{mode}", mode)
    assert body(template)["info"]["description"] == f"Invokes <{alias}>"  # which makes the API wait for it
    version = "2021-11-15" if streams else "2015-03-31"
    action = "response-streaming-invocations" if streams else "invocations"
    for method in methods(template).values():
        assert method["x-amazon-apigateway-integration"] == {
            "type": "aws_proxy",
            "httpMethod": "POST",
            "uri": f"arn:aws:apigateway:us-east-1:lambda:path/{version}/functions/<ProxyFunction.Arn>:{mode}/{action}",
            "responseTransferMode": "STREAM" if streams else "BUFFERED",
            "timeoutInMillis": 900_000 if streams else 29_000,
        }
    function = of_type(template, "AWS::Lambda::Function")["ProxyFunction"]
    variables = function["Environment"]["Variables"]
    assert variables["EMERGE_RESPONSE_MODE"] == mode
    assert variables.get("AWS_LAMBDA_EXEC_WRAPPER") == ("/var/task/runtime-wrapper" if streams else None)
    assert function["SnapStart"]["ApplyOn"] == ("PublishedVersions" if way["SnapStart"] == "true" else "None")
    assert of_type(template, "AWS::Lambda::Permission")["ProxyPermission"]["FunctionName"] == {"Ref": alias}


def test_sam_local_finds_the_way_from_each_path_to_the_function(tmp_path: Path) -> None:
    if not (TOOLS / "sam").exists():
        pytest.skip("the AWS tools are not installed (make tools): the routes are not tested")

    def run(script: Path, *arguments: Path) -> str:
        command = [str(TOOLS / "python"), str(script), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    run(ROOT / "infra" / "local.py", ROOT / "template.yaml", tmp_path / "local.yaml")
    assert json.loads(run(ROOT / "tests/support/aws/routes.py", tmp_path / "local.yaml")) == {
        "/healthz": ["ProxyFunction", None],
        "/": ["ProxyFunction", "AuthorizerFunction"],
        "/{proxy+}": ["ProxyFunction", "AuthorizerFunction"],
    }


def test_a_switch_of_the_mode_changes_no_alias(deployed: Any) -> None:
    """What served goes on as it was until the stage points to the new alias and version."""
    before, after = deployed(ResponseMode="buffered"), deployed(ResponseMode="stream")
    assert not set(of_type(before, "AWS::Lambda::Alias")) & set(of_type(after, "AWS::Lambda::Alias"))
    names = [each["Name"] for template in (before, after) for each in of_type(template, "AWS::Lambda::Alias").values()]
    assert names == ["buffered", "stream"]


@each_way
def test_who_may_invoke(deployed: Any, way: dict[str, str]) -> None:
    permissions = of_type(deployed(**way), "AWS::Lambda::Permission")
    assert {each["Principal"] for each in permissions.values()} == {"apigateway.amazonaws.com"}
    assert {name: each["SourceArn"] for name, each in permissions.items()} == {
        "ProxyPermission": "arn:aws:execute-api:us-east-1:123456789012:<Api>/*/*/*",
        "AuthorizerPermission": "arn:aws:execute-api:us-east-1:123456789012:<Api>/authorizers/*",
    }


def replaced_properties() -> set[str]:
    """Properties of a version that CloudFormation cannot change in place, by the schema that cfn-lint carries."""
    (schemas,) = TOOLS.parent.glob("lib/python3.*/site-packages/cfnlint/data/schemas/resources")
    for path in schemas.glob("*.json"):
        text = path.read_text()
        if '"typeName": "AWS::Lambda::Version"' in text:
            return {place.removeprefix("/properties/") for place in json.loads(text)["createOnlyProperties"]}
    raise AssertionError("cfn-lint has no schema of AWS::Lambda::Version")


CHANGES = [
    *({"LogLevel": "DEBUG"}, {"MemorySize": "1769"}, {"Timeout": "90"}, {"ResponseMode": "stream"}),
    *({"SnapStart": "true"}, {"ModelMetrics": "false"}, {"Tracing": "true"}, {"LayerArn": "arn:l"}),
    *({"CorsOrigins": "*"}, {"OtlpEndpoint": "http://localhost:4318"}),
    {"VpcSubnetIds": "subnet-1", "VpcSecurityGroupIds": "sg-1"},
]


def test_a_changed_parameter_reaches_alias_and_stage_without_new_code(deployed: Any) -> None:
    before = deployed(code="same")
    time.sleep(1.1)  # SAM stamps a deployment by the second
    assert "Description" in replaced_properties()
    for changed in CHANGES:
        after = deployed(code="same", **changed)
        versions = [json.dumps(of_type(each, "AWS::Lambda::Version"), sort_keys=True) for each in (before, after)]
        assert versions[0] != versions[1], changed
        (alias,) = of_type(after, "AWS::Lambda::Alias").values()
        (version,) = of_type(after, "AWS::Lambda::Version")
        assert alias["FunctionVersion"] == {"Fn::GetAtt": [version, "Version"]}
        deployments = [of_type(each, "AWS::ApiGateway::Deployment") for each in (before, after)]
        assert not set(deployments[0]) & set(deployments[1]), changed
        stage = of_type(after, "AWS::ApiGateway::Stage")["ApiStage"]
        assert stage["DeploymentId"] == {"Ref": next(iter(deployments[1]))}


def test_what_does_not_change_the_function_publishes_no_version(deployed: Any) -> None:
    """Lambda has no second version of what is the same, and CloudFormation fails where it expected one."""
    before, after = deployed(), deployed(AlarmEmail="a@example.com", ReservedConcurrency="5", ThrottleRate="7")
    assert of_type(before, "AWS::Lambda::Version") == of_type(after, "AWS::Lambda::Version")
    more = {"StageThrottleRate": "7", "AccessLog": "on", "WebAclArn": EVERYTHING["WebAclArn"], "LatencyAlarmMs": "9"}
    assert of_type(before, "AWS::Lambda::Version") == of_type(deployed(**more), "AWS::Lambda::Version")


def test_new_code_is_a_new_version(deployed: Any) -> None:
    """Every build is new code, by its build id."""
    one, other = (of_type(deployed(code=code), "AWS::Lambda::Version") for code in ("one", "two"))
    assert not set(one) & set(other)


def test_a_version_s_description_is_short_enough(deployed: Any) -> None:
    longest = deployed(**EVERYTHING, LogLevel="WARNING", MemorySize="10240", Timeout="900", ModelMetrics="false")
    (version,) = of_type(longest, "AWS::Lambda::Version").values()
    assert len(version["Description"]) <= 256


def test_the_gateway_s_own_refusals_have_openai_s_shape(deployed: Any) -> None:
    answers = body(deployed())["x-amazon-apigateway-gateway-responses"]
    expected = {
        **dict.fromkeys(("UNAUTHORIZED", "ACCESS_DENIED", "INVALID_API_KEY"), (401, "invalid_api_key")),
        "THROTTLED": (429, "rate_limit_exceeded"),
        "QUOTA_EXCEEDED": (429, "insufficient_quota"),
        "MISSING_AUTHENTICATION_TOKEN": (404, "unknown_url"),
        "REQUEST_TOO_LARGE": (413, "request_too_large"),
        "INTEGRATION_FAILURE": (503, "unavailable"),
        "INTEGRATION_TIMEOUT": (504, "timeout"),
        "DEFAULT_4XX": (None, None),
        "DEFAULT_5XX": (None, "unavailable"),
    }
    assert set(answers) == set(expected)
    for name, (status, code) in expected.items():
        text = answers[name]["responseTemplates"]["application/json"]
        assert text.isascii()  # CloudFormation may lose other characters
        error = json.loads(text.replace("$context.error.messageString", '"message"'))["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert (answers[name].get("statusCode"), error["code"]) == (status, code)
        assert answers[name]["responseParameters"]["gatewayresponse.header.x-request-id"] == "context.requestId"
    for name in ("UNAUTHORIZED", "QUOTA_EXCEEDED", "INTEGRATION_TIMEOUT"):
        assert answers[name]["responseParameters"]["gatewayresponse.header.x-should-retry"] == "'false'"
    assert "gatewayresponse.header.Retry-After" in answers["THROTTLED"]["responseParameters"]


def test_web_pages_of_the_listed_origins_may_call(deployed: Any, translated: Any) -> None:
    closed, opened = deployed(), deployed(CorsOrigins=EVERYTHING["CorsOrigins"])
    assert "options" not in body(closed)["paths"]["/{proxy+}"]
    preflight = body(opened)["paths"]["/{proxy+}"]["options"]
    assert preflight["security"] == []  # a browser sends no key with it
    assert (
        preflight["x-amazon-apigateway-integration"]
        == methods(opened)["/healthz", "get"]["x-amazon-apigateway-integration"]
    )
    assert {place for place in methods(opened) if place not in methods(closed)} == {("/{proxy+}", "options")}
    settings = of_type(opened, "AWS::ApiGateway::Stage")["ApiStage"]["MethodSettings"]
    (throttle,) = [each for each in settings if each["HttpMethod"] == "OPTIONS"]
    assert (throttle["ResourcePath"], throttle["ThrottlingRateLimit"]) == ("/~1{proxy+}", 20)
    for template, header in ((closed, None), (opened, "'*'")):
        for answer in body(template)["x-amazon-apigateway-gateway-responses"].values():
            found = answer["responseParameters"].get("gatewayresponse.header.Access-Control-Allow-Origin")
            assert found == header
        function = of_type(template, "AWS::Lambda::Function")["ProxyFunction"]
        origins = function["Environment"]["Variables"]["EMERGE_CORS_ORIGINS"]
        assert origins == (EVERYTHING["CorsOrigins"] if header else "")
    pattern = re.compile(translated()["Parameters"]["CorsOrigins"]["AllowedPattern"])
    for given in ("", "*", "https://a.example", "https://a.example:8443,http://localhost:3000"):
        assert pattern.fullmatch(given)
        read_origins(given)
    for wrong in ("a.example", "https://a.example/", "https://a.example/x", "https://a.example, https://b.example"):
        assert not pattern.fullmatch(wrong)


def statements(template: Any) -> list[Any]:
    return [
        statement
        for role in of_type(template, "AWS::IAM::Role").values()
        for policy in role.get("Policies", [])
        for statement in policy["PolicyDocument"]["Statement"]
    ]


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize(
    "parameters", [{}, EVERYTHING, {"GradualDeployment": "false"}], ids=["default", "all", "plain"]
)
def test_permissions_are_narrow(deployed: Any, parameters: dict[str, str]) -> None:
    """A wildcard resource must be called one (Sid …Wildcard) and be justified beside it in the template."""
    template = deployed(**parameters)
    source = (ROOT / "template.yaml").read_text()
    wide = set()
    for statement in statements(template):
        assert not [action for action in listed(statement["Action"]) if "*" in action]
        for resource in listed(statement["Resource"]):
            if resource == "*":
                wide.add(statement["Sid"])
                assert re.search(rf"# Justified wildcard: .+\n\s+- \{{?(Sid: )?.*{statement['Sid']}", source), statement
            elif ":bedrock:" in resource:
                assert "*" not in resource
            elif isinstance(resource, str) and resource not in parameters.values():
                ours = ("parameter/emerge/mine/*", "secret:emerge/mine/*", "<ProxyFunction.Arn>:*")
                assert resource.endswith((*ours, ":deploymentgroup:<ServerlessDeploymentApplication>/*")), resource
            elif isinstance(resource, dict):
                groups = ("ProxyLogs", "AuthorizerLogs", "PreTrafficLogs")
                assert resource["Fn::GetAtt"][0] in (*groups, "PreTrafficFunction")
    roles = of_type(template, "AWS::IAM::Role")
    assert {role.get("PermissionsBoundary") for role in roles.values()} == {parameters.get("PermissionsBoundary")}
    assert wide == ({"TracesWildcard", "VpcWildcard"} if parameters is EVERYTHING else set())
    managed = {name: role["ManagedPolicyArns"] for name, role in of_type(template, "AWS::IAM::Role").items()
               if "ManagedPolicyArns" in role}  # fmt: skip
    service = "arn:aws:iam::aws:policy/service-role/"
    gradual = {"DeployRole": [f"{service}AWSCodeDeployRoleForLambda"]}
    logs = {"GatewayLogsRole": [f"{service}AmazonAPIGatewayPushToCloudWatchLogs"]}
    wanted = gradual | logs if parameters is EVERYTHING else {} if "GradualDeployment" in parameters else gradual
    assert managed == wanted


def test_the_function_may_do_what_it_needs_and_no_more(deployed: Any) -> None:
    def granted(**parameters: str) -> set[str]:
        roles = of_type(deployed(**parameters), "AWS::IAM::Role")
        return {
            action
            for policy in roles["ProxyRole"]["Policies"]
            for statement in policy["PolicyDocument"]["Statement"]
            for action in listed(statement["Action"])
        }

    usual = {"logs:CreateLogStream", "logs:PutLogEvents", "ssm:GetParameter", "ssm:GetParameters"}
    usual |= {"secretsmanager:GetSecretValue"}
    assert granted() == usual
    assert granted(KmsKeyArn="arn:aws:kms:us-east-1:1:key/k") == usual | {"kms:Decrypt"}
    assert granted(Tracing="true") == usual | {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}


def bedrock_statements(template: Any) -> dict[str, Any]:
    (policy,) = of_type(template, "AWS::IAM::Role")["ProxyRole"]["Policies"]
    statements = policy["PolicyDocument"]["Statement"]
    return {each["Sid"]: each for each in statements if any("bedrock:" in action for action in listed(each["Action"]))}


def test_bedrock_is_granted_by_model_profile_or_guardrail_and_never_as_a_whole(deployed: Any) -> None:
    invoke = ["bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"]
    profile = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-lite-v1:0"
    model = "arn:aws:bedrock:us-west-2::foundation-model/amazon.nova-lite-v1:0"
    guardrail = "arn:aws:bedrock:us-east-1:123456789012:guardrail/gr1"
    assert bedrock_statements(deployed()) == {}
    granted = bedrock_statements(
        deployed(DefaultPanel="bedrock", BedrockModelArns=f"{profile},{model}", BedrockGuardrailArns=guardrail)
    )
    assert granted["BedrockModels"]["Resource"] == [profile, model]
    assert granted["BedrockGuardrails"]["Action"] == "bedrock:ApplyGuardrail"
    assert granted["BedrockGuardrails"]["Resource"] == [guardrail]
    assert granted["BedrockModels"]["Action"] == granted["DefaultPanel"]["Action"] == invoke
    assert not any("*" in resource for each in granted.values() for resource in each["Resource"])


def test_the_default_panel_of_bedrock_is_what_the_role_may_call(deployed: Any) -> None:
    config = load_config(ROOT / "functions" / "proxy" / "bedrock.yaml")
    models = {model.model for model in config.models.values()}
    template = deployed(DefaultPanel="bedrock")
    granted = bedrock_statements(template)["DefaultPanel"]["Resource"]
    assert {arn.rpartition("/")[2] for arn in granted} == models
    assert models == {model for model, _ in detect.BEDROCK_PANEL.values()}
    assert len({model.partition(".")[0] for model in models}) == 3
    variables = of_type(template, "AWS::Lambda::Function")["ProxyFunction"]["Environment"]["Variables"]
    assert variables["EMERGE_DEFAULT_CONFIG"] == "/var/task/bedrock.yaml"


def watched(alarm: Any) -> list[Any]:
    """The metrics of an alarm, as mappings with Namespace, MetricName and Dimensions."""
    return [alarm, *(each.get("MetricStat", {}).get("Metric", {}) for each in alarm.get("Metrics", []))]


def widget_metrics(template: Any) -> list[tuple[str, str, list[str]]]:
    """(namespace, name, names of dimensions) of each metric that the dashboard shows; `.` and `...` written out."""
    found = []
    dashboard = template["Resources"]["Dashboard"]["Properties"]["DashboardBody"]
    for widget in json.loads(dashboard)["widgets"]:
        before: list[str] = []
        rows = widget["properties"]["metrics"]
        ids = {part["id"] for row in rows for part in row if isinstance(part, dict) and "id" in part}
        for row in rows:
            if isinstance(row[0], dict) and ids:
                assert set(re.findall(r"[a-z]\w*", row[0]["expression"])) == ids
                continue
            if isinstance(row[0], dict):
                schema, names, stack = re.fullmatch(
                    r"SEARCH\('\{(.+?)\} MetricName=(.+?) Stack=\"(.+?)\"', '\w+', \d+\)", row[0]["expression"]
                ).groups()  # type: ignore[union-attr]
                assert stack == "mine"
                namespace, *dimensions = schema.split(",")
                found += [(namespace, name, dimensions) for name in re.findall(r'"(\w+)"', names)]
                continue
            texts = [each for each in row if isinstance(each, str)]
            if texts == ["..."]:
                texts = before
            texts = [before[i] if each == "." else each for i, each in enumerate(texts)]
            before = texts
            assert texts[3::2] in (["mine"], ["mine", "prod"], ["<ProxyFunction>"], ["<AuthorizerFunction>"])
            found.append((texts[0], texts[1], texts[2::2]))
    return found


def test_alarms_and_dashboard_watch_what_the_code_emits(deployed: Any) -> None:
    template = deployed(**EVERYTHING)
    alarms = of_type(template, "AWS::CloudWatch::Alarm")
    ours = [each for alarm in alarms.values() for each in watched(alarm) if each.get("Namespace") == metrics.NAMESPACE]
    assert {each["MetricName"] for each in ours} == {"ConfigErrors", "Errors", "Requests", "CostUSD"}
    for each in ours:
        assert each["Dimensions"] == [{"Name": "Stack", "Value": "mine"}]
    tables = {
        ("Stack",): {*metrics.REQUEST_METRICS, *metrics.BASELINE_METRICS, *metrics.STACK_METRICS},
        ("Stack", "Ensemble"): set(metrics.REQUEST_METRICS),
        ("Stack", "Model"): set(metrics.MODEL_METRICS),
    }
    shown = widget_metrics(template)
    assert {name for namespace, name, _ in shown if namespace == "AWS/ApiGateway"} == {
        *("Count", "4XXError", "5XXError", "Latency", "IntegrationLatency")
    }
    functions = {(name, *dimensions) for namespace, name, dimensions in shown if namespace == "AWS/Lambda"}
    assert functions >= {("Throttles", "FunctionName"), ("Invocations", "FunctionName")}
    shown = [each for each in shown if not each[0].startswith("AWS/")]
    for namespace, name, dimensions in [*shown, *((each["Namespace"], each["MetricName"], ["Stack"]) for each in ours)]:
        assert namespace == metrics.NAMESPACE
        assert name in tables[tuple(dimensions)], name
    assert {name for _, name, _ in shown} >= {
        "Requests",
        "Errors",
        "Degraded",
        "CostUSD",
        "BaselineCostUSD",
        "Agreement",
        "Calls",
        "CallLatency",
        "CallCostUSD",
        "ConfigAge",
    }
    gateway = [{"Name": "ApiName", "Value": "mine"}, {"Name": "Stage", "Value": "prod"}]
    assert template["Resources"]["Api"]["Properties"]["Name"] == "mine"
    theirs = {each["MetricName"] for alarm in alarms.values() for each in watched(alarm)
              if each.get("Namespace") == "AWS/ApiGateway" and each["Dimensions"] == gateway}  # fmt: skip
    assert theirs == {"4XXError", "5XXError", "Latency", "Count"}
    for alarm in ("FunctionErrorsAlarm", "ThrottlesAlarm"):
        assert alarms[alarm]["Dimensions"] == [{"Name": "FunctionName", "Value": {"Ref": "ProxyFunction"}}]
    others = {each["MetricName"] for alarm in alarms.values() for each in watched(alarm)
              if each.get("Namespace") == "AWS/Lambda"}  # fmt: skip
    assert others == {"Errors", "Throttles"}
    own = alarms["UnhandledErrorsAlarm"]
    (made,) = of_type(template, "AWS::Logs::MetricFilter")["UnhandledErrorsFilter"]["MetricTransformations"]
    assert (own["Namespace"], own["MetricName"]) == (made["MetricNamespace"], made["MetricName"])


def test_alarms_tell_whom_the_parameter_names(deployed: Any) -> None:
    own = "arn:aws:sns:us-east-1:123456789012:ops"
    ways: list[tuple[dict[str, str], list[Any]]] = [
        ({}, []),
        ({"AlarmEmail": "ops@example.com"}, [{"Ref": "AlarmTopic"}]),
    ]
    ways += [({"AlarmTopicArn": own}, [own])]
    for parameters, told in ways:
        alarms = of_type(deployed(**parameters), "AWS::CloudWatch::Alarm")
        assert len(alarms) == 10
        assert all(alarm["AlarmActions"] == alarm["OKActions"] == told for alarm in alarms.values())
    assert of_type(deployed(AlarmTopicArn=own), "AWS::SNS::Topic") == {}
    (topic,) = of_type(deployed(AlarmEmail="ops@example.com"), "AWS::SNS::Topic").values()
    assert topic["Subscription"] == [{"Protocol": "email", "Endpoint": "ops@example.com"}]


def test_a_rollback_is_for_our_own_faults_alone(deployed: Any) -> None:
    template = deployed()
    (group,) = of_type(template, "AWS::CodeDeploy::DeploymentGroup").values()
    assert {each["Name"]["Ref"] for each in group["AlarmConfiguration"]["Alarms"]} == OUR_FAULTS
    alarms = of_type(template, "AWS::CloudWatch::Alarm")
    names = {each.get("MetricName") for name in OUR_FAULTS for each in watched(alarms[name])}
    assert names == {"Errors", "UnhandledErrors", "ConfigErrors"}
    assert alarms["FunctionErrorsAlarm"]["Namespace"] == "AWS/Lambda"  # crashes, not the product's `Errors`
    assert of_type(deployed(GradualDeployment="false"), "AWS::CodeDeploy::DeploymentGroup") == {}


def test_the_log_filter_finds_the_line_that_is_logged(deployed: Any) -> None:
    (log_filter,) = of_type(deployed(), "AWS::Logs::MetricFilter").values()
    found = re.fullmatch(r'\{ \$\.message = "(.*)\*" \}', log_filter["FilterPattern"])
    assert found
    sources = [path.read_text() for path in (ROOT / "emerge_core" / "api").glob("*.py")]
    assert sum(len(re.findall(rf'log\.(?:exception|error)\(\s*"{found[1]}', text)) for text in sources) >= 2


def test_a_new_version_is_asked_before_it_gets_traffic(deployed: Any) -> None:
    def hook(template: Any) -> Any:
        (alias,) = [each for each in template["Resources"].values() if each["Type"] == "AWS::Lambda::Alias"]
        return alias.get("UpdatePolicy", {}).get("CodeDeployLambdaAliasUpdate", {}).get("BeforeAllowTrafficHook")

    for parameters in ({}, {"PreTrafficCheck": "true", "GradualDeployment": "false"}):
        template = deployed(**parameters)
        assert hook(template) is None
        assert "PreTrafficFunction" not in of_type(template, "AWS::Lambda::Function")
    template = deployed(PreTrafficCheck="true")
    assert hook(template) == {"Ref": "PreTrafficFunction"}
    function = of_type(template, "AWS::Lambda::Function")["PreTrafficFunction"]
    (version,) = of_type(template, "AWS::Lambda::Version")
    assert function["Environment"]["Variables"] == {"NEW_VERSION": {"Ref": version}}
    roles = of_type(template, "AWS::IAM::Role")
    assert json.dumps(roles["DeployRole"]["Policies"]).count("PreTrafficFunction") == 1  # CodeDeploy may invoke it


def test_concurrency(deployed: Any) -> None:
    def of(**parameters: str) -> tuple[Any, Any]:
        template = deployed(**parameters)
        (alias,) = of_type(template, "AWS::Lambda::Alias").values()
        function = of_type(template, "AWS::Lambda::Function")["ProxyFunction"]
        return function.get("ReservedConcurrentExecutions"), alias.get("ProvisionedConcurrencyConfig")

    assert of() == (None, None)
    assert of(ReservedConcurrency="50") == ("50", None)
    assert of(ProvisionedConcurrency="2") == (None, {"ProvisionedConcurrentExecutions": "2"})


@pytest.mark.parametrize(
    ("parameters", "broken"),
    [
        ({}, []),
        (EVERYTHING, []),
        ({"SnapStart": "true"}, []),
        ({"ProvisionedConcurrency": "1"}, []),
        ({"SnapStart": "true", "ProvisionedConcurrency": "1"}, ["SnapStart does not go with ProvisionedConcurrency"]),
        ({"SnapStart": "true", "ResponseMode": "stream"}, []),
        ({"AlarmEmail": "a@example.com", "AlarmTopicArn": "arn:x"}, ["Give AlarmEmail or AlarmTopicArn, not both"]),
        ({"DomainName": "llm.example.com"}, ["DomainName needs DomainCertificateArn"]),
    ],
)
def test_what_does_not_go_together_is_refused_at_once(
    translated: Any, parameters: dict[str, str], broken: list[str]
) -> None:
    assert Resolver(translated(**parameters), parameters).broken_rules() == broken


def test_a_domain_of_one_s_own(deployed: Any) -> None:
    plain = deployed()
    assert plain["Outputs"]["BaseUrl"]["Value"] == "https://<Api>.execute-api.us-east-1.amazonaws.com/prod/v1"
    assert of_type(plain, "AWS::ApiGateway::DomainName") == {}
    assert "DomainTarget" not in plain["Outputs"]
    template = deployed(**EVERYTHING)
    assert template["Outputs"]["BaseUrl"]["Value"] == "https://llm.example.com/x/v1"
    domain = of_type(template, "AWS::ApiGateway::DomainName")["Domain"]
    assert (domain["EndpointConfiguration"], domain["SecurityPolicy"]) == ({"Types": ["REGIONAL"]}, "TLS_1_2")
    mapping = of_type(template, "AWS::ApiGateway::BasePathMapping")["DomainMapping"]
    assert (mapping["BasePath"], mapping["Stage"]) == ("x", {"Ref": "ApiStage"})
    v1 = deployed(**{**EVERYTHING, "DomainPath": "v1"})
    assert v1["Outputs"]["BaseUrl"]["Value"] == "https://llm.example.com/v1"  # and the app is given /v1/…
    assert of_type(v1, "AWS::ApiGateway::BasePathMapping")["DomainMapping"]["BasePath"] == "v1"
    rootless = deployed(**{**EVERYTHING, "DomainPath": ""})
    assert rootless["Outputs"]["BaseUrl"]["Value"] == "https://llm.example.com/v1"
    assert "BasePath" not in of_type(rootless, "AWS::ApiGateway::BasePathMapping")["DomainMapping"]


def test_tracing_is_asked_for(deployed: Any) -> None:
    for parameters, mode in (({}, "PassThrough"), ({"Tracing": "true"}, "Active")):
        template = deployed(**parameters)
        assert of_type(template, "AWS::Lambda::Function")["ProxyFunction"]["TracingConfig"] == {"Mode": mode}
        assert of_type(template, "AWS::ApiGateway::Stage")["ApiStage"]["TracingEnabled"] is (mode == "Active")


def test_a_function_in_a_vpc(deployed: Any) -> None:
    function = of_type(deployed(**EVERYTHING), "AWS::Lambda::Function")["ProxyFunction"]
    assert function["VpcConfig"] == {"SubnetIds": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]}
    assert "VpcConfig" not in of_type(deployed(), "AWS::Lambda::Function")["ProxyFunction"]


def test_outputs_are_what_the_commands_read(deployed: Any) -> None:
    """`emerge_core.operate` finds its way by these."""
    outputs = {name: each["Value"] for name, each in deployed(ResponseMode="stream")["Outputs"].items()}
    assert outputs["ConfigParameter"] == "/emerge/mine/config"
    assert outputs["SecretsPath"] == "/emerge/mine/keys/"
    assert outputs["ProxyAlias"] == outputs["ResponseMode"] == "stream"
    assert outputs["ProxyFunctionName"] == {"Ref": "ProxyFunction"}
    assert outputs["UsagePlanId"] == {"Ref": "UsagePlan"}
    sources = " ".join(path.read_text() for path in (ROOT / "emerge_core").rglob("*.py"))
    read = set(re.findall(r'outputs(?:\.get\(|\[)"(\w+)"', sources))
    assert {"UsagePlanId", "ProxyAlias", "BaseUrl"} <= read
    assert read - set(outputs) == {"CapacityProviderName"}  # of managed instances alone
    assert (
        "CapacityProviderName"
        in deployed(Compute="managed", CapacityProviderArn="arn:aws:lambda:us-east-1:1:capacity-provider:a")["Outputs"]
    )


def test_parameters_are_what_the_commands_read(translated: Any) -> None:
    sources = (ROOT / "emerge_core" / "operate").glob("*.py")
    read = {name for path in sources for name in re.findall(r'parameters\.get\("(\w+)"', path.read_text())}
    assert {"ResponseMode", "Timeout", "KmsKeyArn"} <= read <= set(translated()["Parameters"])


def test_commands_in_the_outputs_are_commands(deployed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from emerge_core.cli import make_parser

    outputs = {name: each["Value"] for name, each in deployed()["Outputs"].items() if name.endswith("Command")}
    assert len(outputs) == 3
    for command in outputs.values():
        emerge, *arguments = command.split()
        assert emerge == "emerge"
        assert make_parser(arguments[0]).parse_args(arguments).stack == "mine"


def test_nothing_is_left_when_the_stack_goes(deployed: Any) -> None:
    template = deployed(**EVERYTHING)
    kept = {name for name, each in template["Resources"].items() for kind in ("DeletionPolicy", "UpdateReplacePolicy")
            if each.get(kind) not in (None, "Delete")}  # fmt: skip
    assert kept == {"GatewayLogsRole", "GatewayAccount"}, "only the account's own setting outlives the stack"
    logs = [each["LoggingConfig"] for each in of_type(template, "AWS::Lambda::Function").values()]
    assert logs == [{"LogGroup": {"Ref": f"{name}Logs"}} for name in ("Proxy", "Authorizer", "PreTraffic")]
    assert all(each["RetentionInDays"] for each in of_type(template, "AWS::Logs::LogGroup").values())


def test_the_functions_requirements_are_those_of_the_lock() -> None:
    def pins(path: Path) -> dict[str, str]:
        return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", path.read_text(), re.M))

    locked, shipped = pins(ROOT / "requirements.lock"), pins(ROOT / "functions" / "proxy" / "requirements.txt")
    # The lock has one numpy for each Python; the last is the function's.
    assert {name: version for name, version in shipped.items() if locked.get(name) != version} == {}
    assert not {"uvicorn", "tqdm", "matplotlib", "pytest", "moto"} & set(shipped)
    assert {"fastapi", "mangum", "aws-lambda-powertools", "boto3"} <= set(shipped)


def test_what_is_open_and_what_all_clients_share_is_throttled(deployed: Any) -> None:
    settings = of_type(deployed(), "AWS::ApiGateway::Stage")["ApiStage"]["MethodSettings"]
    assert [(each["ResourcePath"], each["HttpMethod"]) for each in settings] == [("/*", "*"), ("/~1healthz", "GET")]
    assert (settings[0]["ThrottlingRateLimit"], settings[0]["ThrottlingBurstLimit"]) == (100, 200)
    assert (settings[1]["ThrottlingRateLimit"], settings[1]["ThrottlingBurstLimit"]) == (2, 5)
    assert not [each for each in settings if each.get("MetricsEnabled")], "metrics per method would be charged"


def test_the_access_log_is_a_choice_and_holds_no_content(deployed: Any) -> None:
    plain = deployed()
    assert "AccessLogSetting" not in of_type(plain, "AWS::ApiGateway::Stage")["ApiStage"]
    assert of_type(plain, "AWS::ApiGateway::Account") == {}
    existing = deployed(AccessLog="on")
    assert of_type(existing, "AWS::ApiGateway::Account") == {}
    setting = of_type(existing, "AWS::ApiGateway::Stage")["ApiStage"]["AccessLogSetting"]
    assert setting["DestinationArn"] == {"Fn::GetAtt": ["AccessLogs", "Arn"]}
    fields = json.loads(setting["Format"])
    assert fields["keyId"] == "$context.authorizer.keyId"
    assert not [value for value in fields.values() if re.search("identity.apiKey|path$|header|body|querystring", value)]
    made = deployed(AccessLog="on", ApiGatewayLogsRole="create")
    (account,) = of_type(made, "AWS::ApiGateway::Account").values()
    assert account == {"CloudWatchRoleArn": {"Fn::GetAtt": ["GatewayLogsRole", "Arn"]}}
    (tag,) = of_type(made, "AWS::Logs::LogGroup")["AccessLogs"]["Tags"]
    assert tag["Value"] == {"Ref": "GatewayAccount"}, "the stage needs the group, and so waits for the role"


def test_the_authorizer_s_concurrency_is_bounded_by_parameter(deployed: Any) -> None:
    functions = [of_type(deployed(**each), "AWS::Lambda::Function") for each in ({}, {"AuthorizerConcurrency": "10"})]
    assert [each["AuthorizerFunction"].get("ReservedConcurrentExecutions") for each in functions] == [None, "10"]


def test_a_web_acl_layers_and_keys_by_parameter(deployed: Any) -> None:
    template = deployed(**EVERYTHING)
    (association,) = of_type(template, "AWS::WAFv2::WebACLAssociation").values()
    assert association == {
        "ResourceArn": "arn:aws:apigateway:us-east-1::/restapis/<Api>/stages/<ApiStage>",
        "WebACLArn": EVERYTHING["WebAclArn"],
    }
    assert of_type(template, "AWS::Lambda::Function")["ProxyFunction"]["Layers"] == [EVERYTHING["LayerArn"]]
    keys = {each["KmsKeyId"] for each in of_type(template, "AWS::Logs::LogGroup").values()}
    assert keys == {EVERYTHING["LogsKmsKeyArn"]}
    (topic,) = of_type(template, "AWS::SNS::Topic").values()
    assert topic["KmsMasterKeyId"] == EVERYTHING["LogsKmsKeyArn"]
    assert of_type(deployed(), "AWS::WAFv2::WebACLAssociation") == {}
    assert of_type(deployed(), "AWS::Lambda::Function")["ProxyFunction"]["Layers"] == []


def test_saved_queries_ask_for_fields_that_are_logged(deployed: Any) -> None:
    source = (ROOT / "emerge_core" / "telemetry" / "lines.py").read_text()
    source += (ROOT / "functions" / "proxy" / "environment.py").read_text()
    queries = of_type(deployed(), "AWS::Logs::QueryDefinition")
    assert len(queries) == 4
    for query in queries.values():
        assert query["LogGroupNames"] == [{"Ref": "ProxyLogs"}]
        text = re.sub(r'"[^"]*"| as \w+', "", query["QueryString"])
        made = set(re.findall(r" as (\w+)", query["QueryString"]))
        words = set(re.findall(r"(?<!@)\b[a-z]+(?:_[a-z]+)*\b", text)) - made
        words -= {
            "filter",
            "stats",
            "sort",
            "display",
            "limit",
            "by",
            "and",
            "desc",
            "sum",
            "count",
            "avg",
            "ispresent",
        }
        words -= {"message", "timestamp"}
        assert not [word for word in words if f'"{word}"' not in source and f"{word}=" not in source], words


def test_every_parameter_has_a_description(translated: Any) -> None:
    assert not [name for name, each in translated()["Parameters"].items() if not each.get("Description")]


def test_variables_that_sam_local_may_set_are_declared(deployed: Any) -> None:
    """SAM passes no others. On AWS they are empty: keys belong into SSM."""
    variables = of_type(deployed(), "AWS::Lambda::Function")["ProxyFunction"]["Environment"]["Variables"]
    empty = {name for name, value in variables.items() if value == ""}
    assert empty == {
        "EMERGE_API_KEYS",
        "EMERGE_CORS_ORIGINS",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        *(known.variable for known in detect.KNOWN),
    }
    given = json.loads((ROOT / "events" / "env.json").read_text())["ProxyFunction"]
    assert set(given) <= set(variables)
