"""The template is the tested thing: translated as CloudFormation gets it, for each way to deploy it."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from emerge_core.telemetry import metrics

ROOT = Path(__file__).parents[2]
EMITTED = {*metrics.REQUEST_METRICS, *metrics.STACK_METRICS, *metrics.MODEL_METRICS}
MODES = ("buffered", "stream")
OPEN = [("/healthz", "get")]


def chosen(value: Any, conditions: dict[str, bool]) -> Any:
    """The value with every `Fn::If` decided."""
    if isinstance(value, dict):
        if set(value) == {"Fn::If"}:
            name, yes, no = value["Fn::If"]
            return chosen(yes if conditions[name] else no, conditions)
        return {key: chosen(item, conditions) for key, item in value.items()}
    return [chosen(item, conditions) for item in value] if isinstance(value, list) else value


def conditions(**true: bool) -> dict[str, bool]:
    names = ("Streams", "Snaps", "Reserves", "HasQuota", "InVpc", "HasSecrets", "HasKey", "HasEmail")
    return {name: true.get(name, False) for name in names}


def resources(template: Any, kind: str) -> dict[str, Any]:
    return {name: each["Properties"] for name, each in template["Resources"].items() if each["Type"] == kind}


def methods(template: Any) -> dict[tuple[str, str], Any]:
    paths = template["Resources"]["Api"]["Properties"]["Body"]["paths"]
    return {(path, verb): method for path, verbs in paths.items() for verb, method in verbs.items()}


@pytest.mark.parametrize("mode", MODES)
def test_every_method_but_healthz_wants_authorizer_and_key(translated: Any, mode: str) -> None:
    for place, method in methods(translated(ResponseMode=mode)).items():
        assert method["security"] == ([] if place in OPEN else [{"bearer": [], "key": []}])


def test_the_authorizer_names_the_key_to_the_usage_plan(translated: Any) -> None:
    template = translated()
    body = template["Resources"]["Api"]["Properties"]["Body"]
    assert body["x-amazon-apigateway-api-key-source"] == "AUTHORIZER"
    bearer = body["components"]["securitySchemes"]["bearer"]
    authorizer = bearer["x-amazon-apigateway-authorizer"]
    assert (bearer["name"], authorizer["type"]) == ("Authorization", "token")
    assert "AuthorizerFunction" in json.dumps(authorizer["authorizerUri"])
    pattern = re.compile(authorizer["identityValidationExpression"])
    assert pattern.fullmatch("Bearer emk_" + "a" * 43)
    assert not pattern.fullmatch("Bearer sk-something")
    (stage,) = resources(template, "AWS::ApiGateway::UsagePlan")["UsagePlan"]["ApiStages"]
    assert stage == {"ApiId": {"Ref": "Api"}, "Stage": {"Ref": "ApiStage"}}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("snap", ["false", "true"])
def test_integration_alias_and_environment_speak_one_protocol(translated: Any, mode: str, snap: str) -> None:
    template = translated(ResponseMode=mode, SnapStart=snap)
    streams = mode == "stream"
    decided = conditions(Streams=streams, Snaps=snap == "true" and not streams)
    uri_end = "response-streaming-invocations" if streams else "/invocations"
    alias = f"ProxyFunctionAlias{mode}"
    assert list(resources(template, "AWS::Lambda::Alias")) == [alias]
    for method in methods(template).values():
        integration = chosen(method["x-amazon-apigateway-integration"], decided)
        uri = integration["uri"]["Fn::Sub"]
        assert uri.endswith(uri_end)
        assert f"${{{alias}}}" in uri
        assert integration["responseTransferMode"] == ("STREAM" if streams else "BUFFERED")
        assert integration["timeoutInMillis"] == (900_000 if streams else 29_000)
    function = chosen(template["Resources"]["ProxyFunction"]["Properties"], decided)
    environment = function["Environment"]["Variables"]
    assert environment["EMERGE_RESPONSE_MODE"] == {"Ref": "ResponseMode"}
    wrapper = environment["AWS_LAMBDA_EXEC_WRAPPER"]
    assert wrapper == ("/var/task/stream-wrapper" if streams else {"Ref": "AWS::NoValue"})
    assert function["SnapStart"]["ApplyOn"] == ("PublishedVersions" if decided["Snaps"] else "None")
    assert template["Conditions"]["Snaps"] == {
        "Fn::And": [{"Fn::Equals": [{"Ref": "SnapStart"}, "true"]}, {"Fn::Not": [{"Condition": "Streams"}]}]
    }
    permission = resources(template, "AWS::Lambda::Permission")["ProxyPermission"]
    assert permission["FunctionName"] == {"Ref": alias}


def test_new_code_moves_version_and_deployment(translated: Any) -> None:
    """Every build is new code by its build id, so that a changed parameter reaches alias and stage."""
    before = translated(code="one")
    time.sleep(1.1)  # SAM stamps a deployment by the second
    after = translated(code="two", LogLevel="DEBUG")
    assert set(resources(before, "AWS::Lambda::Version")) != set(resources(after, "AWS::Lambda::Version"))
    deployments = [resources(each, "AWS::ApiGateway::Deployment") for each in (before, after)]
    assert set(deployments[0]) != set(deployments[1])


def test_the_gateway_s_own_refusals_have_openai_s_shape(translated: Any) -> None:
    answers = translated()["Resources"]["Api"]["Properties"]["Body"]["x-amazon-apigateway-gateway-responses"]
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
        error = json.loads(text.replace("$context.error.messageString", '"message"'))["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert (answers[name].get("statusCode"), error["code"]) == (status, code)


def test_permissions_are_narrow(translated: Any) -> None:
    justified = {"VpcInterfaces"}  # EC2 knows no narrower resource
    template = translated()
    for role in ("ProxyRole", "AuthorizerRole"):
        properties = template["Resources"][role]["Properties"]
        assert "ManagedPolicyArns" not in properties
        for policy in properties["Policies"]:
            for given in policy["PolicyDocument"]["Statement"]:
                statement = chosen(given, dict.fromkeys(conditions(), True))
                actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
                assert not [action for action in actions if "*" in action]
                resource = json.dumps(statement["Resource"])
                if statement["Sid"] not in justified:
                    assert '"*"' not in resource
                    narrow = ("emerge/${AWS::StackName}/*", "Logs", "ExtraSecretArns", "KmsKeyArn")
                    assert any(part in resource for part in narrow), statement["Sid"]


def test_alarms_and_dashboard_watch_what_the_code_emits(translated: Any) -> None:
    template = translated()
    named = set()
    for alarm in resources(template, "AWS::CloudWatch::Alarm").values():
        watched = [alarm, *(each.get("MetricStat", {}).get("Metric", {}) for each in alarm.get("Metrics", []))]
        for metric in watched:
            if metric.get("Namespace") == metrics.NAMESPACE:
                assert [each["Name"] for each in metric["Dimensions"]] == ["Stack"]
                named.add(metric["MetricName"])
    body = template["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    widgets = json.loads(body.replace("${AWS::StackName}", "s").replace("${AWS::Region}", "r"))["widgets"]
    for widget in widgets:
        for metric in widget["properties"]["metrics"]:
            if isinstance(metric[0], str):
                named |= {metric[1]} if len(metric) > 1 and isinstance(metric[1], str) else set()
            else:
                expression = metric[0]["expression"]
                found = re.search(r"MetricName=(.*?) Stack=", expression)
                assert found, expression
                named |= set(re.findall(r'"(\w+)"', found[1]))
    assert named <= EMITTED, named - EMITTED
    assert {"Requests", "Errors", "CostUSD", "ConfigErrors", "Agreement", "Calls"} <= named


def test_a_rollback_is_for_our_own_faults_alone(translated: Any) -> None:
    template = translated()
    (group,) = resources(template, "AWS::CodeDeploy::DeploymentGroup").values()
    alarms = {each["Name"]["Ref"] for each in group["AlarmConfiguration"]["Alarms"]}
    assert alarms == {"FunctionErrorsAlarm", "UnhandledErrorsAlarm", "ConfigErrorsAlarm"}


def test_the_log_filter_finds_the_line_that_is_logged(translated: Any) -> None:
    (log_filter,) = resources(translated(), "AWS::Logs::MetricFilter").values()
    found = re.fullmatch(r'\{ \$\.message = "(.*)\*" \}', log_filter["FilterPattern"])
    assert found
    sources = [path.read_text() for path in (ROOT / "emerge_core" / "api").glob("*.py")]
    assert sum(f'log.exception("{found[1]}' in text for text in sources) >= 2


def test_outputs_that_the_commands_read(translated: Any) -> None:
    wanted = {"BaseUrl", "ApiId", "UsagePlanId", "StageName", "ProxyFunctionName", "ProxyAlias", "ConfigParameter"}
    assert wanted | {"SecretsPath", "ResponseMode", "DashboardUrl"} <= set(translated()["Outputs"])


def test_nothing_is_left_when_the_stack_goes(translated: Any) -> None:
    template = translated()
    kept = [name for name, each in template["Resources"].items() if each.get("DeletionPolicy") == "Retain"]
    assert kept == []


def test_the_functions_requirements_are_those_of_the_lock() -> None:
    def pins(path: Path) -> dict[str, str]:
        return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", path.read_text(), re.M))

    locked, shipped = pins(ROOT / "requirements.lock"), pins(ROOT / "functions" / "proxy" / "requirements.txt")
    # The lock has one numpy for each Python; the last is the function's.
    assert {name: version for name, version in shipped.items() if locked.get(name) != version} == {}
    assert not {"uvicorn", "tqdm", "matplotlib", "pytest", "moto"} & set(shipped)
    assert {"openai", "anthropic", "fastapi", "mangum", "aws-lambda-powertools", "boto3"} <= set(shipped)


def test_samconfig_and_template_are_yaml_and_toml_that_others_read() -> None:
    events = [json.loads(path.read_text()) for path in (ROOT / "events").glob("*.json")]
    assert len(events) >= 12
    default = yaml.safe_load((ROOT / "functions" / "proxy" / "default.yaml").read_text())
    assert {provider["kind"] for provider in default["providers"].values()} == {"simulated"}
