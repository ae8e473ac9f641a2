"""The buffered handler, from a gateway's event to its reply."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import re
import threading
from typing import Any

import pytest

from emerge_core.telemetry.metrics import MODEL_METRICS, REQUEST_METRICS, STACK_METRICS
from tests.support.aws_lambda.function import PARAMETER, QUESTION, Context, event

CONFIG = """
providers: {{up: {{kind: openai, base_url: "{url}", api_key: "{key}"}}}}
models:
  a: {{provider: up, model: a, price: {{input: 1, output: 2}}}}
  b: {{provider: up, model: b, price: {{input: 1, output: 2}}}}
ensembles: {{emerge: {{members: [a, b], aggregator: vote, early_decision: false}}}}
{more}
"""


@pytest.fixture
def push(aws: Any, upstream: Any) -> Any:
    upstream.script = {}

    def put(key: str = "ssm:/emerge/test/keys/up", more: str = "", text: str | None = None) -> None:
        text = text or CONFIG.format(url=upstream.url, key=key, more=more)
        aws("ssm").put_parameter(Name=PARAMETER, Value=text, Type="String", Overwrite=True)

    return put


def secret(aws: Any, value: str) -> None:
    aws("ssm").put_parameter(Name="/emerge/test/keys/up", Value=value, Type="SecureString", Overwrite=True)


def test_until_the_first_push_the_simulated_panel_serves(aws: Any, lambda_function: Any) -> None:
    function = lambda_function()
    assert "391" in function.ask().text  # of whichever member answered in time
    status = function("GET", "/v1/emerge/status").json
    assert status["status"] == "ok"
    assert "default" in status["config"]["source"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/prod/v1/chat/completions", "/x/v1/chat/completions"])
@pytest.mark.parametrize("encoded", [False, True])
def test_paths_and_bodies_of_a_gateway(aws: Any, lambda_function: Any, path: str, encoded: bool) -> None:
    reply = lambda_function()("POST", path, QUESTION, encoded=encoded)
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.json["emerge"]["agreement"] == 1.0


def test_a_stream_is_one_valid_body(aws: Any, lambda_function: Any) -> None:
    reply = lambda_function().ask(stream=True)
    assert reply.headers["content-type"].startswith("text/event-stream")
    events = [part.removeprefix("data: ") for part in reply.body.split("\n\n") if part.startswith("data: ")]
    assert events[-1] == "[DONE]"
    text = "".join(json.loads(each)["choices"][0]["delta"].get("content") or "" for each in events[:-1])
    assert text == "The answer is 391."


def test_responses_and_embeddings_are_served_too(aws: Any, lambda_function: Any) -> None:
    function = lambda_function()
    asked = {"model": "emerge", "input": "What is 17 * 23?"}
    whole = function("POST", "/prod/v1/responses", asked).json
    assert whole["output"][0]["content"][0]["text"] == "The answer is 391."
    streamed = function("POST", "/v1/responses", {**asked, "stream": True}).body
    events = [json.loads(part.partition("data: ")[2]) for part in streamed.split("\n\n") if "data: " in part]
    assert (events[0]["type"], events[-1]["type"]) == ("response.created", "response.completed")
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "The answer is 391."
    embedded = function("POST", "/v1/embeddings", {"model": "sim-embed", "input": ["a", "b"]}).json
    assert [row["index"] for row in embedded["data"]] == [0, 1]


@pytest.mark.parametrize("breaks", [False, True])
def test_what_is_live_elsewhere_is_one_valid_body_here(
    aws: Any, push: Any, upstream: Any, says: Any, lambda_function: Any, breaks: bool
) -> None:
    secret(aws, "sk-one")
    push()
    upstream.script = {"a": says("Well, the answer is 42.", breaks_after=4 if breaks else None)}
    reply = lambda_function().ask(model="a", stream=True)
    assert reply.status == 200
    events = [part.removeprefix("data: ") for part in reply.body.split("\n\n") if part.startswith("data: ")]
    last = json.loads(events.pop()) if breaks else events.pop()
    assert (last["error"]["code"] if breaks else last) == ("stream_interrupted" if breaks else "[DONE]")
    text = "".join(json.loads(each)["choices"][0]["delta"].get("content") or "" for each in events)
    assert text == ("Well, the answer is " if breaks else "Well, the answer is 42.")


def test_a_pushed_config_serves_from_the_next_request(
    aws: Any, push: Any, upstream: Any, says: Any, lambda_function: Any
) -> None:
    function = lambda_function()
    assert function.ask().text == "The answer is 391."
    secret(aws, "sk-one")
    push()
    upstream.script = {"a": says("42"), "b": says("42")}
    function.ask()  # looks, and is itself served by what was there
    assert function.ask().text == "42"


def test_a_broken_config_never_replaces_a_good_one(
    aws: Any, push: Any, upstream: Any, says: Any, lambda_function: Any
) -> None:
    upstream.script = {"a": says("42"), "b": says("42")}
    secret(aws, "sk-one")
    push()
    function = lambda_function()
    assert function.ask().text == "42"
    push(text="providers: {}\nmodels: {a: {provider: nowhere}}")
    for _ in range(3):
        assert function.ask().text == "42"
    assert function.metrics("ConfigErrors")[-1]["ConfigErrors"] == [1.0]
    assert "models" in function("GET", "/v1/emerge/status").json["config"]["error"]
    assert "the last good one serves on" in function.logged("config fault")[-1]["state"]
    push()
    function.ask()
    assert function("GET", "/v1/emerge/status").json["config"]["error"] is None


def test_without_any_config_it_says_so(aws: Any, lambda_function: Any) -> None:
    function = lambda_function(EMERGE_DEFAULT_CONFIG=None)
    reply = function.ask()
    assert reply.status == 503
    assert reply.json["error"]["type"] == "config_error"
    health = function("GET", "/healthz")
    assert (health.status, health.json) == (503, {"status": "degraded"})


@pytest.mark.parametrize("reference", ["ssm:/emerge/test/keys/up", "secret:emerge/test/up"])
def test_a_rotated_secret_is_used_from_the_next_request(
    aws: Any, push: Any, upstream: Any, says: Any, lambda_function: Any, reference: str, server: Any
) -> None:
    def store(value: str) -> None:
        if reference.startswith("ssm"):
            secret(aws, value)
        elif not aws("secretsmanager").list_secrets()["SecretList"]:
            aws("secretsmanager").create_secret(Name="emerge/test/up", SecretString=value)
        else:
            aws("secretsmanager").put_secret_value(SecretId="emerge/test/up", SecretString=value)

    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(dict(scope["headers"])[b"authorization"].decode())
        body = b'{"choices": [{"message": {"content": "42"}, "finish_reason": "stop"}]}'
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    with server(app) as url:
        upstream.url = f"{url}/v1"
        store("sk-one")
        push(key=reference)
        function = lambda_function()
        assert function.ask().text == "42"
        store("sk-two")
        function.ask()
        function.ask()
    assert seen[:2] == ["Bearer sk-one"] * 2
    assert seen[-2:] == ["Bearer sk-two"] * 2
    assert "sk-" not in json.dumps(function.lines)


def test_a_missing_secret_costs_its_provider_alone(push: Any, lambda_function: Any) -> None:
    push(more="")
    reply = lambda_function().ask()
    assert reply.status == 502
    assert "emerge secrets set" in reply.json["error"]["message"]


def test_the_deadline_is_what_the_gateway_and_lambda_leave(
    aws: Any, push: Any, upstream: Any, says: Any, lambda_function: Any
) -> None:
    secret(aws, "sk-one")
    push()
    upstream.script = {"a": says("42", delay=5), "b": says("42", delay=5)}
    function = lambda_function()
    late = function("POST", "/v1/chat/completions", QUESTION, age_s=27.7)
    assert (late.status, late.json["error"]["type"]) == (504, "timeout_error")
    short = function("POST", "/v1/chat/completions", QUESTION, context=Context(remaining_ms=1_300))
    assert short.status == 504


def test_lines_and_metrics_tell_of_a_request_and_nothing_secret(
    aws: Any, push: Any, upstream: Any, says: Any, lambda_function: Any
) -> None:
    secret(aws, "sk-very-secret")
    push()
    upstream.script = {"a": says("the answer is 42"), "b": says(status=500)}
    function = lambda_function()
    reply = function.ask(messages=[{"role": "user", "content": "a private question"}])
    calls, requests = function.logged("call"), function.logged("request")
    assert [(line["model"], line["status"]) for line in calls] == [("a", "ok"), ("b", "error")]
    (line,) = requests
    assert line["request_id"] == reply.headers["x-request-id"]
    assert (line["key_id"], line["gateway_request_id"], line["status"]) == ("0123456789ab", "gateway-request", 200)
    said = json.dumps(function.lines)
    assert not [text for text in ("private", "answer is", "very-secret") if text in said]

    (emitted,) = function.metrics("Requests")
    (directive,) = emitted["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "Emerge"
    assert directive["Dimensions"] == [["Stack"], ["Stack", "Ensemble"]]
    assert (emitted["Stack"], emitted["Ensemble"]) == ("test", "emerge")
    assert {each["Name"] for each in directive["Metrics"]} == set(REQUEST_METRICS)
    assert emitted["Degraded"] == [1.0]
    models = function.metrics("Calls")
    assert [(each["Model"], each["CallErrors"]) for each in models] == [("a", [0.0]), ("b", [1.0])]
    assert models[0]["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["Stack", "Model"]]
    assert {each["Name"] for each in models[0]["_aws"]["CloudWatchMetrics"][0]["Metrics"]} == set(MODEL_METRICS)
    (config,) = function.metrics("ConfigErrors")
    assert config["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["Stack"]]
    assert {each["Name"] for each in config["_aws"]["CloudWatchMetrics"][0]["Metrics"]} == set(STACK_METRICS)


def test_a_name_that_a_client_made_up_is_no_dimension(aws: Any, lambda_function: Any) -> None:
    function = lambda_function(EMERGE_MODEL_METRICS="false")
    assert function.ask(model="made-up").status == 404
    assert function.ask(model="sim-a").status == 200
    for emitted in function.metrics("Requests"):
        assert emitted["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["Stack"]]
    assert function.metrics("Calls") == []


def test_content_is_logged_where_the_config_asks_for_it(
    aws: Any, push: Any, upstream: Any, says: Any, lambda_function: Any
) -> None:
    secret(aws, "sk-one")
    push(more="trace: full\nlog_content: true")
    upstream.script = {"a": says("41"), "b": says("42")}
    function = lambda_function()
    function.ask()
    assert [(line["upstream_model"], line["text"]) for line in function.logged("call")] == [("a", "41"), ("b", "42")]
    assert function.logged("request")[0]["request"] == {"messages": QUESTION["messages"]}


@pytest.mark.parametrize("encoded", [False, True])
@pytest.mark.parametrize(
    ("letter", "count", "fits"), [("x", 4_400_000, True), ("x", 4_600_000, False), ("ü", 2_300_000, False)]
)
def test_a_request_body_of_more_than_4_5_mb_is_refused(
    aws: Any, lambda_function: Any, letter: str, count: int, fits: bool, encoded: bool
) -> None:
    """Counted as it was sent: not as Base64, not in characters."""
    question = json.dumps(
        {"model": "nobody", "messages": [{"role": "user", "content": letter * count}]}, ensure_ascii=False
    )
    reply = lambda_function()("POST", "/v1/chat/completions", question, encoded=encoded)
    assert reply.json["error"]["code"] == ("model_not_found" if fits else "request_too_large")
    assert reply.status == (404 if fits else 413)


@pytest.mark.parametrize(
    ("text", "fits"),
    [('say "' * 500_000, True), ('say "' * 900_000, False), ("語" * 1_800_000, True), ("語" * 2_100_000, False)],
    ids=["quotes", "more quotes", "three bytes each", "more of three bytes"],
)
def test_a_reply_of_more_than_lambda_takes_is_a_clear_error(
    aws: Any, push: Any, upstream: Any, says: Any, lambda_function: Any, text: str, fits: bool
) -> None:
    """Quotes are escaped twice; other letters count as UTF-8."""
    secret(aws, "sk-one")
    push()
    upstream.script = {"a": says(text), "b": says(text)}
    reply = lambda_function().ask(model="a")
    assert reply.headers["x-request-id"]
    if fits:
        assert reply.text == text
    else:
        assert (reply.status, reply.json["error"]["code"]) == (502, "reply_too_large")


def test_nothing_runs_on_once_the_invocation_returns(
    aws: Any, push: Any, upstream: Any, lambda_function: Any, server: Any
) -> None:
    """Decided early: the member still out is cancelled, and its connection is gone."""
    waiting, hung_up = threading.Event(), threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked = json.loads((await receive())["body"])
        if asked["model"] == "c":
            waiting.set()
            while (await receive())["type"] != "http.disconnect":
                pass
            hung_up.set()
            return
        while not waiting.is_set():
            await asyncio.sleep(0.001)
        body = b'{"choices": [{"message": {"content": "42"}, "finish_reason": "stop"}]}'
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": body})

    with server(app) as url:
        secret(aws, "sk-one")
        config = CONFIG.format(url=f"{url}/v1", key="ssm:/emerge/test/keys/up", more="")
        more = "  c: {provider: up, model: c}\nensembles: {emerge: {members: [a, b, c], aggregator: vote}}"
        push(text=re.sub(r"ensembles: .*", more, config))
        function = lambda_function()
        reply = function.ask()
        assert reply.json["emerge"]["early"]
        assert asyncio.all_tasks(function.loop) == set()
        assert hung_up.wait(10)


@pytest.mark.parametrize("cut", [1, 2])
def test_two_hundred_requests_with_connections_cut_in_between(
    aws: Any, push: Any, upstream: Any, lambda_function: Any, server: Any, cut: int
) -> None:
    """Every second or third reply ends its connection without saying so, as a frozen environment would find it."""
    served = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal served
        served += 1
        body = b'{"choices": [{"message": {"content": "42"}, "finish_reason": "stop"}]}'
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        if served % (cut + 1) == 0:
            scope["extensions"]["cut"]()

    def cutting(inner: Any) -> Any:
        async def wrapped(scope: Any, receive: Any, send: Any) -> None:
            transport = receive.__self__.transport
            loop = asyncio.get_running_loop()
            scope = {**scope, "extensions": {"cut": lambda: loop.call_later(0.002, transport.abort)}}
            await inner(scope, receive, send)

        return wrapped

    with server(cutting(app)) as url:
        upstream.url = f"{url}/v1"
        secret(aws, "sk-one")
        push()
        function = lambda_function(EMERGE_CONFIG_TTL_S="3600")
        assert [function.ask().status for _ in range(200)] == [200] * 200
        assert asyncio.all_tasks(function.loop) == set()


def test_two_hundred_requests_while_ssm_fails(
    aws: Any, push: Any, upstream: Any, says: Any, lambda_function: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret(aws, "sk-one")
    push()
    upstream.script = {"a": says("42"), "b": says("42")}
    function = lambda_function()
    assert function.ask().text == "42"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    function.module._environment.engine._read.__self__._clients.clear()
    assert {function.ask().text for _ in range(200)} == {"42"}
    assert function.metrics("ConfigErrors")[-1]["ConfigErrors"] == [1.0]
    assert function.metrics("ConfigErrors")[-1]["ConfigAge"][0] > 0
    assert asyncio.all_tasks(function.loop) == set()


def test_every_line_is_json_with_the_invocation_s_keys_and_no_exception_s_text(
    aws: Any, push: Any, upstream: Any, says: Any, lambda_function: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faults of our own, a library's warning, a task's lost exception."""
    push(key="env:UP_KEY")
    upstream.script = {"a": says(status=500), "b": says(status=500)}
    monkeypatch.setenv("UP_KEY", "sk-very-secret")
    function = lambda_function()
    function.ask()

    async def broken(self: Any, request: Any, *args: Any, **options: Any) -> Any:
        logging.getLogger("some.library").warning("a fault of %s\nwith a private answer", "the library")
        task = asyncio.ensure_future(lose())
        await asyncio.wait({task})
        del task
        gc.collect()
        raise LookupError("a private question, sk-very-secret")

    async def lose() -> None:
        raise LookupError("a private answer")

    monkeypatch.setattr("emerge_core.engine.engine.Engine.run", broken)
    function.lines.clear()
    for stream in (False, True):
        assert "private" not in function.ask(stream=stream).body
    said = json.dumps(function.lines)
    assert not [text for text in ("private", "very-secret") if text in said]
    messages = [line["message"] for line in function.lines if "message" in line]
    assert "a fault of the library" in messages
    assert "Task exception was never retrieved" in messages
    (unhandled,) = function.logged("unhandled error")
    assert "test_handler.py" in unhandled["exception"]
    assert unhandled["exception"].endswith("LookupError")
    for line in function.lines:
        if "message" in line:
            assert (line["key_id"], line["gateway_request_id"]) == ("0123456789ab", "gateway-request")
            assert line["function_request_id"] == Context().aws_request_id


def test_no_line_names_the_asyncio_task(aws: Any, lambda_function: Any) -> None:
    """Python 3.12 and later put it on every record."""
    function = lambda_function()
    function.ask()
    assert function.logged("request")
    assert not [line for line in function.lines if "taskName" in line]


REFUSED = [
    ("POST", "/v1/chat/completions", "{", 400, "invalid_request_error"),
    ("POST", "/v1/chat/completions", {"model": "nobody", "messages": []}, 400, "invalid_request_error"),
    ("POST", "/v1/chat/completions", {**QUESTION, "model": "nobody"}, 404, "model_not_found"),
    ("GET", "/v1/nothing", None, 404, "unknown_url"),
    ("DELETE", "/v1/chat/completions", None, 405, "method_not_allowed"),
    ("POST", "/v1/chat/completions", "x" * 4_600_000, 413, "request_too_large"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "code"), REFUSED)
def test_a_refused_request_has_its_line_and_its_metric(
    aws: Any, lambda_function: Any, method: str, path: str, body: Any, status: int, code: str
) -> None:
    function = lambda_function()
    function.ask()
    reply = function(method, path, body)
    assert reply.status == status
    asked, refused = function.logged("request")
    assert (asked["cold_start"], refused["cold_start"]) == (True, False)
    assert (refused["status"], refused["error"], refused["calls"]) == (status, code, 0)
    assert refused["request_id"] == reply.headers["x-request-id"]
    assert (refused["key_id"], refused["gateway_request_id"]) == ("0123456789ab", "gateway-request")
    counted = [(each["Requests"], each["Errors"]) for each in function.metrics("Requests")]
    assert counted == [([1.0], [0.0]), ([1.0], [1.0])]


def test_without_a_config_a_request_has_its_line_and_health_checks_have_none(aws: Any, lambda_function: Any) -> None:
    function = lambda_function(EMERGE_DEFAULT_CONFIG=None)
    function.ask()
    function("GET", "/healthz")
    (refused,) = function.logged("request")
    assert (refused["status"], refused["error"]) == (503, "config_error")


def test_only_requests_of_the_authorizer_are_served(
    aws: Any, lambda_function: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct = event("POST", "/v1/chat/completions", QUESTION)
    direct["requestContext"].pop("authorizer")
    function = lambda_function()
    assert function.module.handler(direct, Context())["statusCode"] == 401
    function.read()
    assert function.logged("request")[0]["error"] == "invalid_api_key"
    assert lambda_function(EMERGE_AUTH=None).module.handler(direct, Context())["statusCode"] == 200
    assert lambda_function(AWS_SAM_LOCAL="true").module.handler(direct, Context())["statusCode"] == 200


def test_a_preflight_needs_no_key_and_is_not_counted(aws: Any, lambda_function: Any) -> None:
    origin = "https://app.example.com"
    headers = {"host": "api.example", "origin": origin, "access-control-request-method": "POST"}
    headers["access-control-request-headers"] = "authorization,content-type"
    preflight = event("OPTIONS", "/v1/chat/completions", headers=headers)
    preflight["requestContext"].pop("authorizer")
    function = lambda_function(EMERGE_CORS_ORIGINS=origin)
    allowed = function.module.handler(preflight, Context())
    assert (allowed["statusCode"], allowed["headers"]["access-control-allow-origin"]) == (204, origin)
    stranger = {**preflight, "headers": {**headers, "origin": "https://other.example"}, "multiValueHeaders": {}}
    refused = function.module.handler(stranger, Context())
    assert refused["statusCode"] == 405 and "access-control-allow-origin" not in refused["headers"]
    asked = function("POST", "/v1/chat/completions", QUESTION, headers={"origin": origin})
    assert (asked.status, asked.headers["access-control-allow-origin"]) == (200, origin)
    assert [line["status"] for line in function.logged("request")] == [200]
    closed = lambda_function(EMERGE_CORS_ORIGINS=None)
    assert closed.module.handler(preflight, Context())["statusCode"] == 401


def test_without_time_nobody_is_asked_and_nothing_is_billed(
    aws: Any, push: Any, upstream: Any, says: Any, lambda_function: Any
) -> None:
    secret(aws, "sk-one")
    push()
    upstream.script = {"a": says("42"), "b": says("42")}
    function = lambda_function()
    for context, age_s in ((Context(remaining_ms=900), 0.0), (Context(), 28.5)):
        reply = function("POST", "/v1/chat/completions", QUESTION, context=context, age_s=age_s)
        assert (reply.status, reply.json["error"]["type"]) == (504, "timeout_error")
    assert upstream.bodies == []
    assert function.logged("call") == []
    assert [line["status"] for line in function.logged("request")] == [504, 504]


@pytest.mark.parametrize("off_s", [-3_600.0, 3_600.0])
def test_a_clock_that_is_wrong_takes_no_time_away(aws: Any, lambda_function: Any, off_s: float) -> None:
    assert lambda_function()("POST", "/v1/chat/completions", QUESTION, age_s=off_s).status == 200


def test_metrics_have_a_value_for_each_call_and_sensible_digits(
    aws: Any, push: Any, upstream: Any, says: Any, lambda_function: Any
) -> None:
    secret(aws, "sk-one")
    push(more="")
    upstream.script = {"a": says("42", prompt_tokens=7), "b": says("42")}
    function = lambda_function(EMERGE_MODEL_METRICS=None)
    function.ask()
    models = {each["Model"]: each for each in function.metrics("Calls")}
    assert set(models) == {"a", "b"}
    assert models["a"]["CallCostUSD"] == [2.7e-05]
    assert len(models["a"]["CallLatency"]) == 1
    values = [value for line in function.lines if "_aws" in line for each in line.values() if isinstance(each, list)
              for value in each]  # fmt: skip
    assert values
    assert not [value for value in values if len(repr(value).partition("e")[0].replace(".", "").lstrip("0-")) > 7]


def test_a_fault_of_the_start_tells_no_text(aws: Any, lambda_function: Any) -> None:
    function = lambda_function(EMERGE_CONFIG_TTL_S="sk-a-secret")
    with pytest.raises(RuntimeError, match=r"(?s)^init failed: .*ValueError$") as raised:
        function.ask()
    assert "sk-a-secret" not in str(raised.value)
    assert raised.value.__suppress_context__
