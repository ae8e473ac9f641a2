"""What a config may not say on a stack."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from emerge_core.config import parse_config
from emerge_core.config.problems import shown_place
from emerge_core.operate import preflight
from emerge_core.operate.preflight import Findings

ENVIRONMENT = Path(__file__).parents[2] / "functions" / "proxy" / "environment.py"
ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:"


def found(account: Any, provider: str = "kind: openai", more: str = "", model: str = "") -> Findings:
    text = f"providers: {{up: {{{provider}}}}}\nmodels: {{a: {{provider: up, model: a{model}}}}}\n{more}"
    return preflight.preflight(parse_config(text, source="x"), account.stack, account.client)


def problems(account: Any, *args: Any, **options: Any) -> list[str]:
    return [f"{shown_place(place)}: {fault}" for place, fault in found(account, *args, **options).problems]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:11434", "http://localhost/v1", "http://LOCALHOST:1", "http://[::1]:8000/v1",
        "http://0.0.0.0:1", "http://127.9.9.9", "http://a.localhost", "http://[::ffff:127.0.0.1]:1",
        "http://host.docker.internal:1", "http://localhost.",
    ],
)  # fmt: skip
def test_loopback_is_refused(deployed: Any, url: str) -> None:
    (problem,) = problems(deployed, f'kind: openai, base_url: "{url}"')
    assert problem.startswith("providers.up.base_url: ")
    assert "the function cannot reach" in problem


def test_so_is_ollama_s_default(deployed: Any) -> None:
    assert "127.0.0.1" in problems(deployed, "kind: ollama")[0]


@pytest.mark.parametrize("url", ["https://api.example/v1", "http://10.0.0.7:1", "https://localhost.example"])
def test_other_hosts_are_not(deployed: Any, url: str) -> None:
    assert problems(deployed, f'kind: openai, base_url: "{url}"') == []


def test_a_private_address_wants_a_vpc(account: Any) -> None:
    account.deploy()
    assert "the function is in no VPC" in found(account, 'kind: openai, base_url: "http://10.0.0.7"').doubts[0]


def test_a_private_address_in_a_vpc_is_fine(account: Any) -> None:
    account.deploy(VpcSubnetIds="subnet-1,subnet-2")
    assert found(account, 'kind: openai, base_url: "http://10.0.0.7"') == Findings([], [])


@pytest.mark.parametrize(
    ("reference", "fault"),
    [
        ("ssm:/other/key", "the function may not read /other/key, only parameters under /emerge/mine/"),
        ("ssm:/emerge/mine2/keys/x", "the function may not read"),
        ("ssm:/emerge/mine/keys/none", "there is no parameter /emerge/mine/keys/none: `emerge secrets set"),
        ("secret:other/key", "the function may not read other/key, only secrets under emerge/mine/"),
        ("secret:emerge/mine/none", "there is no secret emerge/mine/none"),
        (f"secret:{ARN.replace('us-east-1', 'eu-west-1')}emerge/mine/x-abcdef", "the function may not read"),
        (f"secret:{ARN.replace('123456789012', '999999999999')}emerge/mine/x-abcdef", "the function may not read"),
        ("env:OPENAI_API_KEY", "the function has no variable OPENAI_API_KEY: keep the key with `emerge secrets set"),
    ],
)
def test_references_that_would_fail(deployed: Any, reference: str, fault: str) -> None:
    (problem,) = problems(deployed, f'kind: openai, api_key: "{reference}"')
    assert problem.startswith(f"providers.up.api_key: {fault}")


def test_references_that_work(account: Any) -> None:
    secrets = account.client("secretsmanager")
    own = secrets.create_secret(Name="emerge/mine/x", SecretString="s")["ARN"]
    extra = secrets.create_secret(Name="team/key", SecretString="s")["ARN"]
    third = secrets.create_secret(Name="team/third", SecretString="s")["ARN"]
    account.deploy(ExtraSecretArns=f"{extra},{ARN}team/wide-*, {third}")
    account.client("ssm").put_parameter(Name="/emerge/mine/keys/x", Value="v", Type="SecureString")
    references = [
        "ssm:/emerge/mine/keys/x", "secret:emerge/mine/x", f"secret:{own}", f"secret:{extra}", "secret:team/key",
        "secret:team/third", "env:EMERGE_STACK",
    ]  # fmt: skip
    for reference in references:
        assert found(account, f'kind: openai, api_key: "{reference}"') == Findings([], []), reference
    assert "no secret team/wide-one" in problems(account, 'kind: openai, api_key: "secret:team/wide-one"')[0]
    assert "may not read team/other" in problems(account, 'kind: openai, api_key: "secret:team/other"')[0]


def test_a_secret_that_is_being_deleted(deployed: Any) -> None:
    secrets = deployed.client("secretsmanager")
    secrets.create_secret(Name="emerge/mine/x", SecretString="s")
    secrets.delete_secret(SecretId="emerge/mine/x")
    assert "scheduled for deletion" in problems(deployed, 'kind: openai, api_key: "secret:emerge/mine/x"')[0]


def test_no_value_is_read(deployed: Any) -> None:
    deployed.client("ssm").put_parameter(Name="/emerge/mine/keys/x", Value="sk-secret", Type="SecureString")
    seen: list[Any] = []
    deployed.client("ssm").meta.events.register(
        "before-call.ssm", lambda model, params, **_: seen.append((model.name, params["body"]))
    )
    assert problems(deployed, 'kind: openai, api_key: "ssm:/emerge/mine/keys/x"') == []
    ((name, body),) = seen
    assert name == "GetParameters"
    assert b'"WithDecryption": false' in body


@pytest.mark.parametrize("service", ["ssm", "secretsmanager", "lambda"])
def test_what_may_not_be_looked_at_is_said(deployed: Any, service: str) -> None:
    reference = {"ssm": "ssm:/emerge/mine/x", "secretsmanager": "secret:emerge/mine/x", "lambda": "env:X"}[service]
    http = type("Http", (), {"status_code": 400})
    denied = {"Error": {"Code": "AccessDeniedException", "Message": "no"}, "ResponseMetadata": {}}
    stack = deployed.stack
    deployed.client(service).meta.events.register("before-call", lambda **_: (http, denied))
    text = f'providers: {{up: {{kind: openai, api_key: "{reference}"}}}}\nmodels: {{a: {{provider: up, model: a}}}}'
    got = preflight.preflight(parse_config(text, source="x"), stack, deployed.client)
    assert got.problems == []
    assert "could not be checked: these credentials may not look" in got.doubts[0]


ENSEMBLE = "ensembles: {{e: {{members: [a], deadline_s: {0}}}}}"


@pytest.mark.parametrize(
    ("parameters", "limit", "fix"),
    [
        ({}, 28, "deploy with ResponseMode=stream"),
        ({"Timeout": "20"}, 19, "raise the stack's Timeout (20 s)"),
        ({"ResponseMode": "stream", "Timeout": "120"}, 119, "raise the stack's Timeout (120 s)"),
    ],
)
def test_deadlines_that_would_be_cut(account: Any, parameters: dict[str, str], limit: int, fix: str) -> None:
    account.deploy(**parameters)
    assert problems(account, more=ENSEMBLE.format(limit)) == []
    (problem,) = problems(account, more=ENSEMBLE.format(limit + 0.5))
    assert problem.startswith(f"ensembles.e.deadline_s: {limit + 0.5} is longer than the {limit} s")
    assert fix in problem
    assert "called alone it is cut" in found(account, model=f", timeout_s: {limit + 1}").doubts[0]


def test_the_limits_are_the_function_s_own() -> None:
    for name in ("GATEWAY_S", "MARGIN_S"):
        (value,) = re.findall(rf"^{name} = ([\d.]+)", ENVIRONMENT.read_text(), re.M)
        assert getattr(preflight, name) == float(value)
