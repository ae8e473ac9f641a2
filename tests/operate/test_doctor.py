"""`doctor`, with the real function behind Lambda's Invoke."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from emerge_core.errors import EmergeError
from emerge_core.operate import function, keys
from emerge_core.operate.doctor import Check, examine
from tests.support.aws.account import SIMULATED
from tests.support.aws.bedrock_refusals import CASES
from tests.support.aws.bedrock_upstream import bedrock_of_models
from tests.support.aws_lambda.function import Context
from tests.support.paths import PROXY

PARAMETER = "/emerge/mine/config"


@pytest.fixture
def serving(deployed: Any, lambda_function: Any) -> Iterator[Any]:
    """The account, its function warm."""
    with served(deployed, lambda_function):
        yield deployed


@contextmanager
def served(account: Any, lambda_function: Any, **environ: str) -> Iterator[None]:
    made = lambda_function(EMERGE_CONFIG=f"ssm:{PARAMETER}", EMERGE_STACK="mine", **environ)

    def handle(event: dict[str, Any]) -> bytes:
        return json.dumps(made.module.handler(event, Context())).encode()

    with ThreadPoolExecutor(1) as environment:  # as Lambda has it: one thread, one invocation at a time
        account.invoked = lambda event: environment.submit(handle, event).result()
        yield


def put(account: Any, text: str) -> None:
    account.client("ssm").put_parameter(Name=PARAMETER, Value=text, Type="String", Overwrite=True)


def checks(account: Any, **options: Any) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for about, state, said in examine(account.stack, account.client, **options):
        found.setdefault(about, []).append((state, said))
    return found


def test_a_fresh_stack_is_well_and_says_what_is_next(serving: Any) -> None:
    found = checks(serving)
    assert {state for each in found.values() for state, _ in each} == {"ok", "warn"}
    assert "emerge config push --stack mine FILE" in found["config"][0][1]
    assert "emerge keys create --stack mine" in found["keys"][0][1]
    assert found["function"] == [("ok", "it answers; config version default serves")]
    assert "a request has at most 28 s" in found["stack"][0][1]


def test_a_stack_in_use(serving: Any) -> None:
    put(serving, SIMULATED)
    keys.create("app", stack=serving.stack, client=serving.client)
    found = checks(serving)
    assert {state for each in found.values() for state, _ in each} == {"ok"}
    assert found["config"][0][1].startswith("version 1 of ")
    assert found["keys"] == [("ok", "1 client key")]
    assert found["model a"][0][1].startswith("answers (")
    assert set(found) == {
        "stack",
        "config",
        "secrets",
        "function",
        "model a",
        "model b",
        "keys",
        "concurrency",
        "alarms",
    }
    asked = [json.loads(event["body"]) for event in serving.invocations if event["body"]]
    assert sorted((body["model"], body["max_tokens"]) for body in asked) == [("a", 16), ("b", 16)]  # side by side
    assert {(event["url"], event["query"]["Qualifier"]) for event in serving.invocations} == {
        ("/2015-03-31/functions/mine-proxy/invocations", "buffered")
    }


def test_without_live_no_model_is_asked(serving: Any) -> None:
    put(serving, SIMULATED)
    found = checks(serving, live=False)
    assert found["models"] == [("skip", "not called (--no-live)")]
    assert [event["path"] for event in serving.invocations] == ["/v1/emerge/status"]


def test_a_model_that_fails_is_named_with_its_cause(serving: Any, upstream: Any, says: Any) -> None:
    upstream.script = {"good": says("OK"), "bad": says(status=401, error="Incorrect API key provided")}
    serving.client("ssm").put_parameter(Name="/emerge/mine/keys/up", Value="sk-x", Type="SecureString")
    put(
        serving,
        f'providers: {{up: {{kind: openai, base_url: "{upstream.url}", api_key: "ssm:/emerge/mine/keys/up"}}}}\n'
        "models: {good: {provider: up, model: good}, bad: {provider: up, model: bad}}\n",
    )
    found = checks(serving)
    assert found["model good"][0][0] == "ok"
    ((state, said),) = found["model bad"]
    assert (state, "Incorrect API key" in said) == ("fail", True)
    assert found["secrets"] == [("ok", "ssm:/emerge/mine/keys/up")]
    assert ("fail", "providers.up.base_url: 127.0.0.1 is this machine, which the function cannot reach: give an "
            "address that it can") in found["config"]  # fmt: skip


def test_a_refusal_of_bedrock_comes_with_what_mends_it(serving: Any) -> None:
    refusals = {case.model: case.refusal for case in CASES}
    with bedrock_of_models(refusals) as aws:
        models = "\n".join(f"  {name}: {{provider: aws, model: {name}}}" for name in ["fine", *refusals])
        put(
            serving,
            f'providers: {{aws: {{kind: bedrock, region: us-east-1, base_url: "{aws.url}"}}}}\nmodels:\n{models}\n',
        )
        found = checks(serving)
    assert found["model fine"][0][0] == "ok"
    for case in CASES:
        ((state, said),) = found[f"model {case.model}"]
        assert (state, f"[{case.remedy}: " in said, case.mends in said) == ("fail", True, True), said


def test_the_default_panel_on_bedrock_is_asked_too(account: Any, lambda_function: Any, tmp_path: Path) -> None:
    account.deploy(DefaultPanel="bedrock")
    (refused,) = (case for case in CASES if case.model == "not-here")
    with bedrock_of_models({"qwen.qwen3-32b-v1:0": refused.refusal}) as aws:
        text = (PROXY / "bedrock.yaml").read_text()
        default = tmp_path / "bedrock.yaml"
        default.write_text(text.replace("kind: bedrock", f'kind: bedrock, region: us-east-1, base_url: "{aws.url}"'))
        with served(account, lambda_function, EMERGE_DEFAULT_CONFIG=str(default)):
            found = checks(account)
    assert found["config"] == [
        ("ok", "none is pushed, the default panel on Bedrock serves; your own: `emerge config push --stack mine FILE`")
    ]
    assert found["model gpt-oss-20b"][0][0] == found["model ministral-3-14b"][0][0] == "ok"
    ((state, said),) = found["model qwen3-32b"]
    assert (state, refused.mends in said) == ("fail", True)


def test_an_embedder_is_asked_for_a_vector(serving: Any) -> None:
    put(serving, SIMULATED + "embedders: {small: {provider: p, model: small}}\n")
    assert checks(serving)["embedder small"][0][0] == "ok"
    assert [
        json.loads(event["body"])["input"] for event in serving.invocations if event["path"] == "/v1/embeddings"
    ] == ["OK"]


def test_a_broken_config_behind_a_good_one(serving: Any) -> None:
    put(serving, SIMULATED)
    assert checks(serving)["function"][0][0] == "ok"
    put(serving, "models: {a: {provider: nowhere}}")
    function.ask(serving.stack, serving.client, "GET", "/v1/emerge/status")  # which looks
    found = checks(serving)
    assert found["config"][0][0] == "fail"
    ((state, said),) = found["function"]
    assert (state, "version 1 serves on" in said) == ("fail", True)


@pytest.mark.parametrize("value", [None, "  "])
def test_a_secret_that_is_not_there(serving: Any, value: str | None) -> None:
    if value:
        serving.client("ssm").put_parameter(Name="/emerge/mine/keys/up", Value=value, Type="SecureString")
    put(
        serving,
        'providers: {up: {kind: openai, api_key: "ssm:/emerge/mine/keys/up"}}\nmodels: {a: {provider: up, model: a}}',
    )
    found = checks(serving)
    assert found["secrets"][0][0] == "fail"
    assert "emerge secrets set" in found["model a"][0][1]


def test_a_function_that_crashes_or_is_another(deployed: Any) -> None:
    put(deployed, SIMULATED)
    deployed.invoked = lambda event: ImportError("no module named x")
    found = checks(deployed)
    assert found["function"] == [("fail", "the function crashed (ImportError): see its log group")]
    assert found["models"] == [("skip", "not called: the function does not answer")]
    deployed.invoked = lambda event: b'"hello"'
    assert "is not one of emerge's" in checks(deployed)["function"][0][1]


def test_a_streaming_function_s_reply_has_a_prelude(account: Any) -> None:
    account.deploy(ResponseMode="stream")
    status = {"response_mode": "stream", "config": {"version": "3", "source": "s", "age_s": 1, "error": None}}
    account.invoked = lambda event: b'{"statusCode": 200, "headers": {}}' + b"\0" * 8 + json.dumps(status).encode()
    found = checks(account)
    assert found["function"] == [("ok", "it answers; config version 3 serves")]
    assert "stream, a request has at most 59 s" in found["stack"][0][1]
    status["response_mode"] = "buffered"
    assert "deploy again" in checks(account)["function"][0][1]


@pytest.mark.parametrize(
    ("limit", "reserved", "state", "said"),
    [
        (1000, None, "ok", "1000 requests at once (shared with the account's other functions; the account's limit is "
         "1000): 500 requests/s of 2 s each, 40 of 25 s"),
        (10, None, "warn", "5 requests/s of 2 s each, 0.4 of 25 s; ask for more at Service Quotas (AWS Lambda)"),
        (1000, 50, "warn", "50 requests at once (reserved for this function; "),
        (1000, 200, "ok", "200 requests at once (reserved for this function; "),
    ],
)  # fmt: skip
def test_what_concurrency_allows(deployed: Any, limit: int, reserved: int | None, state: str, said: str) -> None:
    deployed.limits = {"ConcurrentExecutions": limit, "UnreservedConcurrentExecutions": limit - (reserved or 0)}
    if reserved:
        deployed.client("lambda").put_function_concurrency(
            FunctionName="mine-proxy", ReservedConcurrentExecutions=reserved
        )
    ((found, text),) = checks(deployed)["concurrency"]
    assert (found, said in text) == (state, True), text


def test_alarms_of_this_stack(deployed: Any) -> None:
    watch = deployed.client("cloudwatch")
    for name in ("mine-crashed", "theirs"):
        watch.put_metric_alarm(
            AlarmName=name, AlarmDescription="The function crashed", Namespace="N", MetricName="M", Statistic="Sum",
            Period=60, EvaluationPeriods=1, Threshold=0, ComparisonOperator="GreaterThanThreshold",
        )  # fmt: skip
        watch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="test")
    deployed.alarms = ["mine-crashed"]
    assert checks(deployed)["alarms"] == [("fail", "mine-crashed: The function crashed")]
    watch.set_alarm_state(AlarmName="mine-crashed", StateValue="OK", StateReason="test")
    assert checks(deployed)["alarms"] == [("ok", "none of 1 is raised")]


def test_a_look_that_aws_refuses_does_not_end_the_others(deployed: Any) -> None:
    http = type("Http", (), {"status_code": 403})
    denied = {"Error": {"Code": "AccessDeniedException", "Message": "no"}, "ResponseMetadata": {}}
    stack = deployed.stack
    deployed.client("apigateway").meta.events.register("before-call", lambda **_: (http, denied))
    found = list(examine(stack, deployed.client))
    assert (
        Check("keys", "fail", "these AWS credentials may not call GetApiKeys: grant it, or use another --profile")
        in found
    )
    assert found[-1].about == "alarms"


def test_asking_gives_the_error_s_own_words(serving: Any) -> None:
    reply = function.ask(
        serving.stack, serving.client, "POST", "/v1/chat/completions", {"model": "none", "messages": []}
    )
    assert reply.status in (400, 404)
    assert reply.error
    serving.invoked = lambda event: b"nonsense"
    with pytest.raises(EmergeError, match="is its code what was built"):
        function.ask(serving.stack, serving.client, "GET", "/healthz")


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("a: <html><body>Bad gateway</body></html>", "a (an HTML page)"),
        ("<!DOCTYPE html><html>", "(an HTML page)"),
        ("b < c and d > e", "b < c and d > e"),
    ],
)
def test_no_page_of_html_is_shown(message: str, shown: str) -> None:
    reply = function.Reply(status=502, body={"error": {"message": message}})
    assert reply.error == shown


def test_an_access_log_needs_the_account_s_role(account: Any) -> None:
    account.deploy(AccessLog="on")
    put(account, SIMULATED)
    ((state, said),) = checks(account)["access log"]
    assert (state, "ApiGatewayLogsRole=create" in said) == ("fail", True)
    role = "arn:aws:iam::123456789012:role/logs"
    http = type("Http", (), {"status_code": 200})
    events = account.client("apigateway").meta.events
    events.register("before-call.api-gateway.GetAccount", lambda **_: (http, {"cloudwatchRoleArn": role}))
    assert checks(account)["access log"] == [("ok", f"API Gateway writes it as {role}")]


def managed(account: Any, **parameters: str) -> Any:
    """A stack on managed instances whose function answers by the runtime loop."""
    account.deploy(Compute="managed", ResponseMode="stream", **parameters)
    status = {"response_mode": "stream", "compute": "managed", "config": {"version": "3", "error": None}}
    account.invoked = lambda event: b'{"statusCode": 200, "headers": {}}' + b"\0" * 8 + json.dumps(status).encode()
    return status


def test_managed_instances_that_are_well(account: Any) -> None:
    managed(account)
    account.metrics = {"ExecutionEnvironmentConcurrency": 20, "ExecutionEnvironmentConcurrencyLimit": 64}
    found = checks(account)
    assert "stream, compute managed" in found["stack"][0][1]
    assert found["capacity"] == [("ok", "3 to 30 environments of 64 requests at once: 192 without scaling")]
    ((state, said),) = found["saturation"]
    assert (state, "no throttles, at most 20 of 64 requests at once" in said) == ("ok", True)
    assert "concurrency" not in found


def test_a_managed_function_that_the_runtime_loop_does_not_answer(account: Any) -> None:
    managed(account)["compute"] = "lambda"
    ((state, said),) = checks(account)["function"]
    assert (state, "a process for each request" in said) == ("fail", True)


@pytest.mark.parametrize(
    ("parameters", "scaling", "said"),
    [
        ({"ManagedConcurrency": "256"}, (3, 30), "at most 64 per vCPU, and an environment has 1: lower"),
        ({}, (2, 30), "fewer than 3 do not cover three zones"),
    ],
)
def test_managed_capacity_that_deserves_a_warning(
    account: Any, parameters: dict[str, str], scaling: tuple[int, int], said: str
) -> None:
    managed(account, **parameters)
    account.scaling = scaling
    ((state, text),) = checks(account)["capacity"]
    assert (state, said in text) == ("warn", True), text


def test_a_capacity_provider_that_is_not_active(account: Any) -> None:
    managed(account)
    account.provider = {"State": "Failed"}
    assert checks(account)["capacity"] == [("fail", "capacity provider mine-provider is Failed")]


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ({"ConcurrencyThrottles": 7}, "7 requests were throttled (ConcurrencyThrottles): raise ManagedMinEnvironments"),
        ({"MemoryThrottles": 1}, "raise ManagedMemorySize"),
        ({"ExecutionEnvironmentCPUUtilization": 93.4}, "ExecutionEnvironmentCPUUtilization was 93 %"),
        (
            {"ExecutionEnvironmentConcurrency": 60, "ExecutionEnvironmentConcurrencyLimit": 64},
            "an environment had 60 of 64 requests at once",
        ),
    ],
)
def test_saturation_names_its_reason(account: Any, metrics: dict[str, float], said: str) -> None:
    managed(account)
    account.metrics = metrics
    ((state, text),) = checks(account)["saturation"]
    assert (state, said in text) == ("warn", True), text
