"""The streaming runtime loop: takes invocations one by one, drives an ASGI app with each, and sends each
part of the app's reply as soon as it is there. `stream-wrapper` starts it in place of the managed runtime.

A failure before the first byte is the invocation's error; one after it ends the stream with an error
event (if it is a stream of events) and with trailers. When the Runtime API closes a reply, the app gets
an `http.disconnect`; if it does not, the deadline ends the invocation.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from gateway import body_of, prelude_of, scope_of
from runtime_api import Fault, Invocation, Reply, ReplyRefusedError, RuntimeApi, RuntimeApiError, wait_for_restore

log = logging.getLogger("emerge.runtime")

Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
App = Callable[[Any, Any, Any], Awaitable[None]]  # ASGI 3
Around = Callable[[Mapping[str, Any], Any], AbstractAsyncContextManager[None]]

MARGIN_S = 0.5  # before Lambda's deadline: what still runs then is cancelled
ENDING_S = 0.3  # of it, for the end of the stream
LEAST_S = 0.25  # for any invocation: the app itself refuses a request that has no time left


async def serve(api: RuntimeApi, app: App, around: Around) -> None:
    """Answers invocations until the process ends, each inside `around(event, context)`. Raises RuntimeApiError."""
    while True:
        await answer(api, await api.next_invocation(), app, around)


async def answer(api: RuntimeApi, invocation: Invocation, app: App, around: Around) -> None:
    """Answers one invocation. Never raises what the app raises, so that the next one can be answered."""
    _set_trace(invocation.trace_id)
    exchange = Exchange(api, invocation)
    left_s = max(invocation.get_remaining_time_in_millis() / 1000 - MARGIN_S, LEAST_S)
    try:
        async with asyncio.timeout(left_s) as limit:
            event = json.loads(invocation.payload)
            scope = scope_of(event)
            receive = exchange.receiver(body_of(event))
            async with around(event, invocation):
                await app({**scope, "aws.context": invocation}, receive, exchange.send)
        exchange.check()
    except (Exception, asyncio.CancelledError) as error:
        if (task := asyncio.current_task()) and task.cancelling():
            raise
        await exchange.fail(error, late=limit.expired())
    finally:
        exchange.close()


class Exchange:
    """One request on the app's side, and its reply on the Runtime API's side."""

    def __init__(self, api: RuntimeApi, invocation: Invocation) -> None:
        self._api = api
        self._invocation = invocation
        self._reply: Reply | None = None
        self._begun = asyncio.Event()
        self._is_events = False

    def receiver(self, body: bytes) -> Receive:
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            if messages:
                return messages.pop()
            await self._begun.wait()
            if self._reply is not None:
                await self._reply.wait_over()
            return {"type": "http.disconnect"}

        return receive

    async def send(self, message: Message) -> None:
        """Raises ReplyRefusedError, an OSError as ASGI requires it, if the client has gone."""
        if message["type"] == "http.response.start" and self._reply is None:
            prelude = prelude_of(message)
            self._is_events = prelude["headers"].get("content-type", "").startswith("text/event-stream")
            self._reply = await self._api.reply(self._invocation, prelude)
            self._begun.set()
        elif message["type"] == "http.response.body" and self._reply is not None:
            body = message.get("body", b"")
            await (self._reply.write(body) if message.get("more_body") else self._reply.end(body))
        else:
            raise RuntimeError(f"the app sent {message['type']} out of turn")

    def check(self) -> None:
        """Raises RuntimeError if the app returned without a whole reply."""
        if self._reply is None or not self._reply.ended:
            raise RuntimeError("the app returned before its reply had ended")

    async def fail(self, error: BaseException, *, late: bool) -> None:
        """Logs the error and reports it: to the client if the reply can still be ended, and to Lambda."""
        kind = "Timeout" if late else type(error).__name__
        if isinstance(error, ReplyRefusedError) or (self._reply and self._reply.refused):
            log.info("client left", extra={"reason": str(error) if isinstance(error, ReplyRefusedError) else kind})
            return
        log.error("out of time" if late else "unhandled error in an invocation", exc_info=None if late else error)
        fault = Fault(kind, _MESSAGES[late])
        try:
            async with asyncio.timeout(ENDING_S):
                if self._reply is None:
                    await self._api.fail(self._invocation, fault)
                elif not self._reply.ended:
                    await self._reply.end(_event(fault, late) if self._is_events else b"", fault)
        except (OSError, EOFError, ValueError, RuntimeApiError) as failure:
            log.warning("the error could not be reported", extra={"reason": type(failure).__name__})

    def close(self) -> None:
        if self._reply is not None:
            self._reply.close()


_MESSAGES = {True: "The function ran out of time.", False: "The function failed."}


def _event(fault: Fault, late: bool) -> bytes:
    error = {"message": fault.message, "type": "timeout_error" if late else "server_error", "param": None, "code": None}
    return b"data: " + json.dumps({"error": error}).encode() + b"\n\n"


def _set_trace(trace_id: str | None) -> None:
    """Sets the variable that X-Ray's SDK reads, as the managed runtime does."""
    if trace_id is None:
        os.environ.pop("_X_AMZN_TRACE_ID", None)
    else:
        os.environ["_X_AMZN_TRACE_ID"] = trace_id


async def main() -> None:
    import logs

    api = RuntimeApi(os.environ["AWS_LAMBDA_RUNTIME_API"])
    try:
        from environment import Environment

        environment = Environment()
    except Exception as error:
        frames = logs.describe(type(error), error.__traceback__)
        sys.stdout.write(json.dumps({"level": "ERROR", "message": "init failed", "exception": frames}) + "\n")
        await api.fail_init(Fault(type(error).__name__, "The function's code could not be loaded."))
        sys.exit(1)
    try:
        await serve(api, environment.application, environment.invocation)
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
