"""The streamed form of a reply: server-sent events in OpenAI's chunk shapes.

Headers and a first comment leave at once, so that clients and gateways see a live connection; from
then on a failure can only be told inside the stream.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from emerge_core.api.attend import ClientGoneError, attended
from emerge_core.api.choices import Choice, content_of, finish_reason_of, logprobs_of
from emerge_core.api.encode import Encoded, TraceLevel, emerge_object, encode
from emerge_core.api.errors import INTERNAL, as_request_error, encode_json, error_body
from emerge_core.errors import EmergeError, RequestError
from emerge_core.types import ChatRequest, Decision, Trace

log = logging.getLogger(__name__)

KEEPALIVE = b": keepalive\n\n"
DONE = b"data: [DONE]\n\n"
PIECES = 8  # of a text that is whole before it is streamed


class EventStream(Response):
    """Streams a decision as soon as it is there, comments until then. Cancels the work when the client leaves."""

    def __init__(
        self,
        work: Callable[[], Coroutine[Any, Any, Trace]],
        request: ChatRequest,
        *,
        level: TraceLevel,
        include_usage: bool,
        keepalive_s: float,
        headers: Mapping[str, str],
    ) -> None:
        self.work = work
        self.request = request
        self.level = level
        self.include_usage = include_usage
        self.keepalive_s = keepalive_s
        self.status_code = 200
        self.background = None
        self.body = b""
        self.init_headers(
            {
                "content-type": "text/event-stream; charset=utf-8",
                "cache-control": "no-cache",
                "x-accel-buffering": "no",
                **headers,
            }
        )
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def write(event: bytes) -> None:
            await send({"type": "http.response.body", "body": event, "more_body": True})

        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            async with attended(self.work(), receive) as work:
                for event in self.opening():
                    await write(event)
                while not await work.done(self.keepalive_s):
                    await write(KEEPALIVE)
                for event in self._events(work.result):
                    await write(event)
        except (ClientGoneError, OSError):
            log.info("client left during the stream", extra=scope.get("state"))
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def opening(self) -> Iterator[bytes]:
        """What leaves before anything is known."""
        yield KEEPALIVE

    def answer(self, trace: Trace, decision: Decision) -> Iterator[bytes]:
        encoded = encode(trace, decision, self.request, self.level)
        yield from map(_event, chunks(encoded, self.request, include_usage=self.include_usage))
        yield DONE

    def failure(self, error: RequestError, emerge: Mapping[str, Any] | None) -> Iterator[bytes]:
        yield _event(error_body(error, emerge))

    def _events(self, result: Callable[[], Trace]) -> Iterator[bytes]:
        try:
            trace = result()
        except EmergeError as error:
            yield from self.failure(as_request_error(error), None)
            return
        except Exception:
            log.exception("unhandled error in a stream")
            yield from self.failure(INTERNAL, None)
            return
        if trace.decision is None:
            yield from self.failure(trace.failure or INTERNAL, emerge_object(trace, self.level))
        else:
            yield from self.answer(trace, trace.decision)


def chunks(encoded: Encoded, request: ChatRequest, *, include_usage: bool) -> Iterator[dict[str, Any]]:
    """The chunks of a whole reply. The very last carries the `emerge` object."""
    frame: dict[str, Any] = {
        "id": encoded.id,
        "object": "chat.completion.chunk",
        "created": encoded.created,
        "model": encoded.model,
        "system_fingerprint": None,
    }
    if include_usage:
        frame["usage"] = None
    emerge = {} if encoded.emerge is None else {"emerge": encoded.emerge}
    last = len(encoded.choices) - 1
    for index, choice in enumerate(encoded.choices):
        for delta, logprobs in _deltas(choice, request):
            yield {**frame, "choices": [_choice(index, delta, logprobs)]}
        finish = _choice(index, {}, finish_reason=finish_reason_of(choice.completion))
        yield {**frame, "choices": [finish], **(emerge if index == last and not include_usage else {})}
    if include_usage:
        yield {**frame, "choices": [], "usage": encoded.usage, **emerge}


def pieces(text: str, count: int = PIECES) -> Iterator[str]:
    """The text in at most `count` parts of about equal length, cut after white space where there is some."""
    size = max(1, -(-len(text) // count))
    start = 0
    while start < len(text):
        end = start + size
        while end < len(text) and not text[end - 1].isspace() and end < start + 2 * size:
            end += 1
        yield text[start:end]
        start = end


def _deltas(choice: Choice, request: ChatRequest) -> Iterator[tuple[dict[str, Any], Mapping[str, Any] | None]]:
    completion = choice.completion
    content = content_of(completion)
    yield {"role": "assistant", "content": None if content is None else "", "refusal": None}, None
    logprobs = logprobs_of(completion, request)
    if content:
        # Tokens need not add up to the text, so their probabilities go with the whole of it.
        for piece in pieces(content, 1 if logprobs else PIECES):
            yield {"content": piece}, logprobs
    if completion.refusal is not None:
        yield {"refusal": completion.refusal}, None
    for index, call in enumerate(completion.tool_calls):
        function = {"name": call.name, "arguments": ""}
        yield {"tool_calls": [{"index": index, "id": call.id, "type": "function", "function": function}]}, None
        for piece in pieces(call.arguments):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}, None


def _choice(
    index: int, delta: dict[str, Any], logprobs: Mapping[str, Any] | None = None, finish_reason: str | None = None
) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}


def _event(body: Mapping[str, Any]) -> bytes:
    return b"data: " + encode_json(body) + b"\n\n"
