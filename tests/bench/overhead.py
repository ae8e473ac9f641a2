"""What the proxy adds: `make bench`.

Three upstream calls per request against a local upstream without latency, once as a bare
asyncio + httpx gather and once through the proxy, in the same run on the same machine. The figures
to compare are the ratios and the added milliseconds; absolute ones depend on the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import httpx

SCALE = float(os.environ.get("EMERGE_BENCH_SCALE", "1"))
SEQUENTIAL, CONCURRENT, AT_ONCE = int(400 * SCALE), int(1500 * SCALE), 64
MODELS = ("a", "b", "c")
QUESTION = {"messages": [{"role": "user", "content": "What is 6 times 7?"}], "max_tokens": 100}


class InstantUpstream(asyncio.Protocol):
    """The smallest HTTP server that keeps connections alive and answers every POST at once."""

    body = json.dumps(
        {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "6 x 7 = 42. The answer is 42."},
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 14, "completion_tokens": 12, "total_tokens": 26},
        }
    ).encode()
    reply = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)

    def __init__(self) -> None:
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, rest = self.buffer.split(b"\r\n\r\n", 1)
            length = next(
                (
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length")
                ),
                0,
            )
            if len(rest) < length:
                return
            self.buffer = rest[length:]
            self.transport.write(self.reply)


async def serve_upstream(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(InstantUpstream, "127.0.0.1", port)
    await server.serve_forever()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def process(*command: str, port: int) -> Iterator[None]:
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONWARNINGS": "ignore"})
    try:
        for _ in range(400):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.1):
                break
            time.sleep(0.05)
        yield
    finally:
        child.terminate()
        child.wait(10)


async def measure(name: str, once: Callable[[], Awaitable[None]]) -> tuple[float, float, float]:
    for _ in range(max(SEQUENTIAL // 8, 3)):
        await once()
    times = []
    for _ in range(SEQUENTIAL):
        began = time.perf_counter()
        await once()
        times.append((time.perf_counter() - began) * 1000)
    gate = asyncio.Semaphore(AT_ONCE)

    async def gated() -> None:
        async with gate:
            await once()

    began = time.perf_counter()
    await asyncio.gather(*(gated() for _ in range(CONCURRENT)))
    rate = CONCURRENT / (time.perf_counter() - began)
    p50, p99 = statistics.median(times), statistics.quantiles(times, n=100)[98]
    print(f"{name:34s} p50 {p50:7.2f} ms   p99 {p99:7.2f} ms   {AT_ONCE} at once: {rate:7.0f} requests/s", flush=True)
    return p50, p99, rate


async def main() -> None:
    upstream_port, proxy_port = free_port(), free_port()
    provider = {"kind": "openai", "base_url": f"http://127.0.0.1:{upstream_port}/v1"}
    config = {
        "providers": dict.fromkeys(MODELS, provider),
        "models": {name: {"provider": name, "model": name, "price": {"input": 1, "output": 1}} for name in MODELS},
        "ensembles": {"emerge": {"members": list(MODELS), "aggregator": "vote", "early_decision": False}},
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.json")
        path.write_text(json.dumps(config))
        emerge = str(Path(sys.executable).with_name("emerge"))
        serve = [emerge, "serve", "--config", str(path), "--port", str(proxy_port)]
        with (
            process(sys.executable, __file__, "upstream", str(upstream_port), port=upstream_port),
            process(*serve, port=proxy_port),
        ):
            limits = httpx.Limits(max_connections=3 * AT_ONCE, max_keepalive_connections=3 * AT_ONCE)
            async with httpx.AsyncClient(limits=limits, timeout=60) as client:
                upstream = f"http://127.0.0.1:{upstream_port}/v1/chat/completions"
                proxy = f"http://127.0.0.1:{proxy_port}/v1/chat/completions"

                async def gather() -> None:
                    replies = await asyncio.gather(
                        *(client.post(upstream, json={"model": m, **QUESTION}) for m in MODELS)
                    )
                    assert all(reply.json()["choices"] for reply in replies)

                async def ask() -> None:
                    reply = await client.post(proxy, json={"model": "emerge", **QUESTION})
                    assert len(reply.json()["emerge"]["calls"]) == 3, reply.text

                bare = await measure("bare httpx gather of three calls", gather)
                ours = await measure("the same three through emerge", ask)
    print(f"added p50 {ours[0] - bare[0]:+.2f} ms, added p99 {ours[1] - bare[1]:+.2f} ms")
    print(f"p50 ratio {ours[0] / bare[0]:.2f}, requests/s ratio {ours[2] / bare[2]:.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["upstream"]:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve_upstream(int(sys.argv[2])))
    else:
        asyncio.run(main())
