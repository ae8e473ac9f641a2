"""The bench's two servers on the wire, as cheap as they can be: they share a core, and what they take of it is time
that the function seems to take.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from dataclasses import asdict, dataclass

ANSWER = "The answer is 42."
REPLY = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 14, "completion_tokens": 6, "total_tokens": 20},
}


class Exchanges(asyncio.Protocol):
    """One connection of an HTTP server that reads no more of a request than it must."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport, self._buffer = transport, b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while end := self._end():
            request, self._buffer = self._buffer[:end], self._buffer[end:]
            self.asked(request)

    def asked(self, request: bytes) -> None:
        raise NotImplementedError

    def _end(self) -> int:
        """Where the first request in the buffer ends; 0 if it is not whole."""
        start = self._buffer.find(b"\r\n\r\n") + 4
        if start < 4:
            return 0
        head = self._buffer[:start].lower()
        if b"transfer-encoding: chunked" in head:
            last = self._buffer.find(b"\r\n0\r\n", start)
            return self._buffer.find(b"\r\n\r\n", last) + 4 if last >= 0 else 0
        _, _, length = head.partition(b"content-length:")
        end = start + int(length.partition(b"\r\n")[0] or 0)
        return end if len(self._buffer) >= end else 0


@dataclass
class Taken:
    """What a process of the bench took, and by how many milliseconds its timers were late."""

    cpu_s: float
    late_p50: float
    late_p99: float
    late_most: float

    @classmethod
    def by_this_process(cls, late_s: list[float]) -> Taken:
        late = sorted(1000 * each for each in late_s) or [0.0]
        p50, p99, most = (late[int((len(late) - 1) * share)] for share in (0.5, 0.99, 1.0))
        return cls(time.process_time(), p50, p99, most)


class Upstream(Exchanges):
    """Answers every request after a wait."""

    wait_s = 2.0
    late_s: list[float] = []  # noqa: RUF012  (of all connections)
    body = json.dumps(REPLY).encode()
    reply = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)

    def asked(self, request: bytes) -> None:
        due = time.monotonic() + self.wait_s
        asyncio.get_running_loop().call_at(due, self._answer, due)

    def _answer(self, due: float) -> None:
        self.late_s.append(time.monotonic() - due)
        self.transport.write(self.reply)


async def serve_upstream(wait_s: float) -> None:
    """Prints its port. At SIGUSR1 it prints what it took so far, and forgets by how much it was late."""
    Upstream.wait_s = wait_s
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Upstream, "127.0.0.1", 0, backlog=4096)

    def tell() -> None:
        print(json.dumps(asdict(Taken.by_this_process(Upstream.late_s))), flush=True)
        Upstream.late_s.clear()

    loop.add_signal_handler(signal.SIGUSR1, tell)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
