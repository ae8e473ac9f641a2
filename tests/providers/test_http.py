from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest

from emerge_core.errors import ConfigError
from emerge_core.providers.http import http_client
from emerge_core.types import ChatRequest, UpstreamError

HELLO = ChatRequest(messages=({"role": "user", "content": "Hello"},))
CERTIFICATE = Path(__file__).parent / "loopback.pem"
KINDS = ("openai", "anthropic", "ollama")
ANSWER = {
    "choices": [{"message": {"content": "Hi"}}],
    "content": [{"type": "text", "text": "Hi"}],
    "message": {"content": "Hi"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_one_call_after_the_other_uses_one_connection(upstream_of: Any, adapter_of: Any, reply: Any, kind: str) -> None:
    async def main() -> int:
        async with upstream_of(reply(ANSWER)) as upstream, adapter_of(kind, upstream.url) as provider:
            for _ in range(5):
                await provider.complete("m", HELLO, timeout_s=5)
            return int(upstream.connections)

    assert asyncio.run(main()) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_many_calls_at_once_wait_for_no_connection(upstream_of: Any, adapter_of: Any, reply: Any, kind: str) -> None:
    async def main() -> tuple[int, int]:
        async with upstream_of(reply(ANSWER)) as upstream, adapter_of(kind, upstream.url) as provider:
            for _ in range(2):
                await asyncio.gather(*(provider.complete("m", HELLO, timeout_s=20) for _ in range(150)))
            return upstream.connections, len(upstream.sent)

    connections, calls = asyncio.run(main())
    assert calls == 300
    assert connections <= 150


@pytest.mark.parametrize("kind", KINDS)
def test_a_connection_that_died_while_idle_costs_no_call(
    upstream_of: Any, adapter_of: Any, reply: Any, kind: str
) -> None:
    async def main() -> tuple[int, int]:
        ends = reply(ANSWER, keep_alive=False)
        async with upstream_of(ends) as upstream, adapter_of(kind, upstream.url) as provider:
            for _ in range(3):
                await provider.complete("m", HELLO, timeout_s=5)
                await asyncio.sleep(0.05)
            return upstream.connections, len(upstream.sent)

    assert asyncio.run(main()) == (3, 3)


def test_after_a_cancelled_call_the_next_one_works(upstream_of: Any, adapter_of: Any, reply: Any) -> None:
    async def main() -> str | None:
        script = [reply(does="hang"), reply(ANSWER)]
        async with upstream_of(*script) as upstream, adapter_of("ollama", upstream.url) as provider:
            call = asyncio.create_task(provider.complete("m", HELLO, timeout_s=30))
            while not upstream.sent:
                await asyncio.sleep(0.01)
            call.cancel()
            await asyncio.wait([call])
            text: str | None = (await provider.complete("m", HELLO, timeout_s=5)).text
            return text

    assert asyncio.run(main()) == "Hi"


@pytest.mark.parametrize("http", [httpx, httpx2])
def test_idle_connections_are_closed_when_they_are_old(
    http: Any, upstream_of: Any, reply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emerge_core.providers.http.MAX_IDLE", 2)

    async def main() -> int:
        async with upstream_of(reply(ANSWER)) as upstream:
            client = http_client(http, upstream.url)
            await asyncio.gather(*(client.get(upstream.url) for _ in range(6)))
            kept = len(client._transport._idle)
            await client.aclose()
            return kept

    assert asyncio.run(main()) == 2


def test_a_proxy_of_the_environment_is_used(upstream_of: Any, reply: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> list[str]:
        async with upstream_of(reply(ANSWER)) as proxy:
            monkeypatch.setenv("http_proxy", proxy.url)
            client = http_client(httpx, "http://models.example")
            await client.get("http://models.example/v1/models")
            await client.aclose()
            monkeypatch.setenv("no_proxy", "127.0.0.1")
            client = http_client(httpx, proxy.url)
            await client.get(proxy.url + "/direct")
            await client.aclose()
            return [sent.path for sent in proxy.sent]

    assert asyncio.run(main()) == ["http://models.example/v1/models", "/direct"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_ca_file_that_is_none(adapter_of: Any, kind: str, tmp_path: Path) -> None:
    broken = tmp_path / "ca.pem"
    broken.write_text("not a certificate")

    async def main(ca_file: Path) -> None:
        async with adapter_of(kind, "https://127.0.0.1:9", ca_file=str(ca_file)):
            pass

    for file in (broken, tmp_path / "missing.pem"):
        with pytest.raises(ConfigError, match=file.name):
            asyncio.run(main(file))


@pytest.mark.parametrize("kind", KINDS)
def test_a_private_authority_is_trusted_for_its_own_provider_alone(
    upstream_of: Any, adapter_of: Any, reply: Any, kind: str
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)

    async def main() -> tuple[str | None, str]:
        async with upstream_of(reply(ANSWER), tls=context) as upstream:
            async with adapter_of(kind, upstream.url, ca_file=str(CERTIFICATE)) as trusting:
                text = (await trusting.complete("m", HELLO, timeout_s=5)).text
            async with adapter_of(kind, upstream.url) as wary:
                with pytest.raises(UpstreamError) as caught:
                    await wary.complete("m", HELLO, timeout_s=5)
            return text, caught.value.error.message

    text, refused = asyncio.run(main())
    assert text == "Hi"
    assert "CERTIFICATE_VERIFY_FAILED" in refused
