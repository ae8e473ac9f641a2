"""Events that nobody should send, as a table: a name, and the event. Both response modes must read each alike,
and none may be an error of the function."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from tests.support.aws_lambda.function import QUESTION, event

WELL = event("POST", "/v1/chat/completions", QUESTION)
LONE = "\ud800"


def odd_events() -> list[tuple[str, Any]]:
    """Built anew each time, since an old time stamp means that the gateway has given up."""
    now_ms = time.time() * 1000
    WELL["requestContext"]["requestTimeEpoch"] = now_ms
    return list(_table(now_ms))


def _with(name: str, value: Any) -> dict[str, Any]:
    return {**WELL, name: value}


def _without(name: str) -> dict[str, Any]:
    return {key: value for key, value in WELL.items() if key != name}


def _header(name: str, value: Any, *, multiple: bool = True) -> dict[str, Any]:
    headers = {**WELL["headers"], name: value}
    several = {each: [one] for each, one in headers.items()} if multiple else None
    return {**WELL, "headers": headers, "multiValueHeaders": several}


def _request(**changes: Any) -> dict[str, Any]:
    return {**WELL, "requestContext": {**WELL["requestContext"], **changes}}


def _get(path: Any, **changes: Any) -> dict[str, Any]:
    return {**event("GET", "/v1/models"), "path": path, **changes}


def _table(now_ms: float) -> Iterator[tuple[str, Any]]:
    yield "well", WELL
    for number, given in enumerate((None, [], {}, "text", "", 7, 1.5, True, [WELL], {"a": 1})):
        yield f"another kind of JSON {number}", given
    yield "a warm-up", {"warmup": True}
    yield "a warm-up of a plugin", {"source": "serverless-plugin-warmup"}
    yield "a schedule", {"version": "0", "source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}
    yield "a queue", {"Records": [{"eventSource": "aws:sqs", "body": "{}"}]}
    yield "a topic", {"Records": [{"EventSource": "aws:sns", "Sns": {}}]}
    yield "an object", {"Records": [{"eventSource": "aws:s3"}]}
    yield "an authorizer's", {"type": "TOKEN", "authorizationToken": "Bearer x", "methodArn": "arn:aws:x"}
    yield "a load balancer's", {**_request(elb={"targetGroupArn": "arn"}), "resource": None}
    yield "an edge's", {"Records": [{"cf": {"request": {"uri": "/", "method": "GET"}}}]}
    http = {"method": "POST", "path": "/v1/chat/completions", "sourceIp": "192.0.2.1", "protocol": "HTTP/1.1"}
    url = {"version": "2.0", "rawPath": "/v1/chat/completions", "rawQueryString": "", "headers": WELL["headers"]}
    url |= {"requestContext": {"http": http, "requestId": "r"}, "body": WELL["body"], "isBase64Encoded": False}
    yield "a function URL's", url
    yield "a function URL's with IAM", {**url, "requestContext": {**url["requestContext"], "authorizer": {"iam": {}}}}
    yield "an HTTP API's", {**url, "routeKey": "$default"}
    yield "version 2.0 dressed as 1.0", {**WELL, "version": "2.0"}
    yield "version 1.0 of an HTTP API", {**WELL, "version": "1.0"}

    for name in WELL:
        yield f"without {name}", _without(name)
        yield f"{name} null", _with(name, None)
    for name in ("headers", "multiValueHeaders", "queryStringParameters", "multiValueQueryStringParameters"):
        for number, value in enumerate(([], "text", 7, {}, [["a", "b"]], True)):
            yield f"{name} of another type {number}", _with(name, value)
    for number, value in enumerate(([], "text", 7, {}, True)):
        yield f"requestContext of another type {number}", _with("requestContext", value)
    for number, value in enumerate(("post", "BREW", "", 7, [], "GET ", "HEAD", "OPTIONS", LONE, "P" * 300)):
        yield f"method {number}", _with("httpMethod", value)
    paths: tuple[str, ...] = (
        "",
        "v1/models",
        "//v1//models",
        "/v1/models/",
        "/v1/models/%",
        "/v1/models/%zz",
        "/v1/models/a%2Fb",
    )
    paths += ("/v1/models/%00", "/v1/models/\n", f"/v1/models/{LONE}", "/v1/models/%ff%fe", "/v1/models/ü", "/../v1")
    paths += (
        "/v1/models?x=1",
        "/v1/models#x",
        "/x" * 2_000,
        "/prod/healthz",
        "/healthz",
        "/HEALTHZ",
        "*",
        "http://x/y",
    )
    for number, path in enumerate[Any]((*paths, 7, ["a"], {"a": 1}, False)):
        yield f"path {number}", _get(path)

    hosts: tuple[str, ...]
    hosts = (
        "",
        " ",
        "::1",
        "[::1]",
        "[::1",
        "[::1]:8443",
        "a:b:c",
        "a:port",
        "a:99999999",
        "a:-1",
        "a b",
        "ä.example",
    )
    for number, host in enumerate((*hosts, LONE, "a\nb", "x" * 5_000, "user@host", "a/b")):
        yield f"host {number}", _header("host", host)
        yield f"host of an unknown path {number}", {**_header("host", host), "path": "/v1/nothing"}
    for number, port in enumerate(("https", "", "0", "99999999", "-1", "4 43", "٤٤٣", LONE)):
        yield f"port {number}", _header("X-Forwarded-Port", port)
    for number, scheme in enumerate(("", "ftp", "HTTPS", LONE, "https,http")):
        yield f"scheme {number}", _header("X-Forwarded-Proto", scheme)
    for number, value in enumerate((None, 7, 1.5, True, [], {"a": 1}, LONE, "a\r\nx-other: 1", "x" * 20_000)):
        yield f"header value {number}", _header("X-Odd", value)
        yield f"header value alone {number}", _header("X-Odd", value, multiple=False)
    for number, name in enumerate(("", " ", LONE, "a b", "a\nb", "Ünicode", ":authority")):
        yield f"header name {number}", _header(name, "x")
    yield "header values null", _with("multiValueHeaders", {"content-type": None, "x": [None, "a"]})
    yield "header values no list", _with("multiValueHeaders", {"content-type": "application/json"})
    yield "an id of another's form", _header("x-request-id", "a b\nc")
    yield "deadline of the client", _header("x-emerge-deadline", "soon")

    for number, query in enumerate(({"a": None}, {"a": [None]}, {LONE: [LONE]}, {"a": [1, {"b": 2}]}, {"": [""]})):
        yield f"query {number}", _get("/v1/models", multiValueQueryStringParameters=query)
    yield "query of single values", _get("/v1/models", queryStringParameters={"a": LONE, "b": None})

    bodies = ("", "{", "null", "[]", '"x"', "7", LONE, '{"model": "' + LONE + '"}', "\x00", "\ufeff{}", "a" * 100_000)
    for number, text in enumerate((*bodies, 7, [], {"a": 1}, QUESTION, True)):
        yield f"body {number}", _with("body", text)
    for number, text in enumerate(("no base64!", "YQ", "YQ==", "", LONE, "ü", None, 7, json.dumps(QUESTION))):
        yield f"encoded body {number}", {**WELL, "body": text, "isBase64Encoded": True}
    for number, value in enumerate(("true", "false", 1, 0, [], None)):
        yield f"encoded said so {number}", _with("isBase64Encoded", value)

    stamps: tuple[Any, ...] = (
        None,
        "soon",
        -1,
        0,
        now_ms + 3_600_000,
        now_ms - 3_600_000,
        1e300,
        -1e300,
        True,
        [],
        float(10**15),
    )
    for number, stamp in enumerate(stamps):
        yield f"time stamp {number}", _request(requestTimeEpoch=stamp)
    identities: tuple[Any, ...] = (None, [], "x", {"sourceIp": None}, {"sourceIp": 7}, {"sourceIp": LONE})
    for number, identity in enumerate(identities):
        yield f"identity {number}", _request(identity=identity)
    for number, value in enumerate((None, [], "x", {}, {"keyId": None}, {"keyId": 7}, {"principalId": "x"})):
        yield f"authorizer {number}", _request(authorizer=value)
    for number, value in enumerate((None, 7, [], LONE, "a\nb")):
        yield f"request id {number}", _request(requestId=value)
