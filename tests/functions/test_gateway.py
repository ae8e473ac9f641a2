"""API Gateway's events in ASGI's terms: what the app sees in stream mode is what it sees in buffered mode."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from mangum.handlers.api_gateway import APIGateway

from tests.support.aws_lambda.function import event
from tests.support.paths import PROXY

sys.path.insert(0, str(PROXY))

import gateway

EVENTS = [json.loads(path.read_text()) for path in sorted(PROXY.parents[1].glob("events/*.json"))]
MANY = {
    "multiValueHeaders": {"Host": ["api.example:8443"], "X-Many": ["1", "2"], "Cookie": ["a=1"]},
    "multiValueQueryStringParameters": {"a": ["1", "2"], "b": ["x y&z"], "c": ["ü"]},
}
NO_REQUESTS: tuple[Any, ...] = (None, [], "text", 7, {}, {"httpMethod": None})
SINGLE = {"queryStringParameters": {"a": "1"}, "multiValueQueryStringParameters": None, "multiValueHeaders": None}


@pytest.mark.parametrize(
    "given",
    [
        *(each for each in EVENTS if "httpMethod" in each),
        event(),
        event(body="{}", encoded=True),
        {**event(), **MANY},
        {**event(), **SINGLE},
        {**event("GET", "/v1/models/a%2Fb%20c"), "body": None},
        event("GET", "/v1/models/ü b"),
        event("GET", ""),
        event(headers={"X-Forwarded-Proto": "http", "X-Forwarded-Port": "8080"}),
    ],
)
def test_the_scope_is_that_of_the_buffered_mode(given: dict[str, Any]) -> None:
    mangum: Any = APIGateway(given, None, {"api_gateway_base_path": "/"})  # type: ignore[arg-type, typeddict-item]
    theirs, ours = mangum.scope, gateway.scope_of(given)
    same = ("type", "http_version", "method", "scheme", "path", "root_path", "query_string", "client", "aws.event")
    assert {name: ours[name] for name in same} == {name: theirs[name] for name in same}
    assert ours["server"][0] == theirs["server"][0]
    joined: dict[bytes, bytes] = {}
    for name, value in ours["headers"]:
        joined[name] = joined[name] + b", " + value if name in joined else value
    assert joined == {bytes(name): bytes(value) for name, value in theirs["headers"]}
    assert gateway.body_of(given) == mangum.body


def test_a_path_is_kept_as_it_was_sent_too() -> None:
    scope = gateway.scope_of(event("GET", "/v1/models/a%2Fb ü"))
    assert (scope["path"], scope["raw_path"]) == ("/v1/models/a/b ü", b"/v1/models/a%2Fb%20%C3%BC")


def test_a_header_given_twice_stays_two() -> None:
    scope = gateway.scope_of({**event(), **MANY})
    assert [value for name, value in scope["headers"] if name == b"x-many"] == [b"1", b"2"]
    assert (b"content-type", b"application/json") in scope["headers"]  # of `headers` alone


def test_a_preflight_is_let_in_if_there_are_origins() -> None:
    preflight = {**event("OPTIONS"), "requestContext": {}}
    refused = gateway.refusal_of(preflight, authorized_only=True)
    assert refused and refused.status == 401
    assert gateway.refusal_of(preflight, authorized_only=True, allows_preflight=True) is None
    other = {**event("POST"), "requestContext": {}}
    refused = gateway.refusal_of(other, authorized_only=True, allows_preflight=True)
    assert refused and refused.status == 401


@pytest.mark.parametrize(
    ("given", "guarded", "status"),
    [
        *((each, guarded, 400) for each in NO_REQUESTS for guarded in (False, True)),
        ({"source": "aws.events", "detail-type": "Scheduled Event"}, True, 400),
        ({"version": "2.0", "rawPath": "/"}, True, 403),
        ({"version": "2.0", "requestContext": {"http": {}}, "httpMethod": "GET", "path": "/healthz"}, False, 403),
        (event(), True, None),
        ({**event(), "requestContext": {}}, True, 401),
        ({**event(), "requestContext": {"authorizer": {"keyId": ""}}}, True, 401),
        ({**event(), "requestContext": None}, True, 401),
        ({**event(), "requestContext": {}}, False, None),
        ({**event("GET", "/healthz"), "requestContext": {}}, True, None),
        ({**event("POST", "/healthz"), "requestContext": {}}, True, 401),
        ({**event(), "body": "no base64!", "isBase64Encoded": True}, True, 400),
    ],
)
def test_what_is_refused_before_the_app(given: Any, guarded: bool, status: int | None) -> None:
    refusal = gateway.refusal_of(given, authorized_only=guarded)
    assert (refusal.status if refusal else None) == status
