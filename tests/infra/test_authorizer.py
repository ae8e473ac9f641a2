"""The authorizer: the only way past the gateway's door."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FILE = ROOT / "functions" / "authorizer" / "authorizer.py"
TOKEN = "emk_" + "A1b2C3d4E5" * 4 + "F6g"
ARN = "arn:aws:execute-api:us-east-1:123456789012:abc123/prod/POST/v1/chat/completions"


@pytest.fixture
def handler() -> Any:
    spec = importlib.util.spec_from_file_location("authorizer", FILE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.handler


@pytest.fixture
def authorize(handler: Any) -> Any:
    return lambda token, **more: handler({"authorizationToken": token, "methodArn": ARN, **more}, None)


def test_a_key_becomes_its_digest(authorize: Any) -> None:
    answer = authorize(f"Bearer {TOKEN}")
    assert answer["usageIdentifierKey"] == hashlib.sha256(TOKEN.encode()).hexdigest()
    assert answer["context"]["keyId"] == answer["principalId"] == answer["usageIdentifierKey"][:12]
    assert TOKEN not in json.dumps(answer)


def test_the_policy_is_for_the_whole_stage(authorize: Any) -> None:
    """It is cached: for one method it would refuse the next."""
    (statement,) = authorize(f"Bearer {TOKEN}")["policyDocument"]["Statement"]
    assert statement["Resource"] == "arn:aws:execute-api:us-east-1:123456789012:abc123/prod/*"
    assert statement["Effect"] == "Allow"


@pytest.mark.parametrize("given", [f"bearer {TOKEN}", f"Bearer  {TOKEN}", f"Bearer {TOKEN} "])
def test_what_http_allows(authorize: Any, given: str) -> None:
    assert authorize(given)["usageIdentifierKey"]


@pytest.mark.parametrize(
    "given",
    [
        *("", "Bearer", "Bearer ", TOKEN, f"Basic {TOKEN}", "Bearer emk_short", f"Bearer {TOKEN}!", f"Bearer x{TOKEN}"),
        *(f"Bearer {TOKEN} {TOKEN}", "Bearer sk-" + "a" * 48, f"Bearer {TOKEN}\nx", "Bearer emk_" + "a" * 65, None),
    ],
)
def test_anything_else_is_denied_without_an_error(authorize: Any, given: Any) -> None:
    """An exception would count as an error of the function; API Gateway answers a denial as a 401, too."""
    answer = authorize(given)
    (statement,) = answer["policyDocument"]["Statement"]
    assert (statement["Effect"], statement["Resource"]) == ("Deny", ARN.rsplit("/", 4)[0] + "/*")
    assert "usageIdentifierKey" not in answer


@pytest.mark.parametrize("event", [None, [], {}, {"headers": [1]}, {"authorizationToken": {"a": 1}, "methodArn": None}])
def test_an_event_of_another_kind_is_denied(handler: Any, event: Any) -> None:
    (statement,) = handler(event, None)["policyDocument"]["Statement"]
    assert (statement["Effect"], statement["Resource"]) == ("Deny", "*")


def test_a_key_without_a_method_opens_nothing(handler: Any) -> None:
    (statement,) = handler({"authorizationToken": f"Bearer {TOKEN}"}, None)["policyDocument"]["Statement"]
    assert statement["Effect"] == "Deny"


def test_a_request_event_s_header(authorize: Any) -> None:
    assert authorize(None, headers={"authorization": f"Bearer {TOKEN}"})["usageIdentifierKey"]


def test_it_needs_the_standard_library_alone() -> None:
    tree = ast.parse(FILE.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= set(sys.stdlib_module_names)
