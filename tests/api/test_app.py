"""The surface as any HTTP client sees it: errors, keys, ids, prefixes, the trace."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from emerge_core.api import create_app
from emerge_core.api.middleware import route_path
from emerge_core.errors import ConfigError, RequestError
from emerge_core.types import Cost

Ask = Callable[..., httpx.Response]


def error_of(reply: httpx.Response) -> dict[str, Any]:
    assert reply.headers["content-type"] == "application/json"
    error = reply.json()["error"]
    assert list(error)[:4] == ["message", "type", "param", "code"]
    return dict(error)


# the emerge object


def test_the_summary_tells_all_but_the_keys(ask: Ask, engine: Any, make: Any) -> None:
    engine.result = make.trace(make.reply(cost=Cost(usd=0.1 + 0.2)), make.failed())
    emerge = ask().json()["emerge"]
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 2,
        "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    assert emerge == {
        "ensemble": "emerge",
        "strategy": "ensemble",
        "aggregator": "vote",
        "rule": "vote:majority",
        "selected": ["1"],
        "agreement": 0.666666667,
        "votes": [{"weight": 1.0, "members": ["mini"]}],
        "early": False,
        "escalated": False,
        "abstained": False,
        "degraded": True,
        "fallback": None,
        "cost_usd": 0.3,
        "cost_known": True,
        "cost_estimated": False,
        "usage": {"sum": usage, "selected": usage},
        "latency_ms": 20.0,
        "overhead_ms": 1.5,
        "calls": [
            {
                "id": "1",
                "role": "member",
                "model": "mini",
                "provider": "sim",
                "status": "ok",
                "usable": True,
                "error": None,
                "finish_reason": "stop",
                "attempts": 1,
                "latency_ms": 12.346,
                "usage": usage,
                "cost_usd": 0.3,
                "cost_known": True,
                "cost_estimated": False,
                "weight": 1.0,
                "confidence": 0.75,
                "dropped_params": [],
            },
            {
                "id": "2",
                "role": "member",
                "model": "haiku",
                "provider": "sim",
                "status": "error",
                "usable": False,
                "error": "rate_limit 429: slow down",
                "finish_reason": None,
                "attempts": 1,
                "latency_ms": 0.0,
                "usage": None,
                "cost_usd": 0.0,
                "cost_known": True,
                "cost_estimated": False,
                "weight": 1.0,
                "confidence": None,
                "dropped_params": [],
            },
        ],
    }


def test_the_full_trace_adds_keys_and_texts(ask: Ask) -> None:
    emerge = ask(headers={"x-emerge-trace": "full"}).json()["emerge"]
    assert [vote["key"] for vote in emerge["votes"]] == ["42", "41"]
    assert [(call["answer_key"], call["text"]) for call in emerge["calls"]] == [
        ("42", "42"),
        ("42", "42"),
        ("41", "41"),
    ]


def test_the_trace_can_be_off(ask: Ask, engine: Any, make: Any) -> None:
    assert "emerge" not in ask(headers={"x-emerge-trace": "off"}).json()
    engine.config = engine.config.model_copy(update={"trace": "off"})
    assert "emerge" not in ask().json()
    assert "emerge" in ask(headers={"x-emerge-trace": "summary"}).json()
    engine.result = make.trace(make.failed(), decision=None, failure=RequestError("no", status=502))
    assert "emerge" not in ask().json()["error"]


def test_the_ceilings_of_the_caller_reach_the_engine(ask: Ask, engine: Any) -> None:
    ask(headers={"x-emerge-deadline": "3", "x-emerge-max-cost": "0.01"})
    assert (engine.limits[0].deadline_s, engine.limits[0].max_cost_usd) == (3.0, 0.01)


# errors


def test_a_failure_carries_the_trace_and_says_whether_to_retry(ask: Ask, engine: Any, make: Any) -> None:
    failure = RequestError("none", status=502, type="upstream_error", should_retry=False)
    engine.result = make.trace(make.failed(), decision=None, failure=failure)
    reply = ask()
    error = error_of(reply)
    assert (reply.status_code, error["message"], error["type"]) == (502, "none", "upstream_error")
    assert reply.headers["x-should-retry"] == "false"
    assert reply.headers["x-emerge-cost-usd"] == "0.000000000"
    assert (error["emerge"]["selected"], error["emerge"]["rule"], error["emerge"]["agreement"]) == ([], None, None)
    assert error["emerge"]["calls"][0]["model"] == "mini"


def test_retry_after_is_in_whole_seconds(ask: Ask, engine: Any, make: Any) -> None:
    failure = RequestError("busy", status=429, type="rate_limit_error", retry_after_s=1.2, should_retry=True)
    engine.result = make.trace(make.failed(), decision=None, failure=failure)
    reply = ask()
    assert (reply.status_code, reply.headers["retry-after"], reply.headers["x-should-retry"]) == (429, "2", "true")


def test_a_crash_is_a_500_that_tells_nothing(ask: Ask, engine: Any, caplog: pytest.LogCaptureFixture) -> None:
    engine.result = ValueError("secret")
    reply = ask(headers={"x-request-id": "mine"})
    assert (reply.status_code, error_of(reply)["type"]) == (500, "server_error")
    assert reply.headers["x-request-id"] == "mine"
    assert "secret" not in reply.text
    assert "secret" in caplog.text


def test_a_broken_config_is_a_503(ask: Ask, engine: Any) -> None:
    engine.result = ConfigError("OPENAI_API_KEY is not set")
    reply = ask()
    assert (reply.status_code, error_of(reply)["type"]) == (503, "config_error")


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"model": "emerge", "messages": [], "temperature": NaN}'])
def test_a_malformed_body(http: httpx.Client, body: bytes) -> None:
    reply = http.post("/v1/chat/completions", content=body)
    assert reply.status_code == 400
    assert error_of(reply)["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/a+json",
        "application/x-www-form-urlencoded",
    ],
)
def test_json_may_come_as_json_or_unsaid_or_as_curl_sends_it(http: httpx.Client, kind: str | None) -> None:
    body = json.dumps({"model": "emerge", "messages": [{"role": "user", "content": "hi"}]})
    headers = {"content-type": kind} if kind else {}
    assert http.post("/v1/chat/completions", content=body, headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/embeddings"])
@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "multipart/form-data; boundary=x"},
        {"content-type": "application/xml"},
        {"origin": "https://evil.test", "content-type": "application/x-www-form-urlencoded"},
        {"origin": "https://evil.test"},
    ],
)
def test_other_content_types_and_the_forms_of_web_pages_are_refused(
    http: httpx.Client, engine: Any, path: str, headers: dict[str, str]
) -> None:
    body = json.dumps({"model": "emerge", "messages": [{"role": "user", "content": "hi"}]})
    reply = http.post(path, content=body, headers=headers)
    error = error_of(reply)
    assert (reply.status_code, error["code"], error["param"]) == (415, "unsupported_content_type", "content-type")
    assert reply.headers["x-request-id"]
    assert engine.requests == []


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large(http: httpx.Client, chunked: bool) -> None:
    body = b"x" * 4_500_001
    reply = http.post("/v1/chat/completions", content=iter([body]) if chunked else body)
    assert (reply.status_code, error_of(reply)["code"]) == (413, "request_too_large")


def test_a_large_body_within_the_limit(ask: Ask) -> None:
    assert ask(messages=[{"role": "user", "content": "x" * 4_400_000}]).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "unknown_url"),
        ("GET", "/v1", 404, "unknown_url"),
        ("POST", "/chat/completions", 404, "unknown_url"),
        ("POST", "/v1/completions", 404, "unknown_url"),
        ("GET", "/v1/embeddings", 405, "method_not_allowed"),
        ("GET", "/docs", 404, "unknown_url"),
        ("GET", "/v1/models/no/such", 404, "model_not_found"),
        ("GET", "/v1/responses/resp_1", 404, "unknown_url"),
        ("GET", "/v1/responses", 405, "method_not_allowed"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("OPTIONS", "/v1/chat/completions", 405, "method_not_allowed"),
    ],
)
def test_other_paths_and_methods(http: httpx.Client, method: str, path: str, status: int, code: str) -> None:
    reply = http.request(method, path)
    assert (reply.status_code, error_of(reply)["code"]) == (status, code)
    assert error_of(reply)["type"] == "invalid_request_error"


def test_legacy_completions_point_to_their_successor(http: httpx.Client) -> None:
    assert "/v1/chat/completions" in error_of(http.post("/v1/completions", json={}))["message"]


def test_a_wrong_method_names_the_right_one(http: httpx.Client) -> None:
    assert http.get("/v1/chat/completions").headers["allow"] == "POST"


def test_half_a_surrogate_pair_from_a_model_is_no_crash(ask: Ask, engine: Any, make: Any) -> None:
    engine.result = make.trace(make.reply("4\ud83d2"))
    assert ask().json()["choices"][0]["message"]["content"] == "4?2"


# ids, keys, prefixes


@pytest.mark.parametrize(
    ("given", "kept"), [("abc-1:2.3_4", True), ("a" * 128, True), ("a" * 129, False), ("a b", False)]
)
def test_a_sane_request_id_is_kept(ask: Ask, engine: Any, given: str, kept: bool) -> None:
    reply = ask(headers={"x-request-id": given})
    assert (reply.headers["x-request-id"] == given) is kept
    assert engine.request_ids == [reply.headers["x-request-id"]]


def test_request_ids_are_new_for_each(http: httpx.Client) -> None:
    assert len({http.get("/nowhere").headers["x-request-id"] for _ in range(3)}) == 3


@pytest.mark.parametrize(
    ("path", "open_"),
    [
        ("/healthz", True),
        ("/prod/healthz", True),
        ("/v1/models", False),
        ("/prod/v1/models", False),
        ("/v1/models/healthz", False),
        ("/healthz/v1/models", False),
        ("/v1/models/mini/healthz", False),
        ("/v1/chat/completions", False),
        ("/nowhere", False),
        ("/openapi.json", False),
        ("/healthz/", False),
    ],
)
def test_every_route_but_health_wants_a_key(serve: Callable[..., str], path: str, open_: bool) -> None:
    url = serve(api_keys=["right"])
    bare = httpx.get(url + path)
    assert (bare.status_code == 200) is open_
    if not open_:
        assert (bare.status_code, error_of(bare)["code"]) == (401, "invalid_api_key")
        assert bare.headers["www-authenticate"] == "Bearer"
    assert httpx.get(url + path, headers={"authorization": "Bearer right"}).status_code != 401


@pytest.mark.parametrize("shown", ["", "Bearer", "right", "Basic right", "Bearer righ", "Bearer right x"])
def test_what_is_no_key(serve: Callable[..., str], shown: str) -> None:
    reply = httpx.get(serve(api_keys=["right"]) + "/v1/models", headers={"authorization": shown})
    assert reply.status_code == 401
    assert reply.headers["x-request-id"]


def test_an_empty_key_in_the_list_is_an_error_and_no_open_door(engine: Any) -> None:
    for keys in (["a", ""], [" "]):
        with pytest.raises(ConfigError, match="empty key"):
            create_app(engine, api_keys=keys)


@pytest.mark.parametrize(
    ("path", "to"),
    [
        ("/v1/models", "/v1/models"),
        ("/prod/v1/models", "/v1/models"),
        ("/a/b/v1/models/x/v1/y", "/v1/models/x/v1/y"),
        ("/v1/models/x/v1/y", "/v1/models/x/v1/y"),
        ("/prod/healthz", "/healthz"),
        ("/v1/models/healthz", "/v1/models/healthz"),
        ("/xhealthz", "/xhealthz"),
        ("/v1x/models", "/v1x/models"),
    ],
)
def test_prefixes_are_transparent(path: str, to: str) -> None:
    assert route_path(path) == to


def test_a_completion_behind_a_stage(http: httpx.Client) -> None:
    body = {"model": "emerge", "messages": [{"role": "user", "content": "hi"}]}
    assert http.post("/prod/v1/chat/completions", json=body).status_code == 200


# health, life, description


def test_health(http: httpx.Client, engine: Any) -> None:
    reply = http.get("/healthz")
    assert (reply.status_code, reply.json()) == (200, {"status": "ok"})
    assert http.head("/healthz").status_code == 200
    engine.config = engine.config.model_copy(update={"models": {}})
    reply = http.get("/healthz")
    assert (reply.status_code, reply.json()) == (503, {"status": "degraded"})


def test_the_engine_is_closed_at_shutdown(engine: Any) -> None:
    async def live() -> None:
        app = create_app(engine)
        async with app.router.lifespan_context(app):
            assert not engine.closed

    asyncio.run(live())
    assert engine.closed


def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_error(
    url: str, engine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    address = urlsplit(url)
    with socket.create_connection((address.hostname or "", address.port or 0)) as connection:
        connection.sendall(b'POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"a":')
    assert httpx.get(f"{url}/healthz").status_code == 200
    assert engine.requests == []
    assert "unhandled" not in caplog.text


def test_the_description_names_every_route(http: httpx.Client) -> None:
    described = http.get("/openapi.json").json()
    served = {
        f"/v1/{name}"
        for name in ("chat/completions", "responses", "embeddings", "models", "models/{id}", "emerge/status")
    } | {"/v1/messages", "/v1/messages/count_tokens"}
    assert set(described["paths"]) == {*served, "/healthz"}
    assert described["openapi"].startswith("3.1")


def test_without_a_config_health_is_degraded_and_all_else_a_503() -> None:
    class Unconfigured:
        @property
        def config(self) -> Any:
            raise ConfigError("EMERGE_CONFIG names no file")

        async def run(self, *_: Any, **__: Any) -> Any:
            raise AssertionError("not reached")

        embed = run
        count_tokens = run

        def breakers(self) -> Any:
            raise AssertionError("not reached")

        def refusals(self) -> list[dict[str, Any]]:
            return []

        async def aclose(self) -> None: ...

    async def ask_all() -> list[tuple[int, str]]:
        transport = httpx.ASGITransport(create_app(Unconfigured()))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
            body = {"model": "emerge", "messages": [{"role": "user", "content": "hi"}]}
            chat = await http.post("/v1/chat/completions", json=body)
            models = await http.get("/v1/models")
            health = await http.get("/healthz")
            return [
                (chat.status_code, chat.json()["error"]["type"]),
                (models.status_code, models.json()["error"]["type"]),
                (health.status_code, health.json()["status"]),
            ]

    assert asyncio.run(ask_all()) == [(503, "config_error"), (503, "config_error"), (503, "degraded")]
