"""A Bedrock on loopback: it recomputes every signature from the raw path, holds every body against botocore's
validator, and answers in Converse's form, whole or as an event stream."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import quote, unquote

from botocore.session import Session
from botocore.validate import ParamValidator

from tests.support.aws.event_stream import events_of

KEY_ID, SECRET, TOKEN = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "session-token"
REGION = "us-east-1"


def text_reply(text: str, **usage: int) -> dict[str, Any]:
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
        "stopReason": "end_turn",
        "usage": usage or {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15},
        "metrics": {"latencyMs": 1},
    }


@dataclass
class Refusal:
    status: int
    name: str
    message: str = "Refused."


@dataclass
class Raw:
    """Frames of an event stream as they are sent, and whether the stream ends properly."""

    frames: Sequence[bytes]
    ends: bool = True


@dataclass
class ReceivedCall:
    path: str  # as it came over the wire
    model: str
    operation: str
    headers: dict[str, str]
    body: Any


Answer = Mapping[str, Any] | Refusal | Raw


@dataclass
class Bedrock:
    """`answers` are given one after the other; the last one repeats. `by_model` has those of models that always
    answer the same. `secrets` are the valid keys."""

    answers: list[Answer]
    by_model: dict[str, Answer] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=lambda: {KEY_ID: SECRET})
    asked: list[ReceivedCall] = field(default_factory=list)
    url: str = ""
    connections: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(writer)
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.connections.discard(writer)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        start, *lines = head.strip().split("\r\n")
        method, path, _ = start.split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        content = await reader.readexactly(int(headers.get("content-length", 0)))
        fault = self._fault(method, path, headers, content)
        if fault is not None:
            writer.write(_encoded(fault.status, {"message": fault.message}, fault.name))
            await writer.drain()
            return True
        _, _, model, operation = path.split("/")
        name = unquote(model)
        self.asked.append(ReceivedCall(path, name, operation, headers, json.loads(content)))
        answer = self.by_model.get(name) or self.answers[min(len(self.asked), len(self.answers)) - 1]
        if isinstance(answer, Refusal):
            writer.write(_encoded(answer.status, {"message": answer.message}, answer.name))
        elif isinstance(answer, Raw) or operation == "converse-stream":
            frames, ends = (answer.frames, answer.ends) if isinstance(answer, Raw) else (events_of(answer), True)
            return await _send_stream(writer, frames, ends=ends)
        else:
            writer.write(_encoded(200, answer, None))
        await writer.drain()
        return True

    def _fault(self, method: str, path: str, headers: Mapping[str, str], content: bytes) -> Refusal | None:
        why = signature_fault(method, path, headers, content, self.secrets)
        if why is not None:
            return Refusal(403, why, why)
        operation = {"converse": "Converse", "converse-stream": "ConverseStream"}.get(path.rsplit("/", 1)[1])
        if operation is None:
            return None
        arguments = {"modelId": unquote(path.split("/")[2]), **_with_bytes(json.loads(content))}
        report = ParamValidator().validate(arguments, _service().operation_model(operation).input_shape)
        return Refusal(400, "ValidationException", report.generate_report()) if report.has_errors() else None


@cache
def _service() -> Any:
    return Session().get_service_model("bedrock-runtime")


def _with_bytes(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: base64.b64decode(item) if name in ("bytes", "redactedContent") else _with_bytes(item)
            for name, item in value.items()
        }
    return [_with_bytes(item) for item in value] if isinstance(value, list) else value


def _encoded(status: int, body: Any, error: str | None) -> bytes:
    content = json.dumps(body).encode()
    told = f"x-amzn-ErrorType: {error}:http://internal.amazon.com/coral/\r\n" if error else ""
    head = (
        f"HTTP/1.1 {status} Scripted\r\ncontent-type: application/json\r\n{told}content-length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


async def _send_stream(writer: asyncio.StreamWriter, frames: Sequence[bytes], *, ends: bool) -> bool:
    head = "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\ntransfer-encoding: chunked\r\n\r\n"
    writer.write(head.encode())
    for frame in frames:
        writer.write(b"%x\r\n%b\r\n" % (len(frame), frame))
        await writer.drain()
        await asyncio.sleep(0)
    if ends:
        writer.write(b"0\r\n\r\n")
        await writer.drain()
    return ends


def signature_fault(
    method: str, path: str, headers: Mapping[str, str], content: bytes, secrets: Mapping[str, str]
) -> str | None:
    """The name of AWS's error if the signature is not right, else None.

    Source: "Create a signed AWS API request" (AWS IAM user guide): every service but S3 escapes the path twice.
    """
    algorithm, _, rest = headers.get("authorization", "").partition(" ")
    if algorithm != "AWS4-HMAC-SHA256":
        return "MissingAuthenticationTokenException"
    told = dict(part.strip().split("=", 1) for part in rest.split(","))
    key_id, date, region, service, end = told["Credential"].split("/")
    if key_id not in secrets:
        return "UnrecognizedClientException"
    if (region, service, end) != (REGION, "bedrock", "aws4_request"):
        return "InvalidSignatureException"
    names = told["SignedHeaders"].split(";")
    if not {"host", "x-amz-date"} <= set(names):
        return "IncompleteSignatureException"
    canonical = "\n".join(
        [
            method,
            quote(path, safe="/~"),
            "",
            *(f"{name}:{' '.join(headers[name].split())}" for name in names),
            "",
            ";".join(names),
            hashlib.sha256(content).hexdigest(),
        ]
    )
    scope = f"{date}/{region}/{service}/{end}"
    to_sign = f"AWS4-HMAC-SHA256\n{headers['x-amz-date']}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{secrets[key_id]}".encode()
    for part in (date, region, service, end):
        key = hmac.digest(key, part.encode(), "sha256")
    expected = hmac.digest(key, to_sign.encode(), "sha256").hex()
    return None if hmac.compare_digest(expected, told["Signature"]) else "InvalidSignatureException"


@asynccontextmanager
async def bedrock(*answers: Answer, secrets: Mapping[str, str] | None = None) -> AsyncIterator[Bedrock]:
    upstream = Bedrock(list(answers) or [text_reply("Hello.")])
    if secrets is not None:
        upstream.secrets = dict(secrets)
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    upstream.url = f"http://{host}:{port}"
    try:
        yield upstream
    finally:
        server.close()


@contextmanager
def bedrock_of_models(answers: Mapping[str, Answer]) -> Iterator[Bedrock]:
    """The same in a thread of its own: each model always answers the same. The credentials are those of the
    environment."""
    secrets = {os.environ["AWS_ACCESS_KEY_ID"]: os.environ["AWS_SECRET_ACCESS_KEY"]}
    upstream = Bedrock([text_reply("OK")], dict(answers), secrets)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    serving = asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    server = asyncio.run_coroutine_threadsafe(serving, loop).result()
    host, port = server.sockets[0].getsockname()
    upstream.url = f"http://{host}:{port}"
    try:
        yield upstream
    finally:
        asyncio.run_coroutine_threadsafe(_close(server, upstream), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _close(server: asyncio.Server, upstream: Bedrock) -> None:
    server.close()
    for connection in list(upstream.connections):
        connection.close()
    while upstream.connections:
        await asyncio.sleep(0)


def chain_of(*found: Any) -> Callable[[], Any]:
    """A chain that finds these credentials, one after the other; the last one repeats."""
    left = list(found)
    return lambda: left.pop(0) if len(left) > 1 else left[0]
