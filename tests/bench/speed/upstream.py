"""The upstream of the speed bench: the smallest HTTP server that answers OpenAI's chat completions.

    python -m tests.bench.speed.upstream

Prints its port. A request to `/D/v1/chat/completions` is answered after D milliseconds, or streamed in `CHUNKS` events
`PAUSE_S` apart after D milliseconds. `GET /arrivals` returns the times at which requests came since the last such GET.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import httptools

CHUNKS = 100
PAUSE_S = 0.002

_REPLY: dict[str, Any] = {
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


def _whole(content: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
        len(content),
        content,
    )


def _event(data: bytes) -> bytes:
    line = b"data: %b\n\n" % data
    return b"%x\r\n%b\r\n" % (len(line), line)


def _chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return _event(
        json.dumps(
            {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        ).encode()
    )


REPLY = _whole(json.dumps(_REPLY).encode())
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
WORD = b"word"  # each piece of a stream has it, and nothing else does
PIECE = _chunk({"content": f" {WORD.decode()}"})
END = _chunk({}, "stop") + _event(b"[DONE]") + b"0\r\n\r\n"

arrivals: list[float] = []


class Upstream(asyncio.Protocol):
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body = b""
        self._left = 0
        self._next = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._url = self._body = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        if self._url == b"/arrivals":
            self._transport.write(_whole(json.dumps(arrivals).encode()))
            arrivals.clear()
            return
        arrivals.append(now)
        delay_s = int(self._url.split(b"/", 2)[1]) / 1000
        streamed = b'"stream":true' in self._body or b'"stream": true' in self._body
        answer = self._begin if streamed else self._answer
        if delay_s:
            self._loop.call_at(self._loop.time() + delay_s, answer)
        else:
            answer()

    def _answer(self) -> None:
        self._transport.write(REPLY)

    def _begin(self) -> None:
        self._left = CHUNKS
        self._next = self._loop.time()
        self._transport.write(HEAD)
        self._piece()

    def _piece(self) -> None:
        if self._transport.is_closing():
            return
        self._left -= 1
        self._transport.write(PIECE)
        if self._left:
            self._next += PAUSE_S
            self._loop.call_at(self._next, self._piece)
        else:
            self._transport.write(END)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
