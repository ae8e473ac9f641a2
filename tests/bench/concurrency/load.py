"""Requests at chosen times through a stub of Lambda's Runtime API, and how long the replies took."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.bench.concurrency.wire import ANSWER, Exchanges
from tests.support.aws_lambda.function import event

QUESTION = {"model": "emerge", "messages": [{"role": "user", "content": "What is 6 times 7?"}]}
ARN = b"arn:aws:lambda:us-east-1:123456789012:function:proxy:stream"
HANDED_OUT = b"""HTTP/1.1 200 OK\r
Lambda-Runtime-Aws-Request-Id: %b\r
Lambda-Runtime-Deadline-Ms: %d\r
Lambda-Runtime-Invoked-Function-Arn: %b\r
Content-Type: application/json\r
Content-Length: %d\r
\r
%b"""
ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
OK = b'"statusCode": 200'
DEADLINE_MS = 60_000


class Load:
    """The stub: hands a request to a worker of the function when it is due, and times its reply. With `steady`, every
    reply is followed by the next request at once."""

    def __init__(self, wait_s: float, *, steady: bool) -> None:
        self._wait_s, self._steady = wait_s, steady
        self._workers: deque[Worker] = deque()  # that have asked for an invocation
        self._waiting: deque[tuple[bytes, float]] = deque()  # that no worker has asked for
        self._due: dict[bytes, float] = {}  # of those that are not answered
        self._counts_from = self._ends = 0.0
        whole = json.dumps(event("POST", "/v1/chat/completions", QUESTION)).encode()
        name = b'"requestTimeEpoch": '
        self._before, _, rest = whole.partition(name)
        self._before += name
        self._after = rest[rest.index(b",") :]
        self.count = self.most_open = 0
        self.added_ms: list[float] = []
        self.in_flight: list[int] = []
        self.late_s: list[float] = []
        self.wrong: list[bytes] = []

    @property
    def asking(self) -> int:
        return len(self._workers)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Yields the address."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Worker(self), "127.0.0.1", 0, backlog=4096)
        try:
            yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()

    async def run(self, at_once: int, warm_s: float, seconds: float) -> None:
        """Returns when all are answered. What is due in the first `warm_s` seconds is not counted."""
        began = time.monotonic()
        self._counts_from, self._ends = began + warm_s, began + warm_s + seconds
        if self._steady:
            for number in range(at_once):
                asyncio.get_running_loop().call_at(due := began + number * self._wait_s / at_once, self._request, due)
        else:
            self._arrive(began, random.Random(1), at_once / self._wait_s)
        await asyncio.sleep(warm_s + seconds)
        while self._due:
            await asyncio.sleep(0.05)

    def _arrive(self, due: float, chance: random.Random, rate: float) -> None:
        self._request(due)
        if (following := due + chance.expovariate(rate)) < self._ends:
            asyncio.get_running_loop().call_at(following, self._arrive, following, chance, rate)

    def _request(self, due: float) -> None:
        now = time.monotonic()
        self.count += 1
        if due >= self._counts_from:
            self.late_s.append(now - due)
            self.in_flight.append(len(self._due))
        invocation = b"%08d-0000-4000-8000-000000000000" % self.count
        self._due[invocation] = due
        self.most_open = max(self.most_open, len(self._due))
        self._waiting.append((invocation, due))
        self._hand_out()

    def ask(self, worker: Worker) -> None:
        self._workers.append(worker)
        self._hand_out()

    def _hand_out(self) -> None:
        while self._waiting and self._workers:
            invocation, _ = self._waiting.popleft()
            now_ms = int(time.time() * 1000)
            body = b"%b%d%b" % (self._before, now_ms, self._after)
            head = (invocation, now_ms + DEADLINE_MS, ARN, len(body), body)
            self._workers.popleft().transport.write(HANDED_OUT % head)

    def answer(self, invocation: bytes, reply: bytes) -> None:
        now, due = time.monotonic(), self._due.pop(invocation)
        if due >= self._counts_from:
            self.added_ms.append(1000 * (now - due - self._wait_s))
        if OK not in reply or ANSWER.encode() not in reply:
            self.wrong.append(reply)
        if self._steady and now < self._ends:
            self._request(now)


class Worker(Exchanges):
    """A connection of the function to the Runtime API."""

    def __init__(self, load: Load) -> None:
        self._load = load

    def asked(self, request: bytes) -> None:
        method, path, _ = request.split(b" ", 2)
        if method == b"GET":
            self._load.ask(self)
        else:
            self.transport.write(ACCEPTED)
            self._load.answer(path.split(b"/")[-2], request)
