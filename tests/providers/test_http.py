from __future__ import annotations

import asyncio
import gzip
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from emerge_core.config.schema import ProviderConfig
from emerge_core.errors import ConfigError
from emerge_core.providers.transport import exchange
from emerge_core.providers.transport.client import HttpClient
from emerge_core.providers.transport.connection import TransportError
from emerge_core.types import ChatRequest, UpstreamError

HELLO = ChatRequest(messages=({"role": "user", "content": "Hello"},))
CERTIFICATE = Path(__file__).parent / "loopback.pem"
KINDS = ("openai", "anthropic", "ollama")


def client_of(url: str, **config: Any) -> HttpClient:
    return HttpClient(url, headers={}, config=ProviderConfig(kind="openai", base_url=url, **config))


async def status_of(client: HttpClient, path: str = "") -> int:
    response = await client.post(path, b"{}")
    await response.read()
    return response.status


@asynccontextmanager
async def serving(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """The address of a server whose connections have ended when the block has."""
    open_ = 0

    async def tracked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_
        open_ += 1
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                await handle(reader, writer)
        finally:
            writer.close()
            open_ -= 1

    server = await asyncio.start_server(tracked, "127.0.0.1", 0)
    try:
        yield "http://{}:{}".format(*server.sockets[0].getsockname())
    finally:
        server.close()
        async with asyncio.timeout(10):
            while open_:
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)


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
def test_a_call_that_is_cancelled_at_any_moment_leaves_no_socket(scheme: str, upstream_of: Any, reply: Any) -> None:
    """The moments are turns of the event loop: from before the connection is made until after the reply."""

    async def main() -> tuple[int, list[str]]:
        tls = None
        if scheme == "https":
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(CERTIFICATE)
        async with upstream_of(reply(ANSWER), tls=tls) as upstream:
            finished = 0
            for turns in range(60):
                client = client_of(upstream.url, ca_file=str(CERTIFICATE))
                call = asyncio.create_task(status_of(client))
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


def test_a_kept_connection_that_breaks_after_the_request_is_a_failed_attempt(upstream_of: Any, reply: Any) -> None:
    """The upstream may have taken the request: asking again is for whoever counts the attempts."""

    async def main() -> tuple[bool, int]:
        async with upstream_of(reply(ANSWER), reply(does="close"), reply(ANSWER)) as upstream:
            client = client_of(upstream.url)
            await status_of(client)
            with pytest.raises(TransportError) as caught:
                await status_of(client)
            await client.aclose()
            return caught.value.sent, len(upstream.sent)

    assert asyncio.run(main()) == (True, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_closes_that_arrive_while_the_loop_stands_still_cost_no_call(
    upstream_of: Any, adapter_of: Any, reply: Any, kind: str
) -> None:
    """A Lambda environment is frozen between invocations: the upstream closes meanwhile, and the next request is
    the first thing that the loop does. The upstream here runs in a thread, as only then it can close meanwhile."""

    async def call(provider: Any) -> str | None:
        text: str | None = (await provider.complete("m", HELLO, timeout_s=5)).text
        return text

    closed, taken, serving = threading.Event(), [], threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for _ in range(4):
            link, _ = listener.accept()
            with link:
                request = b""
                while b"\r\n\r\n" not in request or not request.endswith(b"}"):
                    request += link.recv(65536)
                taken.append(request)
                body = json.dumps(ANSWER).encode()
                link.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
                link.sendall(b"content-length: %d\r\n\r\n" % len(body) + body)
                serving.wait(5)  # until the loop stands still
                serving.clear()
            closed.set()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    loop = asyncio.new_event_loop()
    made = adapter_of(kind, "http://{}:{}".format(*listener.getsockname()), max_retries=0)
    provider = loop.run_until_complete(made.__aenter__())
    for _ in range(4):
        assert loop.run_until_complete(call(provider)) == "Hi"
        serving.set()
        assert closed.wait(5)
        closed.clear()
    loop.run_until_complete(made.__aexit__(None, None, None))
    loop.close()
    listener.close()
    thread.join(5)
    assert len(taken) == 4


def test_bytes_that_no_request_asked_for_end_a_kept_connection(upstream_of: Any, reply: Any) -> None:
    async def main() -> int:
        connections = 0

        async def chatty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            await reader.readuntil(b"{}")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n!")
            await reader.readuntil(b"{}")

        async with serving(chatty) as url:
            client = client_of(url)
            for _ in range(3):
                assert await status_of(client) == 200
            await client.aclose()
        return connections

    assert asyncio.run(main()) == 3


@pytest.mark.parametrize("turns", range(8))
def test_a_call_that_is_cancelled_twice_blocks_no_later_one(turns: int) -> None:
    """Two time limits that end together: the second cancellation meets the first one's clean-up, some turns
    of the event loop later, and a connection that was not given back must not be waited for."""

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345")

    async def main() -> list[str]:
        seen = []
        async with serving(half) as url:
            client = client_of(url)
            for _ in range(3):
                arrived = asyncio.Event()
                call = asyncio.create_task(_body(client, arrived))
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
        return seen

    assert asyncio.run(main()) == ["begun"] * 3


async def _body(client: HttpClient, arrived: asyncio.Event) -> None:
    response = await client.post("", b"{}")
    try:
        arrived.set()
        await response.read()
    finally:
        await response.aclose()


def test_connections_from_before_a_long_sleep_are_not_used(
    upstream_of: Any, reply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frozen environment wakes up with a wall clock that has moved on, and maybe nothing else."""

    async def main() -> int:
        async with upstream_of(reply(ANSWER)) as upstream:
            client = client_of(upstream.url)
            await status_of(client)
            slept_until = time.time() + 31
            monkeypatch.setattr("emerge_core.providers.transport.client.time.time", lambda: slept_until)
            await status_of(client)
            await client.aclose()
            return int(upstream.connections)

    assert asyncio.run(main()) == 2


def test_idle_connections_are_bounded_in_number(upstream_of: Any, reply: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emerge_core.providers.transport.client.MAX_IDLE", 2)

    async def main() -> int:
        async with upstream_of(reply(ANSWER)) as upstream:
            client = client_of(upstream.url)
            await asyncio.gather(*(status_of(client) for _ in range(6)))
            kept = client.idle_connections
            await client.aclose()
            return kept

    assert asyncio.run(main()) == 2


def test_idle_connections_are_closed_by_time_without_another_request(
    upstream_of: Any, reply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emerge_core.providers.transport.client.KEEPALIVE_S", 0.05)

    async def main() -> int:
        async with upstream_of(reply(ANSWER)) as upstream:
            client = client_of(upstream.url)
            await status_of(client)
            async with asyncio.timeout(10):
                while upstream.open:
                    await asyncio.sleep(0.01)
            return client.idle_connections

    assert asyncio.run(main()) == 0


def test_a_proxy_of_the_environment_is_used(upstream_of: Any, reply: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> list[tuple[str, str, str | None]]:
        async with upstream_of(reply(ANSWER)) as proxy:
            monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//user:pass%21@"))
            client = client_of("http://models.example")
            await status_of(client, "/v1/models")
            await client.aclose()
            monkeypatch.setenv("no_proxy", "127.0.0.1")
            client = client_of(proxy.url)
            await status_of(client, "/direct")
            await client.aclose()
            return [(sent.path, sent.headers["host"], sent.headers.get("proxy-authorization")) for sent in proxy.sent]

    (first, second) = asyncio.run(main())
    assert first == ("http://models.example/v1/models", "models.example", "Basic dXNlcjpwYXNzIQ==")
    assert (second[0], second[2]) == ("/direct", None)


def test_https_goes_through_a_tunnel(upstream_of: Any, reply: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy sees a host and a port; the certificate is checked against the host that was asked for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    asked: list[str] = []

    async def main() -> list[int]:
        async with upstream_of(reply(ANSWER), tls=context) as upstream:
            port = urlsplit(upstream.url).port

            async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
                there = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))

            async with serving(proxy) as url:
                monkeypatch.setenv("https_proxy", url.replace("//", "//user:word@"))
                client = client_of(upstream.url, ca_file=str(CERTIFICATE))
                statuses = [await status_of(client) for _ in range(3)]
                await client.aclose()
            return [*statuses, int(upstream.connections)]

    assert asyncio.run(main()) == [200, 200, 200, 1]
    assert len(asked) == 1
    assert asked[0].startswith("CONNECT 127.0.0.1:")
    assert "Proxy-Authorization: Basic dXNlcjp3b3Jk\r\n" in asked[0]


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


def test_a_hanging_name_server_is_bounded_and_keeps_nobody_else_waiting(
    upstream_of: Any, reply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    looked_up = []

    def hang(host: str, *_: Any, **__: Any) -> Any:
        looked_up.append(host)
        release.wait(20)
        raise OSError("no such host")

    async def main() -> tuple[list[bool], int]:
        async with upstream_of(reply(ANSWER)) as upstream:
            stuck = client_of("http://stuck.example", connect_timeout_s=0.2)
            calls = [asyncio.create_task(status_of(stuck)) for _ in range(20)]
            await asyncio.sleep(0.05)
            other = client_of(upstream.url)
            assert await status_of(other) == 200
            assert await asyncio.to_thread(lambda: True)  # the shared threads are free
            failed = await asyncio.gather(*calls, return_exceptions=True)
            await other.aclose()
            return [isinstance(each, TransportError) and not each.sent for each in failed], len(looked_up)

    monkeypatch.setattr("emerge_core.providers.transport.resolver.socket.getaddrinfo", hang)
    failed, lookups = asyncio.run(main())
    release.set()
    assert failed == [True] * 20
    assert lookups == 1


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/v1%3Abeta", "/v1%3Abeta/x"),
        ("/a:b/é", "/a:b/%C3%A9/x"),
        ("/v1/?api-version=2%201", "/v1/x?api-version=2%201"),
    ],
)
def test_the_path_of_a_base_url_is_sent_as_it_is_written(upstream_of: Any, reply: Any, path: str, sent: str) -> None:
    async def main() -> str:
        async with upstream_of(reply(ANSWER)) as upstream:
            client = client_of(upstream.url + path)
            await status_of(client, "/x")
            await client.aclose()
            return str(upstream.sent[0].path)

    assert asyncio.run(main()) == sent


def test_redirects_cookies_and_compression(upstream_of: Any, reply: Any) -> None:
    """A redirect is an answer, no cookie comes back, and a compressed body is refused unread."""

    async def main() -> None:
        moved = reply({}, 307, {"location": "/elsewhere", "set-cookie": "a=b"})
        packed = reply(gzip.compress(b"{}"), headers={"content-encoding": "gzip"})
        async with upstream_of(moved, packed) as upstream:
            client = client_of(upstream.url)
            assert await status_of(client) == 307
            with pytest.raises(UpstreamError, match="compressed its reply"):
                await status_of(client)
            await client.aclose()
            assert [sent.path for sent in upstream.sent] == ["", ""]
            assert "cookie" not in upstream.sent[1].headers
            assert upstream.sent[1].headers["accept-encoding"] == "identity"

    asyncio.run(main())


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


@pytest.mark.parametrize("kind", KINDS)
def test_large_requests_are_encoded_beside_the_loop(
    kind: str, upstream_of: Any, adapter_of: Any, reply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    inner, here = exchange._encoder.iterencode, threading.get_ident()

    def watched(body: Any, **options: Any) -> Any:
        seen.append(threading.get_ident() == here)
        return inner(body, **options)

    monkeypatch.setattr(exchange._encoder, "iterencode", watched)
    large = {"long text": "x" * 100_000, "é\ud83d": [{"parts": [str(n) for n in range(5_000)]}], "n": 1.5, "no": None}

    async def main() -> Any:
        async with upstream_of(reply(ANSWER)) as upstream, adapter_of(kind, upstream.url) as provider:
            await provider.complete("m", HELLO, timeout_s=20)
            assert seen == [True]  # `encode` calls it for an ordinary body
            await provider.complete("m", ChatRequest.of("x" * 100_000), timeout_s=20)
            return upstream.sent[-1].body

    assert "x" * 100_000 in json.dumps(asyncio.run(main()))
    assert seen == [True, False]
    assert exchange._is_large(large) and not exchange._is_large({"messages": [{"content": "x" * 50_000}]})
    del large["é\ud83d"]
    assert exchange._encoded(large) == exchange._encoded_at_once(large)
