"""`emerge config`, `secrets`, `keys` and `doctor`, as their user types them, on an account by moto."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emerge_core.cli import main
from tests.support.aws.account import SIMULATED

Emerge = Callable[..., tuple[int, str, str]]
STATUS = {
    "response_mode": "buffered",
    "config": {"version": "1", "source": "ssm:/emerge/mine/config", "age_s": 3.2, "error": None},
}


@pytest.fixture
def emerge(
    deployed: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Emerge:
    """`emerge("keys list")` → exit status, standard output, standard error. An `emerge.yaml` is there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "emerge.yaml").write_text(SIMULATED)

    def reply(event: Any) -> bytes:
        return json.dumps({"statusCode": 200, "headers": {}, "body": json.dumps(STATUS)}).encode()

    deployed.invoked = reply

    def run(command: str, *, given: str = "", stack: str = "mine") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(given))
        status = main([*command.split(), "--stack", stack])
        return status, *capsys.readouterr()

    return run


def test_config(emerge: Emerge, tmp_path: Path) -> None:
    status, out, _ = emerge("config show")
    assert (status, "no config is pushed yet" in out) == (1, True)
    assert emerge("config pull")[0] == 1
    status, out, _ = emerge("config push emerge.yaml --dry-run")
    assert (status, out) == (0, "emerge.yaml: ok for mine; nothing was changed\n")
    assert emerge("config show")[0] == 1

    status, out, _ = emerge("config push emerge.yaml")
    assert (status, out) == (0, "version 1 is in ssm:/emerge/mine/config; it serves within 60 s of requests\n")
    assert emerge("config pull")[:2] == (0, SIMULATED)
    status, out, _ = emerge("config show emerge.yaml")
    assert status == 0
    assert re.search(r"^deployed   version 1 of [\d-]+ [\d:]+ \S+, \d+ bytes, standard tier$", out, re.M)
    assert "serving    version 1 (ssm:/emerge/mine/config), confirmed 3.2 s ago" in out
    assert "ensemble   emerge: a, b" in out
    assert "emerge.yaml is the same" in out

    (tmp_path / "emerge.yaml").write_text(SIMULATED + "trace: off\n")
    status, out, _ = emerge("config show emerge.yaml")
    assert (status, "+trace: off" in out) == (1, True)
    assert emerge("config pull emerge.yaml")[0] == 2
    assert emerge("config pull emerge.yaml --force")[0] == 0
    assert (tmp_path / "emerge.yaml").read_text() == SIMULATED
    assert emerge("config pull --version 7")[2] == "error: there is no version 7 of /emerge/mine/config\n"
    assert emerge("config remove")[:2] == (0, "ssm:/emerge/mine/config is removed\n")
    assert emerge("config remove", stack="another")[1] == "ssm:/emerge/another/config was not there\n"


def test_a_config_that_cannot_work_is_refused(emerge: Emerge, tmp_path: Path) -> None:
    (tmp_path / "emerge.yaml").write_text("providers: {o: {kind: ollama}}\nmodels: {a: {provider: o, model: a}}")
    status, out, err = emerge("config push emerge.yaml")
    assert (status, out) == (2, "")
    assert err.startswith("error: emerge.yaml: 1 problem\n  providers.o.base_url (line 1): 127.0.0.1")
    assert emerge("config push absent.yaml")[2] == "error: absent.yaml: cannot be read: No such file or directory\n"


def test_warnings_do_not_refuse(emerge: Emerge, tmp_path: Path) -> None:
    (tmp_path / "emerge.yaml").write_text(SIMULATED.replace("family: y", "family: x") + "#" * 5000)
    status, out, err = emerge("config push emerge.yaml")
    assert (status, "advanced tier, which AWS charges for" in out) == (0, True)
    assert "warning: emerge: a and b are of the same family (x)" in err


def test_a_function_that_cannot_be_asked_does_not_hide_what_is_deployed(emerge: Emerge, deployed: Any) -> None:
    emerge("config push emerge.yaml")
    deployed.invoked = lambda event: ImportError("x")
    status, out, _ = emerge("config show")
    assert (status, "serving    not known: the function crashed (ImportError)" in out) == (0, True)
    deployed.invoked = lambda event: b'{"statusCode": 500, "body": "{}"}'
    assert "serving    not known: the function does not answer as it should" in emerge("config show")[1]


def test_secrets(emerge: Emerge) -> None:
    assert emerge("secrets list")[:2] == (0, "mine has no secrets\n")
    status, out, err = emerge("secrets set openai", given="sk-very-secret\n")
    assert (status, out) == (0, "stored; write it in the config as api_key: ssm:/emerge/mine/keys/openai\n")
    emerge("secrets set openai", given="sk-newer")
    status, listed, _ = emerge("secrets list")
    assert re.search(r"^openai +[\d-]+ [\d:]+ \S+ +2 +ssm:/emerge/mine/keys/openai$", listed, re.M)
    assert "sk-" not in out + err + listed
    assert emerge("secrets remove")[2] == "error: give one NAME, or --all\n"
    assert emerge("secrets remove openai")[:2] == (0, "removed openai\n")
    assert emerge("secrets remove openai")[0] == 2
    status, out, err = emerge("secrets remove --all", stack="another")
    assert (status, out) == (0, "there was none\n")
    assert "there is no stack another" in err


def test_a_secret_is_never_an_argument(emerge: Emerge, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        emerge("secrets set openai sk-secret")
    assert "unrecognized arguments" in capsys.readouterr().err


def test_at_a_terminal_it_is_asked_for_and_not_shown(
    emerge: Emerge, monkeypatch: pytest.MonkeyPatch, deployed: Any
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    asked: list[str] = []

    def getpass(prompt: str) -> str:
        asked.append(prompt)
        return "sk-typed"

    monkeypatch.setattr("getpass.getpass", getpass)
    monkeypatch.setattr(sys, "stdin", Terminal())
    assert main(["secrets", "set", "openai", "--stack", "mine"]) == 0
    found = deployed.client("ssm").get_parameter(Name="/emerge/mine/keys/openai", WithDecryption=True)
    assert (asked, found["Parameter"]["Value"]) == (["openai: "], "sk-typed")


def test_keys(emerge: Emerge, deployed: Any) -> None:
    assert emerge("keys list")[:2] == (0, "mine has no keys\n")
    status, out, err = emerge("keys create app")
    assert re.fullmatch(r"emk_[A-Za-z0-9]{43}\n", out)
    assert (status, 'base_url="https://api.example/prod/v1"' in err) == (0, True)
    assert out.strip() not in err
    (key,) = deployed.client("apigateway").get_api_keys()["items"]
    deployed.usage = {key["id"]: [[3, 0], [1234, 0]]}
    status, listed, _ = emerge("keys list --usage")
    head, row = listed.splitlines()
    assert head.split() == ["name", "id", "key", "id", "created", "today", "this", "month", "left"]
    assert row.split()[:2] == ["app", key["id"]]
    assert row.split()[-3:] == ["1,234", "1,237", "-"]
    assert key["tags"]["emerge:key-id"] in err
    assert out.strip() not in listed
    assert emerge("keys create app")[2].startswith("error: there is a key app already")
    assert emerge("keys revoke")[2] == "error: give one KEY, or --all\n"
    status, out, err = emerge("keys revoke app")
    assert (status, out) == (0, f"revoked app ({key['id']})\n")
    assert "refuses this one as soon as" in err
    emerge("keys create one")
    emerge("keys create two")
    deployed.client("cloudformation").delete_stack(StackName="mine")
    assert emerge("keys list")[1].count("\n") == 3
    assert len(emerge("keys revoke --all")[1].splitlines()) == 2
    assert deployed.client("apigateway").get_api_keys()["items"] == []
    assert emerge("keys list --usage")[0] == 2


def test_doctor(emerge: Emerge, deployed: Any) -> None:
    status, out, _ = emerge("doctor --no-live")
    assert status == 0
    assert out.startswith("ok    stack        mine is CREATE_")
    assert "warn  keys         no client has a key" in out
    deployed.invoked = lambda event: ImportError("x")
    status, out, _ = emerge("doctor")
    assert (status, out.splitlines()[-1]) == (1, "3 ok, 2 warn, 1 fail")


def test_a_stack_that_is_not_there(emerge: Emerge) -> None:
    for command in ("doctor", "config push emerge.yaml", "keys create x", "secrets set x", "secrets remove x"):
        status, _, err = emerge(command, given="v", stack="absent")
        assert (status, err) == (
            2,
            "error: there is no stack absent in us-east-1: deploy it first, or check --stack and --region\n",
        )


def test_credentials_that_are_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert main(["keys", "list", "--stack", "mine", "--region", "us-east-1"]) == 2
    assert capsys.readouterr().err.startswith("error: no AWS credentials: give --profile")
    assert main(["keys", "list", "--stack", "mine", "--profile", "none"]) == 2
    assert "The config profile (none) could not be found" in capsys.readouterr().err
