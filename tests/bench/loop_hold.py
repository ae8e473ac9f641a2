"""How long a reply of unusual size holds the event loop.

    python tests/bench/loop_hold.py

Every reply passes the whole way, from an upstream in another process through `emerge serve`'s application to a client.
The figure is the longest turn of the loop, in processor time of the loop's thread: a busy machine does not change it.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from emerge_core.api import create_app
from emerge_core.api.process import collect_garbage_less_often
from emerge_core.cli.serve import GARBAGE_OBJECTS
from emerge_core.config.schema import Config
from emerge_core.engine.engine import Engine, preload

LIMIT_MS = 50
USAGE = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}


def message(**fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": None, **fields}, "finish_reason": "stop"}
    return {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": USAGE}


def tokens(count: int, top: int = 0) -> list[dict[str, Any]]:
    alternatives = [{"token": f"t{number}", "logprob": -0.5, "bytes": [116]} for number in range(top)]
    return [{"token": " a", "logprob": -0.1, "bytes": [32, 97], "top_logprobs": alternatives} for _ in range(count)]


def with_logprobs(count: int, top: int) -> dict[str, Any]:
    reply = message(content=" a" * count)
    reply["choices"][0]["logprobs"] = {"content": tokens(count, top)}
    return reply


def streamed(*deltas: dict[str, Any], logprobs: Any = None) -> bytes:
    chunks = [{"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": None} for delta in deltas]
    chunks.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    lines = [json.dumps({"id": "x", "model": "m", "created": 1, "choices": [chunk]}) for chunk in chunks]
    return "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]).encode()


def call(index: int, arguments: str) -> dict[str, Any]:
    return {"index": index, "id": f"c{index}", "type": "function", "function": {"name": "f", "arguments": arguments}}


ROWS = [{"id": number, "name": f"row {number}", "tags": ["a", "b"], "ok": True} for number in range(6_500)]
SCHEMA = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"id": {"type": "integer"}, "name": {"type": "string"}, "tags": {"type": "array"}},
        "required": ["id", "name"],
    },
}
LOGPROBS = {"logprobs": True, "top_logprobs": 20}
JSON_SCHEMA = {"response_format": {"type": "json_schema", "json_schema": {"name": "rows", "schema": SCHEMA}}}
TOOLS = {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]}
STREAM = {"stream": True}
# name: (the request's fields, the upstream's reply, the bytes of each of its writes)
CASES: dict[str, tuple[dict[str, Any], dict[str, Any] | bytes, int]] = {
    "90,000 log probabilities in one event": (
        STREAM | {"logprobs": True},
        streamed({"content": " a"}, logprobs={"content": tokens(90_000)}),
        1 << 20,
    ),
    "the same, and the client asked for none": (
        STREAM,
        streamed({"content": " a"}, logprobs={"content": tokens(90_000)}),
        1 << 20,
    ),
    "6,000 tokens with 20 alternatives each": (LOGPROBS, with_logprobs(6_000, 20), 1 << 20),
    "the same, and the client asked for none ": ({}, with_logprobs(6_000, 20), 1 << 20),
    "500 KB of JSON in the answer, with a schema": (JSON_SCHEMA, message(content=json.dumps(ROWS)), 1 << 20),
    "7 MB of text": ({}, message(content="word " * 1_400_000), 1 << 20),
    "7 MB of text in one event": (STREAM, streamed({"content": "word " * 1_400_000}), 1 << 20),
    "50,000 tool calls": (TOOLS, message(tool_calls=[call(n, "{}") for n in range(50_000)]), 1 << 20),
    "50,000 tool calls in one event": (
        TOOLS | STREAM,
        streamed({"tool_calls": [call(n, "{}") for n in range(50_000)]}),
        1 << 20,
    ),
    "20,000 parts of one call's arguments": (
        TOOLS | STREAM,
        streamed(*[{"tool_calls": [call(0, "{")]}] * 20_000),
        1 << 20,
    ),
    "100 KB in chunks of one byte": (STREAM, streamed(*[{"content": "word "}] * 1_000), 1),
}


def upstream(connection: Any) -> None:
    """Serves the case that the request's model names."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            name = json.loads(await reader.readexactly(length))["model"]
            _, reply, size = list(CASES.values())[int(name.removeprefix("case-"))]
            content = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
            kind = b"text/event-stream" if isinstance(reply, bytes) else b"application/json"
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ntransfer-encoding: chunked\r\n\r\n" % kind)
            for piece in cut(content, size):
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
            writer.write(b"0\r\n\r\n")

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 24)
        connection.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


def cut(content: bytes, size: int) -> Iterator[bytes]:
    return (content[start : start + size] for start in range(0, len(content), size))


@asynccontextmanager
async def watched() -> AsyncIterator[list[float]]:
    """The processor time of the loop's thread between turns, in ms."""
    turns: list[float] = []

    async def watch() -> None:
        before = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            turns.append((now - before) * 1000)
            before = now

    task = asyncio.create_task(watch())
    yield turns
    task.cancel()


async def ask(app: Any, fields: dict[str, Any], name: str) -> tuple[int, int]:
    """The status and the size of the reply, asked for below HTTP."""
    body = json.dumps({"model": name, "messages": [{"role": "user", "content": "Go."}], **fields}).encode()
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    status = size = 0

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        nonlocal status, size
        status = message.get("status", status)
        size += len(message.get("body", b""))

    headers = [(b"content-type", b"application/json"), (b"host", b"x")]
    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "raw_path": b"", "query_string": b""}
    await app(
        scope
        | {
            "headers": headers,
            "root_path": "",
            "client": None,
            "server": None,
            "scheme": "http",
            "http_version": "1.1",
            "asgi": {"version": "3.0"},
            "app": app,
        },
        receive,
        send,
    )
    return status, size


async def main(port: int) -> int:
    config = Config.model_validate(
        {
            "providers": {"up": {"kind": "openai", "base_url": f"http://127.0.0.1:{port}/v1"}},
            "models": {f"case-{n}": {"provider": "up", "model": f"case-{n}"} for n in range(len(CASES))},
        }
    )
    preload(config)
    collect_garbage_less_often(GARBAGE_OBJECTS)  # as `emerge serve` does
    missed = 0
    print(f"| reply | status, size | longest turn, ms (limit {LIMIT_MS}) |\n|---|---|---|")
    async with Engine(config) as engine:
        app = create_app(engine)
        for number, (name, (fields, _, _)) in enumerate(CASES.items()):
            async with watched() as turns:
                status, size = await ask(app, fields, f"case-{number}")
            missed += max(turns) > LIMIT_MS
            print(f"| {name.strip()} | {status}, {size:,} | {max(turns):.0f} |", flush=True)
    return int(missed > 0)


if __name__ == "__main__":
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=upstream, args=(theirs,), daemon=True)
    process.start()
    try:
        sys.exit(asyncio.run(main(ours.recv())))
    finally:
        process.terminate()
