"""The runtime loop: takes invocations from Lambda's Runtime API, drives an ASGI app with each, and sends the replies.
`runtime-wrapper` starts it in place of the managed runtime, whose handler can neither stream nor answer more than one
request at a time in a process.

On default Lambda there is one invocation at a time. On Lambda Managed Instances the variable
`AWS_LAMBDA_MAX_CONCURRENCY` says how many an environment may have: so many workers share this process and its event
loop, and each asks for an invocation, answers it, and asks again. A worker that answers does not ask: a full
process takes no more. What belongs to one invocation is in context variables of its own.

A failure before the first byte is the invocation's error; one after it ends a stream with an error event (if it is
a stream of events) and with trailers. When the Runtime API closes a streamed reply, the app gets an
`http.disconnect`; if it does not, the deadline ends the invocation. Lambda Managed Instances enforce no timeout of
their own, so the deadline is enforced here. SIGTERM ends the asking, and the workers have `DRAIN_S` to finish.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import copy_context
from math import inf
from typing import Any, Protocol

from gateway import body_of, prelude_of, scope_of
from runtime_api import Fault, Invocation, Reply, ReplyRefusedError, RuntimeApi, RuntimeApiError, wait_for_restore

log = logging.getLogger("emerge.runtime")

Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
App = Callable[[Any, Any, Any], Awaitable[None]]  # ASGI 3
Around = Callable[[Mapping[str, Any], Any], AbstractAsyncContextManager[None]]

MAX_CONCURRENCY = "AWS_LAMBDA_MAX_CONCURRENCY"  # Lambda sets it on Managed Instances alone
MARGIN_S = 0.5  # before Lambda's deadline: what still runs then is cancelled
ENDING_S = 0.7  # for reporting a failure, at least
LEAST_S = 0.25  # for any invocation: the app itself refuses a request that has no time left
# New objects before the collector looks for cycles among them, for each request that may be open: more than one holds.
# A look stops all requests (125 ms for 50,000 objects), and finds next to nothing: only a client that leaves makes
# cycles, about 30 objects.
GARBAGE_OBJECTS = 800
LEAST_GARBAGE_OBJECTS = 50_000
DRAIN_S = 1.2  # after SIGTERM; with ENDING_S less than the 2 s after which Lambda kills the process


class Exchange(Protocol):
    """One request on the app's side, and its reply on the Runtime API's side."""

    def __init__(self, api: RuntimeApi, invocation: Invocation) -> None: ...

    def receiver(self, body: bytes) -> Receive: ...

    async def send(self, message: Message) -> None: ...

    def check(self) -> None:
        """Raises RuntimeError if the app returned without a whole reply."""

    async def fail(self, error: BaseException, *, late: bool) -> None:
        """Logs the error and reports it: to the client if the reply can still be ended, and to Lambda."""

    def close(self) -> None: ...


class RuntimeLoop:
    """Answers the invocations of one execution environment, `concurrency` at once, each inside
    `around(event, context)`."""

    def __init__(
        self,
        api: RuntimeApi,
        app: App,
        around: Around,
        *,
        exchange: Callable[[RuntimeApi, Invocation], Exchange] | None = None,
        concurrency: int = 1,
    ) -> None:
        self._api, self._app, self._around = api, app, around
        self._exchange = exchange or StreamedExchange
        self._concurrency = concurrency
        self._context = copy_context()
        self._asking: set[asyncio.Task[Invocation]] = set()
        self._limits: set[asyncio.Timeout] = set()  # of the invocations that are being answered
        self._end = inf  # on the event loop's clock; of everything, once `stop` was called

    @property
    def stopped(self) -> bool:
        return self._end < inf

    async def run(self) -> None:
        """Returns when `stop` was called and everything has been answered. Raises RuntimeApiError if the Runtime API
        gives no invocations; those that were taken before are answered first."""
        workers = [asyncio.create_task(self._work()) for _ in range(self._concurrency)]
        try:
            await asyncio.wait(workers)
        finally:
            for worker in workers:
                worker.cancel()
            ended = await asyncio.gather(*workers, return_exceptions=True)
            self._api.close()
        for fault in ended:
            if isinstance(fault, BaseException):
                raise fault

    def stop(self) -> None:
        """Takes no more invocations. What is being answered has `DRAIN_S` left, after which it ends as it does at its
        own deadline."""
        if self.stopped:
            return
        self._end = asyncio.get_running_loop().time() + DRAIN_S
        for asking in self._asking:
            asking.cancel()  # one that has its invocation already is not affected
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(min(limit.when() or inf, self._end))

    async def _work(self) -> None:
        try:
            while (answering := await self._taken()) is not None:
                await answering
                del answering  # with its event, which may be large: the next one may be long in coming
        except RuntimeApiError:
            self.stop()
            raise

    async def _taken(self) -> asyncio.Task[None] | None:
        """Takes an invocation and starts to answer it; None if there is nothing more to answer."""
        if (invocation := await self._next()) is None:
            return None
        # In a context of its own, so that nothing of one invocation is left for the next.
        return asyncio.create_task(self.answer(invocation), context=self._context.copy())

    async def _next(self) -> Invocation | None:
        """None if there is nothing more to answer."""
        if self.stopped:
            return None
        asking = asyncio.create_task(self._api.next_invocation())
        self._asking.add(asking)
        try:
            return await asking
        except asyncio.CancelledError:
            if self.stopped and not _is_cancelled():
                return None
            raise
        finally:
            self._asking.discard(asking)

    async def answer(self, invocation: Invocation) -> None:
        """Answers one invocation. Never raises what the app raises, so that the next one can be answered."""
        if self._concurrency == 1:
            _set_trace(invocation.trace_id)
        exchange = self._exchange(self._api, invocation)
        left_s = max(invocation.get_remaining_time_in_millis() / 1000 - MARGIN_S, LEAST_S)
        limit = asyncio.timeout_at(min(asyncio.get_running_loop().time() + left_s, self._end))
        self._limits.add(limit)
        try:
            async with limit:
                event = json.loads(invocation.payload)
                scope = scope_of(event)
                receive = exchange.receiver(body_of(event))
                async with self._around(event, invocation):
                    await self._app({**scope, "aws.context": invocation}, receive, exchange.send)
            exchange.check()
        except (Exception, asyncio.CancelledError) as error:
            if _is_cancelled():
                raise
            await exchange.fail(error, late=limit.expired())
        finally:
            self._limits.discard(limit)
            exchange.close()


def _is_cancelled() -> bool:
    """Whether the task itself is being cancelled, rather than something that it awaited."""
    return bool((task := asyncio.current_task()) and task.cancelling())


class StreamedExchange:
    """Sends each part of the reply as soon as the app has made it."""

    def __init__(self, api: RuntimeApi, invocation: Invocation) -> None:
        self._api = api
        self._invocation = invocation
        self._reply: Reply | None = None
        self._begun = asyncio.Event()
        self._is_events = False

    def receiver(self, body: bytes) -> Receive:
        return _receiver(body, self._wait_over)

    async def _wait_over(self) -> None:
        await self._begun.wait()
        if self._reply is not None:
            await self._reply.wait_over()

    async def send(self, message: Message) -> None:
        """Raises ReplyRefusedError, an OSError as ASGI requires it, if the client has gone."""
        if message["type"] == "http.response.start" and self._reply is None:
            prelude = prelude_of(message)
            self._is_events = prelude["headers"].get("content-type", "").startswith("text/event-stream")
            # A stream's client waits for its start; a whole reply's body follows at once.
            self._reply = await self._api.reply(self._invocation, prelude, at_once=self._is_events)
            self._begun.set()
        elif message["type"] == "http.response.body" and self._reply is not None:
            body = message.get("body", b"")
            await (self._reply.write(body) if message.get("more_body") else self._reply.end(body))
        else:
            raise RuntimeError(f"the app sent {message['type']} out of turn")

    def check(self) -> None:
        if self._reply is None or not self._reply.ended:
            raise RuntimeError("the app returned before its reply had ended")

    async def fail(self, error: BaseException, *, late: bool) -> None:
        kind = "Timeout" if late else type(error).__name__
        if isinstance(error, ReplyRefusedError) or (self._reply and self._reply.refused):
            reason = str(error) if isinstance(error, ReplyRefusedError) else kind
            log.info("client left", extra={**_named(self._invocation), "reason": reason})
            return
        _log_failure(self._invocation, error, late=late)
        fault = Fault(kind, _MESSAGES[late])
        async with _reporting(self._invocation, late=late):
            if self._reply is None:
                await self._api.fail(self._invocation, fault)
            elif not self._reply.ended:
                await self._reply.end(_event(fault, late) if self._is_events else b"", fault)

    def close(self) -> None:
        if self._reply is not None:
            self._reply.close()


class BufferedExchange:
    """Sends the reply when it is whole. Lambda does not report that a client left."""

    def __init__(self, api: RuntimeApi, invocation: Invocation) -> None:
        self._api = api
        self._invocation = invocation
        self._start: Message | None = None
        self._parts: list[bytes] = []
        self._over = asyncio.Event()
        self._ended = False

    def receiver(self, body: bytes) -> Receive:
        return _receiver(body, self._over.wait)

    async def send(self, message: Message) -> None:
        from buffered import encode_result, result_of

        if message["type"] == "http.response.start" and self._start is None:
            self._start = message
        elif message["type"] == "http.response.body" and self._start is not None and not self._ended:
            self._parts.append(message.get("body", b""))
            if not message.get("more_body"):
                self._ended = True
                self._over.set()
                body = b"".join(self._parts)
                result = result_of(self._start["status"], self._start.get("headers", ()), body)
                await self._api.respond(self._invocation, encode_result(result))
        else:
            raise RuntimeError(f"the app sent {message['type']} out of turn")

    def check(self) -> None:
        if not self._ended:
            raise RuntimeError("the app returned before its reply had ended")

    async def fail(self, error: BaseException, *, late: bool) -> None:
        _log_failure(self._invocation, error, late=late)
        if self._ended:
            return
        async with _reporting(self._invocation, late=late):
            fault = Fault("Timeout" if late else type(error).__name__, _MESSAGES[late])
            await self._api.fail(self._invocation, fault)

    def close(self) -> None:
        self._over.set()


_MESSAGES = {True: "The function ran out of time.", False: "The function failed."}


def _receiver(body: bytes, wait_over: Callable[[], Awaitable[object]]) -> Receive:
    """The app's `receive`: the whole body, then a disconnect once `wait_over` returns."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await wait_over()
        return {"type": "http.disconnect"}

    return receive


@asynccontextmanager
async def _reporting(invocation: Invocation, *, late: bool) -> AsyncIterator[None]:
    """Bounds the time for reporting a failure, and logs a report that fails. A busy process may need longer than a
    moment, and has it unless it is late."""
    limit_s = ENDING_S if late else max(invocation.get_remaining_time_in_millis() / 1000, ENDING_S)
    try:
        async with asyncio.timeout(limit_s):
            yield
    except (OSError, EOFError, ValueError, RuntimeApiError) as failure:
        extra = {**_named(invocation), "reason": type(failure).__name__}
        log.warning("the error could not be reported", extra=extra)


def _named(invocation: Invocation) -> dict[str, str]:
    """For log lines: an invocation may fail before its log keys are set."""
    return {"function_request_id": invocation.aws_request_id}


def _log_failure(invocation: Invocation, error: BaseException, *, late: bool) -> None:
    message = "out of time" if late else "unhandled error in an invocation"
    log.error(message, exc_info=None if late else error, extra=_named(invocation))


def _event(fault: Fault, late: bool) -> bytes:
    error = {"message": fault.message, "type": "timeout_error" if late else "server_error", "param": None, "code": None}
    return b"data: " + json.dumps({"error": error}).encode() + b"\n\n"


def _set_trace(trace_id: str | None) -> None:
    """Sets the variable that X-Ray's SDK reads, as the managed runtime does. It is the process's: only one invocation
    at a time may set it."""
    if trace_id is None:
        os.environ.pop("_X_AMZN_TRACE_ID", None)
    else:
        os.environ["_X_AMZN_TRACE_ID"] = trace_id


def concurrency_of(environ: Mapping[str, str]) -> int | None:
    """How many invocations an environment of Lambda Managed Instances may have at once; None on default Lambda.
    Raises ValueError if the variable is no positive number."""
    if not (given := environ.get(MAX_CONCURRENCY)):
        return None
    if (found := int(given)) < 1:
        raise ValueError(f"{MAX_CONCURRENCY} is {found}")
    return found


async def main() -> None:
    import logs

    api = RuntimeApi(os.environ["AWS_LAMBDA_RUNTIME_API"])
    try:
        from environment import Environment

        concurrency = concurrency_of(os.environ)
        environment = Environment()
    except Exception as error:
        frames = logs.describe(type(error), error.__traceback__)
        sys.stdout.write(json.dumps({"level": "ERROR", "message": "init failed", "exception": frames}) + "\n")
        await api.fail_init(Fault(type(error).__name__, "The function's code could not be loaded."))
        sys.exit(1)
    exchange = StreamedExchange if environment.streams else BufferedExchange
    loop = RuntimeLoop(
        api, environment.application, environment.invocation, exchange=exchange, concurrency=concurrency or 1
    )
    if concurrency:
        from emerge_core.api.process import collect_garbage_less_often, raise_file_limit

        # An open request holds a connection to the Runtime API and one to each upstream.
        raise_file_limit()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, loop.stop)
        await environment.warm()
        collect_garbage_less_often(max(GARBAGE_OBJECTS * concurrency, LEAST_GARBAGE_OBJECTS))
    try:
        await loop.run()
        await environment.close()
    except RuntimeApiError as error:  # Lambda starts the environment anew
        log.error("runtime ends", extra={"reason": str(error)})
        sys.exit(1)


def prepare(environ: Mapping[str, str]) -> None:
    """What comes before the event loop: with SnapStart the snapshot is taken in here."""
    kind = environ.get("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
    if kind != "on-demand":
        from prime import prime_for

        prime_for(kind)
    if kind == "snap-start":
        wait_for_restore(environ["AWS_LAMBDA_RUNTIME_API"])


if __name__ == "__main__":
    prepare(os.environ)
    asyncio.run(main())
