"""Which `Host` headers are accepted, and which web pages may call."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from emerge_core.api.cors import read_origins
from emerge_core.errors import ConfigError

Serve = Callable[..., str]
PAGE = "https://app.example.com"


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:1234", "127.0.0.1:80", "127.9.9.9", "[::1]", "[::1]:80", "app.localhost", "localhost."],
)
def test_loopback_hosts_are_accepted(serve: Serve, host: str) -> None:
    assert httpx.get(f"{serve(allowed_hosts=[])}/v1/models", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.test",
        "evil.test:8000",
        "localhost.evil.test",
        "127.0.0.1.evil.test",
        "10.0.0.1",
        "[::2]",
        "",
        "localhost@evil.test",
        "0x7f.1",
    ],
)
def test_a_name_that_may_have_been_rebound_is_refused(serve: Serve, host: str) -> None:
    url = serve(allowed_hosts=[])
    reply = httpx.get(f"{url}/v1/models", headers={"host": host})
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "host_not_allowed")
    assert httpx.get(f"{url}/healthz", headers={"host": host}).status_code == 200


def test_named_hosts_are_accepted_too_and_a_star_means_all(serve: Serve) -> None:
    url = serve(allowed_hosts=["Proxy.example.com"])
    assert httpx.get(f"{url}/v1/models", headers={"host": "proxy.example.com:8000"}).status_code == 200
    assert httpx.get(f"{url}/v1/models", headers={"host": "evil.test"}).status_code == 403
    assert httpx.get(f"{serve(allowed_hosts=['*'])}/v1/models", headers={"host": "evil.test"}).status_code == 200
    assert httpx.get(f"{serve()}/v1/models", headers={"host": "evil.test"}).status_code == 200


def preflight(url: str, origin: str) -> httpx.Response:
    headers = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    return httpx.options(f"{url}/v1/chat/completions", headers=headers)


def test_a_listed_page_may_call_and_its_preflight_needs_no_key(serve: Serve) -> None:
    url = serve(api_keys=["right"], cors_origins=[PAGE])
    reply = preflight(url, PAGE)
    assert reply.status_code == 204
    assert reply.headers["access-control-allow-origin"] == PAGE
    assert reply.headers["access-control-allow-headers"] == "authorization,content-type"
    assert "POST" in reply.headers["access-control-allow-methods"]
    body = {"model": "emerge", "messages": [{"role": "user", "content": "hi"}]}
    headers = {"origin": PAGE, "authorization": "Bearer right"}
    called = httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers)
    assert (called.status_code, called.headers["access-control-allow-origin"]) == (200, PAGE)
    assert "x-emerge-cost-usd" in called.headers["access-control-expose-headers"]
    refused = httpx.post(f"{url}/v1/chat/completions", json=body, headers={"origin": PAGE})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, PAGE)  # readable there


@pytest.mark.parametrize("origin", ["https://evil.test", "http://app.example.com", "null", f"{PAGE}.evil.test"])
def test_other_pages_are_told_nothing(serve: Serve, origin: str) -> None:
    for url in (serve(cors_origins=[PAGE]), serve()):
        reply = preflight(url, origin)
        assert reply.status_code == 405
        assert "access-control-allow-origin" not in reply.headers
        assert "access-control-allow-origin" not in httpx.get(f"{url}/v1/models", headers={"origin": origin}).headers


def test_origins_are_read_from_a_list() -> None:
    assert read_origins(f" {PAGE}, http://localhost:3000,,*") == (PAGE, "http://localhost:3000", "*")
    for wrong in ("app.example.com", f"{PAGE}/", f"{PAGE}/path", "https://"):
        with pytest.raises(ConfigError, match="is not an origin"):
            read_origins(wrong)
