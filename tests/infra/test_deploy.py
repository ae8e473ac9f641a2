"""`sam deploy`, an update and `sam delete` for real, with `emerge` operating the stack in between, on moto.
The code deployed is a stand-in of a few bytes: the built artifact has its own tests."""

from __future__ import annotations

import io
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from emerge_core.cli import main
from tests.support.aws.account import SIMULATED
from tests.support.paths import ROOT, TOOLS


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str], Any]]:
    """The account's clients; the environment leads SAM and `emerge` to it."""
    if not (TOOLS / "sam").exists():
        pytest.skip("the AWS tools are not installed (make tools): deploying is not tested")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = [str(TOOLS / "python"), str(ROOT / "tests/support/aws/cloud.py"), str(port)]
    environ = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_DEFAULT_REGION": "us-east-1",
        "SAM_CLI_TELEMETRY": "0",
    }
    environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "NO_PROXY": "127.0.0.1"}
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    log = tmp_path / "cloud.log"
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as server:
        try:
            for _ in range(600):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert server.poll() is None, "the account ended"
                time.sleep(0.1)
            yield boto3.client
        finally:
            server.terminate()


@pytest.fixture
def sam(tmp_path: Path) -> Callable[..., str]:
    """`sam` on the template with code of a few bytes; what it printed."""
    template = (ROOT / "template.yaml").read_text()
    for name, file in (("proxy", "app.py"), ("authorizer", "authorizer.py"), ("pretraffic", "pretraffic.py")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text("def handler(event, context): ...\n")
        template = template.replace(f"functions/{name}", name)
    (tmp_path / "template.yaml").write_text(template)

    def run(*arguments: str) -> str:
        path = f"{TOOLS}:{os.environ['PATH']}"
        command = [str(TOOLS / "sam"), *arguments]
        done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr
        return done.stdout

    return run


@pytest.fixture
def emerge(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str]]:
    def run(command: str, given: str = "") -> tuple[int, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "stdin", io.StringIO(given))
        status = main([*command.split(), "--stack", "mine"])
        return status, capsys.readouterr().out

    return run


DEPLOY = (
    "deploy",
    "--stack-name",
    "mine",
    "--resolve-s3",
    "--capabilities",
    "CAPABILITY_IAM",
    "--no-confirm-changeset",
)
# moto fails to update a topic that a condition left out
ALARM = ("--parameter-overrides", "AlarmEmail=ops@example.com")


def test_a_stack_s_life(cloud: Any, sam: Any, emerge: Any, tmp_path: Path) -> None:
    said = sam(*DEPLOY, *ALARM)
    assert "Successfully created/updated stack - mine" in said
    commands = re.findall(r"emerge \w+ \w+ --stack mine [\w.-]+", said)
    assert len(commands) == 3

    (tmp_path / "emerge.yaml").write_text(SIMULATED)
    for command in commands:
        assert emerge(command.removeprefix("emerge ").removesuffix("--stack mine"), given="sk-x")[0] == 0, command
    (key,) = cloud("apigateway").get_api_keys()["items"]
    (plan,) = cloud("apigateway").get_usage_plans()["items"]
    assert [each["id"] for each in cloud("apigateway").get_usage_plan_keys(usagePlanId=plan["id"])["items"]] == [
        key["id"]
    ]
    assert emerge("config pull") == (0, SIMULATED)
    status, said = emerge("doctor --no-live")
    states = {line.split()[1]: line.split()[0] for line in said.splitlines()[:-1]}
    # The stand-in runs no function and knows no GetAccountSettings.
    failed = {name for name, state in states.items() if state == "fail"}
    assert (failed, status) == ({"function", "concurrency"}, 1), said
    assert "<" not in said, "no page of HTML is printed"
    assert (states["stack"], states["config"], states["secrets"], states["keys"]) == ("ok", "ok", "ok", "ok")

    sam(*DEPLOY, *ALARM, "LogLevel=DEBUG", "MemorySize=1769")
    (outputs,) = (each["Outputs"] for each in cloud("cloudformation").describe_stacks(StackName="mine")["Stacks"])
    (name,) = (each["OutputValue"] for each in outputs if each["OutputKey"] == "ProxyFunctionName")
    function = cloud("lambda").get_function_configuration(FunctionName=name)
    assert (function["MemorySize"], function["Environment"]["Variables"]["POWERTOOLS_LOG_LEVEL"]) == (1769, "DEBUG")
    assert emerge("config pull") == (0, SIMULATED), "an update does not touch what was pushed"
    assert emerge("keys list")[1].splitlines()[1].startswith("my-app ")

    switched = ("ResponseMode=stream", "AccessLog=on", "ApiGatewayLogsRole=create")
    managed = ("Compute=managed", "VpcSubnetIds=subnet-1,subnet-2", "VpcSecurityGroupIds=sg-1")
    sam(*DEPLOY, *ALARM, "LogLevel=DEBUG", "MemorySize=1769", *switched, *managed)
    (stack,) = cloud("cloudformation").describe_stacks(StackName="mine")["Stacks"]
    outputs = {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}
    assert outputs["ProxyFunctionName"] != name, "managed instances run a function of their own"
    assert outputs["CapacityProviderName"]
    aliases = cloud("lambda").list_aliases(FunctionName=outputs["ProxyFunctionName"])["Aliases"]
    assert [each["Name"] for each in aliases] == ["stream"], "a mode has an alias of its own"
    names = {each["FunctionName"] for each in cloud("lambda").list_functions()["Functions"]}
    assert name not in names
    assert outputs["ProxyFunctionName"] in names
    groups = {each["logGroupName"] for each in cloud("logs").describe_log_groups()["logGroups"]}
    moto_s = {f"/aws/lambda/{name}"}  # made when doctor invoked the function
    assert groups - moto_s == {f"/emerge/mine/{part}" for part in ("proxy", "authorizer", "access")}
    assert emerge("config pull") == (0, SIMULATED)

    sam("delete", "--stack-name", "mine", "--no-prompts", "--region", "us-east-1")
    assert emerge("keys revoke --all") == (0, f"revoked my-app ({key['id']})\n")
    assert emerge("secrets remove --all") == (0, "removed openai\n")
    assert emerge("config remove")[0] == 0
    assert cloud("apigateway").get_api_keys()["items"] == []
    assert cloud("ssm").describe_parameters()["Parameters"] == []
    assert cloud("lambda").list_functions()["Functions"] == []
    stacks = cloud("cloudformation").describe_stacks()["Stacks"]
    assert [each["StackName"] for each in stacks] == ["aws-sam-cli-managed-default"]
