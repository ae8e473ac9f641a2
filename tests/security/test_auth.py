"""Keys: what opens, what does not, and that nothing but /healthz answers without one."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from emerge_core.api import auth, create_app
from emerge_core.api.middleware import route_path
from emerge_core.config import default_config
from emerge_core.engine.engine import Engine
from emerge_core.errors import ConfigError

KEY = "emk_right-KEY-1234567890"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "FOO")
ODD = [
    "/",
    "",
    "//",
    "*",
    "/healthz/",
    "/healthz/..",
    "/healthz/../v1/models",
    "/healthz/v1/models",
    "/v1/models/healthz",
    "/v1/models/../healthz",
    "/v1/models/../../healthz",
    "/v1//healthz",
    "/v1/healthz",
    "/v1/%2e%2e/healthz",
    "/v1%2fmodels%2f..%2f..%2fhealthz",
    "/%68ealthz/..%2fv1/models",
    "/healthz%2f..%2fv1%2fmodels",
    "/healthz%00",
    "/healthz%20",
    "/healthz;/v1/models",
    "/healthz?/v1/models",
    "/healthz#/v1/models",
    "/HEALTHZ",
    "/prod/v1/models",
    "/x/healthz/v1/models",
    "/x/v1/healthz",
    "/v1/v1/models",
    "/openapi.json",
    "/x/openapi.json",
    "/openapi.json/",
    "/openapi.json/healthz/",
    "/docs",
    "/redoc",
    "/docs/oauth2-redirect",
    "/v1",
    "/v1/",
    "/metrics",
    "/.env",
]


@pytest.fixture(scope="module")
def app() -> Iterator[Any]:
    engine = Engine(default_config(), environ={})
    yield create_app(engine, api_keys=["other-key-0987654321", KEY])
    asyncio.run(engine.aclose())


def call(app: Any, path: str, method: str = "GET", headers: Any = (), body: bytes = b"") -> tuple[int, bytes]:
    """As a server hands it on: the path decoded, nothing normalised on the way."""
    bare, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(bare),
        "raw_path": bare.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value) for name, value in headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    sent: list[dict[str, Any]] = []
    given = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        if not given:
            await asyncio.sleep(3600)
        return given.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


def bearer(key: str) -> list[tuple[str, bytes]]:
    return [("authorization", f"Bearer {key}".encode())]


def paths(app: Any) -> list[str]:
    found = {route.path.replace("{id:path}", "emerge") for route in app.routes if isinstance(route, Route)}
    assert {"/v1/chat/completions", "/v1/models", "/healthz", "/openapi.json"} <= found
    return sorted(found)


def is_healthz(path: str) -> bool:
    return route_path(unquote(path.partition("?")[0])) == "/healthz"


@pytest.mark.parametrize("method", METHODS)
def test_without_a_key_nothing_answers_but_healthz(app: Any, method: str) -> None:
    for path in [*paths(app), *(f"/stage{path}" for path in paths(app)), *ODD]:
        status, said = call(app, path, method, body=b'{"model": "emerge", "messages": []}')
        if is_healthz(path):
            assert status in (200, 405), (method, path)
            assert said in (b"", b'{"status":"ok"}') or b"method_not_allowed" in said
        else:
            assert status == 401, (method, path, status)
            assert json.loads(said)["error"]["code"] == "invalid_api_key"


def test_only_paths_that_end_in_healthz_and_name_no_version_are_open() -> None:
    opened = [path for path in ODD if is_healthz(path)]
    assert opened == ["/healthz?/v1/models"]
    assert [route_path(path) for path in ("/healthz", "//healthz", "/prod/healthz")] == ["/healthz"] * 3


def test_the_key_opens_every_route(app: Any) -> None:
    for path in paths(app):
        status, _ = call(app, path, "HEAD" if path == "/" else "GET", bearer(KEY))
        assert status in (200, 405), path


@pytest.mark.parametrize(
    ("given", "opens"),
    [
        (f"Bearer {KEY}", True),
        (f"bearer {KEY}", True),
        (f"BEARER   {KEY} ", True),
        ("Bearer other-key-0987654321", True),
        (None, False),
        ("", False),
        ("Bearer", False),
        ("Bearer ", False),
        (KEY, False),
        (f"Basic {KEY}", False),
        (f"Bearer{KEY}", False),
        (f"Bearer {KEY[:-1]}", False),
        (f"Bearer {KEY}x", False),
        (f"Bearer {KEY.upper()}", False),
        (f"Bearer {KEY} {KEY}", False),
        (f"Bearer {KEY}, Bearer x", False),
        ("Bearer " + "x" * 60_000, False),
        ("Bearer \u00e9", False),
        ("Bearer \x00", False),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_opens(app: Any, given: str | None, opens: bool) -> None:
    headers = [] if given is None else [("authorization", given.encode("latin-1"))]
    status, said = call(app, "/v1/models", headers=headers)
    assert status == (200 if opens else 401)
    if not opens:
        error = json.loads(said)["error"]
        assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key")
        assert KEY not in error["message"]
        asked = given is not None and given.lower().startswith("bearer ") and given[7:].strip() != ""
        assert ("not valid" in error["message"]) is asked


def test_a_second_header_opens_nothing_that_the_last_does_not(app: Any) -> None:
    wrong = [("authorization", b"Bearer wrong")]
    assert call(app, "/v1/models", headers=bearer(KEY) + wrong)[0] == 401


def test_a_key_may_stand_where_anthropics_clients_put_it(app: Any) -> None:
    assert call(app, "/v1/models", headers=[("x-api-key", KEY.encode())])[0] == 200
    for wrong in (b"wrong", b"", b" ", KEY.encode() + b"x", b"Bearer " + KEY.encode()):
        assert call(app, "/v1/models", headers=[("x-api-key", wrong)])[0] == 401


def test_other_places_for_a_key_are_none(app: Any) -> None:
    for headers in (
        [("cookie", KEY.encode())],
        [("proxy-authorization", bearer(KEY)[0][1])],
    ):
        assert call(app, f"/v1/models?api_key={KEY}&key={KEY}", headers=headers)[0] == 401


def test_keys_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests of equal length, every one of them, whichever matches."""
    seen: list[tuple[int, int]] = []
    equal = hmac.compare_digest

    def compare(a: bytes, b: bytes) -> bool:
        seen.append((len(a), len(b)))
        return equal(a, b)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    ring = auth.Keyring(["first-key", "second", "third"])
    assert KEY not in repr(vars(ring))
    assert "first-key" not in repr(vars(ring))
    for given in (b"first-key", b"third", b"x", b"y" * 10_000):
        seen.clear()
        ring.refusal(b"Bearer " + given)
        assert seen == [(32, 32)] * 3


def test_a_socket_opens_nothing(app: Any) -> None:
    client = TestClient(app)
    for path in ("/v1/chat/completions", "/healthz", "/v1/models"):
        with pytest.raises(WebSocketDisconnect), client.websocket_connect(path):
            pass


def test_healthz_tells_a_stranger_nothing(app: Any) -> None:
    client = TestClient(app)
    told = client.get("/healthz?verbose=1", headers={"x-emerge-trace": "full"})
    assert told.json() == {"status": "ok"}
    assert set(told.headers) == {"content-length", "content-type", "x-request-id", "openai-processing-ms"}
    assert client.head("/healthz").status_code == 200


@pytest.mark.parametrize(
    "header",
    [b"x\r\nset-cookie: a=b", b"x\nfoo: bar", "é".encode(), b"a" * 200, b"", b"\x00", b"<script>"],
)
def test_no_header_of_a_client_comes_back_as_it_likes(app: Any, header: bytes) -> None:
    """Neither as a request's id nor as a model's name."""
    client = TestClient(app, headers={"authorization": f"Bearer {KEY}"})
    scope_headers = [*bearer(KEY), ("x-request-id", header), ("content-type", b"application/json")]
    name = header.decode("latin-1")
    for stream in (False, True):
        asked = {"model": name or "x", "stream": stream, "messages": [{"role": "user", "content": "hi"}]}
        status, said = call(app, "/v1/chat/completions", "POST", scope_headers, json.dumps(asked).encode())
        assert status == 404
        assert json.loads(said)["error"]["code"] == "model_not_found"
    for path in (f"/v1/models/{name}", f"/nowhere/{name}"):
        assert call(app, path, "GET", scope_headers)[0] in (404, 200)
    told = client.get("/v1/models", headers=[("x-request-id", "fine-id.1:2_3")])
    assert told.headers["x-request-id"] == "fine-id.1:2_3"


@pytest.mark.parametrize(
    ("text", "keys"), [("", []), ("  ", []), ("one", ["one"]), (" one , two,", ["one", "two"])]
)  # fmt: skip
def test_keys_are_read_from_the_environment(text: str, keys: list[str]) -> None:
    assert auth.read_api_keys({"EMERGE_API_KEYS": text}) == keys
    assert auth.read_api_keys({}) == []


@pytest.mark.parametrize("text", [",", " , ", ",,"])
def test_a_variable_without_a_key_opens_nothing(text: str) -> None:
    with pytest.raises(ConfigError, match="EMERGE_API_KEYS is set but holds no key"):
        auth.read_api_keys({"EMERGE_API_KEYS": text})
