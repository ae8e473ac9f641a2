"""A client of Lambda's Runtime API that sends a reply whole or in parts; the managed runtime for Python cannot do the
latter. Any number of invocations may be asked for and answered at once. Standard library only.

On the wire (AWS Lambda Developer Guide, "Using the Lambda runtime API" and "Response streaming"): a streamed
reply is a chunked POST marked as streaming. Its body is what API Gateway expects of a streamed proxy
integration: a prelude (status and headers as JSON, then eight NUL bytes), then the body itself. A reply
that ends in an error says so in its trailers.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

NEXT_PAUSES_S = (0.05, 0.2, 1.0)  # between attempts to get an invocation
ERROR_TYPE, ERROR_BODY = "Lambda-Runtime-Function-Error-Type", "Lambda-Runtime-Function-Error-Body"
STREAMING = {
    "Content-Type": "application/vnd.awslambda.http-integration-response",
    "Lambda-Runtime-Function-Response-Mode": "streaming",
    "Transfer-Encoding": "chunked",
    "Trailer": f"{ERROR_TYPE}, {ERROR_BODY}",
}


Response = tuple[int, dict[str, str], bytes]  # status, headers by lower-case name, body


class RuntimeApiError(Exception):
    """The Runtime API refused a call, or cannot be reached."""


class ReplyRefusedError(ConnectionError):
    """The reply is not accepted: the client has gone, or the Runtime API has ended the invocation."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A failure as it is reported to Lambda: a kind and a sentence, never the text of an exception."""

    kind: str
    message: str

    @property
    def json(self) -> bytes:
        return json.dumps({"errorType": self.kind, "errorMessage": self.message, "stackTrace": []}).encode()


@dataclass(frozen=True, slots=True)
class Invocation:
    """An event, and what a handler's context holds about it."""

    payload: bytes
    aws_request_id: str
    deadline_ms: float
    invoked_function_arn: str
    trace_id: str | None

    def get_remaining_time_in_millis(self) -> int:
        return max(int(self.deadline_ms - time.time() * 1000), 0)


class Connection:
    """One to the Runtime API: for one exchange at a time, and for the next one if that ended in order."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @property
    def is_open(self) -> bool:
        return not (self.writer.is_closing() or self.reader.at_eof())

    def close(self) -> None:
        self.writer.transport.abort()


class RuntimeApi:
    """Keeps its connections. New ones for each exchange would take a tenth of a request's processor time and leave
    reference cycles: the garbage collector stops every open request while it looks for them."""

    def __init__(self, authority: str) -> None:
        """`authority` is the host and port in AWS_LAMBDA_RUNTIME_API."""
        self._host, _, port = authority.partition(":")
        self._port = int(port or 80)
        self._kept: list[Connection] = []

    def close(self) -> None:
        """Closes the connections that are not in use."""
        while self._kept:
            self._kept.pop().close()

    async def next_invocation(self) -> Invocation:
        """Waits for one, as long as it takes. Raises RuntimeApiError after some attempts."""
        for pause_s in (*NEXT_PAUSES_S, None):
            try:
                status, headers, payload = await self._exchange("GET", "invocation/next")
                if status == 200:
                    return _invocation(headers, payload)
                fault: object = f"status {status}"
            except (OSError, EOFError, KeyError, ValueError) as error:
                fault = type(error).__name__
            if pause_s is not None:
                await asyncio.sleep(pause_s)
        raise RuntimeApiError(f"the Runtime API gives no invocation ({fault})")

    async def respond(self, invocation: Invocation, result: bytes) -> None:
        """Ends an invocation with its whole result, a JSON text. Raises RuntimeApiError."""
        path = f"invocation/{invocation.aws_request_id}/response"
        headers = {"Content-Type": "application/json", "Content-Length": str(len(result))}
        try:
            status, _, _ = await self._exchange("POST", path, headers, result)
        except (OSError, EOFError, ValueError) as error:
            raise RuntimeApiError("the reply was not accepted") from error
        if status >= 300:
            raise RuntimeApiError(f"the Runtime API refused {path} with status {status}")

    async def fail(self, invocation: Invocation, fault: Fault) -> None:
        """Ends an invocation whose reply has not been started."""
        await self._report(f"invocation/{invocation.aws_request_id}/error", fault)

    async def fail_init(self, fault: Fault) -> None:
        await self._report("init/error", fault)

    async def reply(self, invocation: Invocation, prelude: Mapping[str, Any], *, at_once: bool) -> Reply:
        """Starts the reply. Its prelude is sent `at_once`, or else with the first bytes of the body. Raises
        ReplyRefusedError."""
        try:
            connection = await self._connection()
        except OSError as error:
            raise ReplyRefusedError("the Runtime API cannot be reached") from error
        head = self._head("POST", f"invocation/{invocation.aws_request_id}/response", STREAMING)
        start = head + _chunk(json.dumps(prelude).encode() + bytes(8))
        if at_once:
            connection.writer.write(start)
        return Reply(connection, self._keep, b"" if at_once else start)

    async def _report(self, path: str, fault: Fault) -> None:
        headers = {"Content-Type": "application/json", ERROR_TYPE: fault.kind, "Content-Length": str(len(fault.json))}
        status, _, _ = await self._exchange("POST", path, headers, fault.json)
        if status >= 300:
            raise RuntimeApiError(f"the Runtime API refused {path} with status {status}")

    async def _exchange(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Response:
        connection = await self._connection()
        try:
            connection.writer.write(self._head(method, path, headers or {}) + body)
            response = await _response(connection.reader)
        except BaseException:
            connection.close()
            raise
        self._keep(connection, response)
        return response

    async def _connection(self) -> Connection:
        while self._kept:
            if (connection := self._kept.pop()).is_open:
                return connection
            connection.close()
        return Connection(*await asyncio.open_connection(self._host, self._port))

    def _keep(self, connection: Connection, response: Response) -> None:
        """For the next exchange, unless this one was refused or the Runtime API ends the connection."""
        status, headers, _ = response
        if status < 300 and headers.get("connection", "").lower() != "close":
            self._kept.append(connection)
        else:
            connection.close()

    def _head(self, method: str, path: str, headers: Mapping[str, str]) -> bytes:
        lines = [f"{method} /2018-06-01/runtime/{path} HTTP/1.1", f"Host: {self._host}:{self._port}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode()


def wait_for_restore(authority: str) -> None:
    """Says that this environment is ready for its snapshot, and returns in a copy that was restored from it: what
    the managed runtime does with SnapStart. Blocking, so that the snapshot holds no event loop. Raises
    RuntimeApiError."""
    connection = http.client.HTTPConnection(authority)
    try:
        connection.request("GET", "/2018-06-01/runtime/restore/next")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise RuntimeApiError("the Runtime API cannot be reached") from error
    finally:
        connection.close()
    if status != 200:
        raise RuntimeApiError(f"the Runtime API refused restore/next with status {status}")


class Reply:
    """A reply that has been started. Bytes are sent as they are written; a slow reader slows the writer."""

    def __init__(self, connection: Connection, keep: Callable[[Connection, Response], None], start: bytes) -> None:
        """`start` is what has to be sent before the body."""
        self._connection, self._keep, self._start = connection, keep, start
        # The API responds when the reply has ended. A response, or the connection's end, before that is a refusal.
        self._response = asyncio.ensure_future(_response(connection.reader))
        self._response.add_done_callback(self._responded)
        self.ended = self._closed = False

    @property
    def refused(self) -> bool:
        return not self.ended and (self._response.done() or self._connection.writer.is_closing())

    async def wait_over(self) -> None:
        """Returns when the Runtime API accepts no more of this reply."""
        await asyncio.wait({self._response})

    async def write(self, data: bytes) -> None:
        """Raises ReplyRefusedError."""
        if data:
            await self._send(_chunk(data))

    async def end(self, data: bytes = b"", fault: Fault | None = None) -> None:
        """Ends the reply with its last bytes, and with a fault in its trailers if one is given. Raises
        ReplyRefusedError."""
        named = {ERROR_TYPE: fault.kind.encode(), ERROR_BODY: base64.b64encode(fault.json)} if fault else {}
        trailers = b"".join(b"%b: %b\r\n" % (name.encode(), value) for name, value in named.items())
        await self._send(_chunk(data) + b"0\r\n%b\r\n" % trailers, last=True)
        try:
            response = await self._response
        except (OSError, EOFError, ValueError) as error:
            raise ReplyRefusedError("the end of the reply was not accepted") from error
        if not self._closed:
            self._closed = True
            self._keep(self._connection, response)
        if response[0] >= 300:
            raise ReplyRefusedError(f"the reply was refused with status {response[0]}")

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._response.cancel()
            self._connection.close()

    async def _send(self, data: bytes, *, last: bool = False) -> None:
        if self.refused:
            raise ReplyRefusedError("the reply is no longer accepted")
        self.ended = last
        self._connection.writer.write(self._start + data)
        self._start = b""
        try:
            await self._connection.writer.drain()
        except OSError as error:
            raise ReplyRefusedError("the reply is no longer accepted") from error

    def _responded(self, response: asyncio.Future[Any]) -> None:
        if not response.cancelled():
            response.exception()
        if not self.ended:
            self._connection.close()  # frees a writer that waits for a reader


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def _invocation(headers: Mapping[str, str], payload: bytes) -> Invocation:
    return Invocation(
        payload=payload,
        aws_request_id=headers["lambda-runtime-aws-request-id"],
        deadline_ms=float(headers["lambda-runtime-deadline-ms"]),
        invoked_function_arn=headers.get("lambda-runtime-invoked-function-arn", ""),
        trace_id=headers.get("lambda-runtime-trace-id"),
    )


async def _response(reader: asyncio.StreamReader) -> Response:
    """Status, headers by lower-case name, body. Raises EOFError or ValueError if it is cut or not HTTP."""
    status_line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    _, status, *_ = status_line.split(" ", 2)
    pairs = (line.partition(":") for line in lines if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return int(status), headers, await reader.readexactly(int(headers.get("content-length", 0)))
    body = []
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return int(status), headers, b"".join(body)
