from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import httpx2
import pytest

from emerge_core.errors import ConfigError
from emerge_core.providers.transport.client import http_client
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


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("http", [httpx, httpx2])
def test_a_call_that_is_given_up_at_any_moment_leaves_no_socket(
    http: Any, scheme: str, upstream_of: Any, reply: Any
) -> None:
    """The moments are turns of the event loop: from before the connection is made until after the reply."""

    async def main() -> tuple[int, list[str]]:
        tls = None
        if scheme == "https":
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(CERTIFICATE)
        async with upstream_of(reply(ANSWER), tls=tls) as upstream:
            finished = 0
            for turns in range(60):
                client = http_client(http, upstream.url, ca_file=str(CERTIFICATE))
                call = asyncio.create_task(client.get(upstream.url))
                for _ in range(turns):
                    await asyncio.sleep(0.001 if turns > 40 else 0)
                call.cancel()
                await asyncio.wait([call])
                finished += not call.cancelled()
                await client.aclose()
            port = urlsplit(upstream.url).port
            left = connections(lambda _, theirs: theirs == port)
            async with asyncio.timeout(10):
                while connections(lambda ours, _: ours == port):  # the upstream's own ends
                    await asyncio.sleep(0.05)
            return finished, left

    finished, left = asyncio.run(main())
    assert finished > 0
    assert left == []


def connections(wanted: Callable[[int, int], bool]) -> list[str]:
    """This process's open connections, by the ports of their ends."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if not str(link.readlink()).startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(link.name))) as end:
                if end.family == socket.AF_INET and wanted(end.getsockname()[1], end.getpeername()[1]):
                    found.append(link.name)
    return found


@pytest.mark.parametrize("http", [httpx, httpx2])
def test_a_kept_connection_that_the_upstream_ends_costs_no_call(http: Any, upstream_of: Any, reply: Any) -> None:
    async def main() -> list[int]:
        script = [reply(ANSWER), reply(does="close"), reply(ANSWER)]
        async with upstream_of(*script) as upstream:
            client = http_client(http, upstream.url)
            statuses = [(await client.get(upstream.url)).status_code for _ in range(2)]
            await client.aclose()
            return [*statuses, len(upstream.sent)]

    assert asyncio.run(main()) == [200, 200, 3]


@pytest.mark.parametrize("http", [httpx, httpx2])
@pytest.mark.parametrize("turns", range(8))
def test_a_call_that_is_given_up_twice_blocks_no_later_one(http: Any, turns: int) -> None:
    """Two time limits that end together: the second cancellation meets the first one's clean-up, some turns
    of the event loop later, and a connection that was not given back must not be waited for."""

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345")
        except asyncio.IncompleteReadError:
            writer.close()

    async def main() -> list[str]:
        server = await asyncio.start_server(half, "127.0.0.1", 0)
        url = "http://{}:{}".format(*server.sockets[0].getsockname())
        client = http_client(http, url)
        seen = []
        for _ in range(3):
            arrived = asyncio.Event()
            call = asyncio.create_task(_body(client, url, arrived))
            async with asyncio.timeout(5):
                await arrived.wait()
            await asyncio.sleep(0.01)  # it waits for the other half
            call.cancel()
            for _ in range(turns):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait([call])
            seen.append("begun")
        await client.aclose()
        server.close()
        return seen

    assert asyncio.run(main()) == ["begun"] * 3


async def _body(client: Any, url: str, arrived: asyncio.Event) -> None:
    async with client.stream("GET", url) as response:
        arrived.set()
        await response.aread()


@pytest.mark.parametrize("http", [httpx, httpx2])
def test_connections_from_before_a_long_sleep_are_not_used(
    http: Any, upstream_of: Any, reply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frozen environment wakes up with a wall clock that has moved on, and maybe nothing else."""

    async def main() -> int:
        async with upstream_of(reply(ANSWER)) as upstream:
            client = http_client(http, upstream.url)
            await client.get(upstream.url)
            slept_until = time.time() + 31
            monkeypatch.setattr("emerge_core.providers.transport.client.time.time", lambda: slept_until)
            await client.get(upstream.url)
            await client.aclose()
            return int(upstream.connections)

    assert asyncio.run(main()) == 2


@pytest.mark.parametrize("http", [httpx, httpx2])
def test_idle_connections_are_closed_when_they_are_old(
    http: Any, upstream_of: Any, reply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emerge_core.providers.transport.client.MAX_IDLE", 2)

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
        with pytest.raises(ConfigError, match=r"^ca_file: not a readable file of PEM certificates$"):
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
