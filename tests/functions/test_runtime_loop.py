"""The streaming loop against a stub of Lambda's Runtime API: real sockets, bare ASGI apps."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest

from tests.support.aws_lambda.function import event
from tests.support.aws_lambda.runtime_stub import RuntimeStub, front_door
from tests.support.paths import PROXY

sys.path.insert(0, str(PROXY))

import runtime_loop
from runtime_api import RuntimeApi, RuntimeApiError

App = Callable[[Any, Any, Any], Awaitable[None]]


@asynccontextmanager
async def nothing(given: Any, context: Any) -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def serving(app: App, *, around: Any = nothing, loops: int = 1, **options: Any) -> AsyncIterator[RuntimeStub]:
    """The stub, with as many loops asking it for work. Nothing may be left when they are stopped."""
    before = asyncio.all_tasks()
    async with RuntimeStub(**options).serving() as stub:
        api = RuntimeApi(stub.authority)
        running = [asyncio.create_task(runtime_loop.RuntimeLoop(api, app, around).run()) for _ in range(loops)]
        try:
            yield stub
            assert not [task for task in running if task.done()]
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)
    async with asyncio.timeout(5):
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0.001)


async def start(send: Any, status: int = 200, kind: str = "text/event-stream", *more: tuple[bytes, bytes]) -> None:
    headers = [(b"content-type", kind.encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def body(send: Any, data: bytes = b"", *, more: bool = False) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": more})


async def read(receive: Any) -> bytes:
    message = await receive()
    assert message["more_body"] is False
    data: bytes = message["body"]
    return data


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers as its query says: `?as=stream|json|before|after`."""
    asked = dict(pair.split("=") for pair in scope["query_string"].decode().split("&"))
    said = await read(receive)
    if asked["as"] == "json":
        await start(send, 200, "application/json", (b"content-length", b"%d" % len(said)))
        await body(send, said)
    elif asked["as"] == "before":
        raise LookupError("a private matter")
    else:
        await start(send)
        for word in said.split():
            await body(send, b"data: %b\n\n" % word, more=True)
            await asyncio.sleep(0)
        if asked["as"] == "after":
            raise LookupError("a private matter")
        await body(send)


def asking(how: str, text: str = "one two three") -> dict[str, Any]:
    return {**event("POST", "/v1/x", text), "multiValueQueryStringParameters": {"as": [how]}}


def test_bytes_leave_as_the_app_yields_them() -> None:
    seen = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        for index in range(5):
            await body(send, b"data: %d\n\n" % index, more=True)
            await seen.wait()  # until it has arrived, the next is not yielded
            seen.clear()
        await body(send)

    async def scenario() -> None:
        async with serving(app) as stub:
            taken = stub.invoke(event())
            for index in range(5):
                assert await asyncio.wait_for(taken.parts.get(), 10) == b"data: %d\n\n" % index
                assert not taken.done.is_set()
                seen.set()
            assert await asyncio.wait_for(taken.parts.get(), 10) is None
            assert taken.trailers == {}

    asyncio.run(scenario())


def test_every_reply_carries_the_prelude() -> None:
    cookies = ((b"set-cookie", b"a=1"), (b"Set-Cookie", b"b=2"), (b"x-many", b"1"), (b"X-Many", b"2"))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send, 404, "application/json", (b"content-length", b"2"), *cookies)
        await body(send, b"{}")

    async def scenario() -> None:
        async with serving(app) as stub:
            taken = await stub.call(event())
        headers = {"content-type": "application/json", "x-many": "1, 2"}
        assert taken.prelude == {"statusCode": 404, "headers": headers, "cookies": ["a=1", "b=2"]}
        assert taken.json == {}
        assert taken.headers["lambda-runtime-function-response-mode"] == "streaming"
        assert taken.headers["content-type"] == "application/vnd.awslambda.http-integration-response"
        assert taken.headers["transfer-encoding"] == "chunked"

    asyncio.run(scenario())


KINDS = ("stream", "json", "before", "after", "cut", "refused", "malformed")


async def asked_and_checked(stub: RuntimeStub, index: int) -> None:
    kind = KINDS[index % len(KINDS)]
    text = f"say {index} times"
    events = b"".join(b"data: %b\n\n" % word.encode() for word in text.split())
    if kind == "malformed":
        assert (await stub.call(b"{nothing", trace_id=str(index))).error["errorType"] == "JSONDecodeError"
    elif kind == "before":
        taken = await stub.call(asking("before", text))
        assert taken.error == {"errorType": "LookupError", "errorMessage": "The function failed.", "stackTrace": []}
        assert taken.prelude is None
    elif kind == "json":
        taken = await stub.call(asking("json", text))
        assert (taken.body.decode(), taken.trailers, taken.error) == (text, {}, None)
    elif kind == "after":
        taken = await stub.call(asking("after", text))
        assert taken.body.startswith(events)
        (last,) = taken.body.removeprefix(events).decode().splitlines()[:1]
        assert json.loads(last.removeprefix("data: "))["error"]["type"] == "server_error"
        assert taken.trailers["lambda-runtime-function-error-type"] == "LookupError"
        assert taken.trailed["errorMessage"] == "The function failed."
    elif kind == "stream":
        taken = await stub.call(asking("stream", text))
        assert (taken.body, taken.trailers) == (events, {})
    else:
        taken = await stub.call(asking("stream", text), fault="cut" if kind == "cut" else "413")
        assert taken.body in (b"", b"data: say\n\n")


def test_a_hundred_requests_one_by_one_of_every_kind() -> None:
    async def scenario() -> None:
        async with serving(echo) as stub:
            for index in range(100):
                await asked_and_checked(stub, index)
            assert stub.asked <= 101

    asyncio.run(scenario())


def test_a_connection_serves_one_request_after_the_other_and_leaves_nothing_to_collect() -> None:
    """The garbage collector holds every open request up: what a request leaves must go without it."""

    async def scenario() -> None:
        async with serving(echo) as stub:
            for _ in range(5):
                await stub.call(asking("json"))
            gc.collect()
            gc.disable()
            try:
                for index in range(20):
                    await stub.call(asking("json" if index % 2 else "stream"))
                assert gc.collect() == 0
            finally:
                gc.enable()
            assert stub.connections == 1

    asyncio.run(scenario())


def test_a_connection_that_the_runtime_api_ends_is_not_used_again() -> None:
    async def scenario() -> None:
        async with serving(echo, keeps=False) as stub:
            for index in range(2 * len(KINDS)):
                await asked_and_checked(stub, index)
            assert stub.asked <= 2 * len(KINDS) + 1

    asyncio.run(scenario())


def test_a_hundred_requests_interleaved() -> None:
    async def scenario() -> None:
        async with serving(echo, loops=5) as stub:
            await asyncio.gather(*(asked_and_checked(stub, index) for index in range(100)))

    asyncio.run(scenario())


def test_nothing_private_is_told_of_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> list[Any]:
        async with serving(echo) as stub:
            return [await stub.call(asking(how)) for how in ("before", "after")]

    before, after = asyncio.run(scenario())
    assert "private" not in json.dumps([before.error, after.trailed, after.body.decode()])
    assert [record.message for record in caplog.records] == ["unhandled error in an invocation"] * 2


def test_an_error_in_a_json_reply_is_told_by_the_trailers_alone() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send, 200, "application/json")
        await body(send, b'{"a": ', more=True)
        raise LookupError

    async def scenario() -> None:
        async with serving(app) as stub:
            taken = await stub.call(event())
        assert taken.body == b'{"a": '
        assert taken.trailed["errorType"] == "LookupError"

    asyncio.run(scenario())


async def silent(scope: Any, receive: Any, send: Any) -> None:
    pass


async def unfinished(scope: Any, receive: Any, send: Any) -> None:
    await start(send)
    await body(send, b"data: 1\n\n", more=True)


async def body_first(scope: Any, receive: Any, send: Any) -> None:
    await body(send, b"1")


async def twice(scope: Any, receive: Any, send: Any) -> None:
    await start(send)
    await start(send)


async def cancelled(scope: Any, receive: Any, send: Any) -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("app", "begun"), [(silent, False), (unfinished, True), (body_first, False), (twice, True), (cancelled, False)]
)
def test_an_app_that_breaks_the_protocol_fails_its_own_request_alone(app: App, begun: bool) -> None:
    async def scenario() -> None:
        async with serving(app) as stub:
            for _ in range(2):
                taken = await stub.call(event())
                fault = taken.trailed if begun else taken.error
                assert fault["errorType"] == ("CancelledError" if app is cancelled else "RuntimeError")

    asyncio.run(scenario())


@pytest.mark.parametrize("begun", [False, True])
def test_the_deadline_ends_what_still_runs(begun: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_loop, "MARGIN_S", 9.5)
    left_ms: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if begun:
            await start(send)
            await body(send, b": keepalive\n\n", more=True)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            left_ms.append(scope["aws.context"].get_remaining_time_in_millis())
            raise

    async def scenario() -> None:
        async with serving(app, deadline_s=10.0) as stub:
            taken = await stub.call(event())
        assert len(left_ms) == 1
        assert left_ms[0] > 0  # before Lambda would have ended it
        fault = taken.trailed if begun else taken.error
        assert (fault["errorType"], fault["errorMessage"]) == ("Timeout", "The function ran out of time.")
        if begun:
            told = taken.body.removeprefix(b": keepalive\n\ndata: ")
            assert json.loads(told)["error"]["type"] == "timeout_error"

    asyncio.run(scenario())


@pytest.mark.parametrize("fault", ["cut", "413"])
def test_a_client_that_left_is_told_to_the_app(fault: str) -> None:
    """It hears of it where it listens, and where it writes."""
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read(receive)
        await start(send)
        await body(send, b"data: 1\n\n", more=True)
        heard.put_nowait((await receive())["type"])
        with pytest.raises(OSError):
            await body(send, b"data: 2\n\n", more=True)
        heard.put_nowait("refused")

    async def scenario() -> None:
        async with serving(app) as stub:
            for _ in range(2):
                await stub.call(event(), fault=fault)
                for expected in ("http.disconnect", "refused"):
                    assert await asyncio.wait_for(heard.get(), 10) == expected

    asyncio.run(scenario())


def test_the_app_hears_of_the_end_of_its_own_reply() -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read(receive)
        watch = asyncio.create_task(receive())
        await start(send)
        await body(send, b"data: 1\n\n")
        heard.put_nowait((await watch)["type"])

    async def scenario() -> None:
        async with serving(app) as stub:
            assert (await stub.call(event())).body == b"data: 1\n\n"
            assert await asyncio.wait_for(heard.get(), 10) == "http.disconnect"

    asyncio.run(scenario())


PART = b"x" * 65_536


def test_a_slow_reader_gets_everything() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        for _ in range(100):
            await body(send, PART, more=True)
        await body(send)

    async def scenario() -> None:
        async with serving(app) as stub:
            slow = await stub.call(event(), fault="slow")
        assert slow.body == PART * 100
        assert slow.trailers == {}

    asyncio.run(scenario())


def test_a_reader_that_stops_holds_the_app_back_and_the_deadline_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_loop, "MARGIN_S", 0.5)
    monkeypatch.setattr(runtime_loop, "ENDING_S", 0.1)
    sent = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await start(send)
        for _ in range(1_000):  # 65 MB: more than any socket holds
            await body(send, PART, more=True)
            sent += 1

    async def scenario() -> None:
        async with serving(app, deadline_s=1.0) as stub:
            deaf = stub.invoke(event(), fault="deaf")
            await asyncio.wait_for(deaf.begun.wait(), 10)
            taken = stub.invoke(event())  # served once the first one has been given up
            await asyncio.wait_for(taken.begun.wait(), 10)
            assert 0 < sent < 500
            taken.leave()
            deaf.leave()

    asyncio.run(scenario())


def test_next_is_asked_for_again_where_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime_api.NEXT_PAUSES_S", (0.001,) * 3)

    async def scenario() -> None:
        async with serving(echo, next_faults=["500", "cut", "junk", "chunked"]) as stub:
            taken = await stub.call(asking("json", "word " * 2_000))
            assert taken.body == b"word " * 2_000
            assert stub.asked >= 4

    asyncio.run(scenario())


def test_without_a_runtime_api_the_loop_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime_api.NEXT_PAUSES_S", (0.001,) * 3)

    async def scenario() -> None:
        with pytest.raises(RuntimeApiError, match="gives no invocation"):
            await runtime_loop.RuntimeLoop(RuntimeApi("127.0.0.1:9"), echo, nothing).run()

    asyncio.run(scenario())


def test_what_surrounds_a_request_sees_its_context_and_outlasts_the_reply() -> None:
    order: list[str] = []

    @asynccontextmanager
    async def around(given: Any, context: Any) -> AsyncIterator[None]:
        assert 0 < context.get_remaining_time_in_millis() <= 30_000
        assert context.invoked_function_arn.endswith("function:proxy:stream")
        order.append(f"in {context.aws_request_id} {given['path']} {os.environ.get('_X_AMZN_TRACE_ID')}")
        yield
        order.append(f"out {context.aws_request_id}")
        raise LookupError  # too late for the reply

    async def scenario() -> None:
        async with serving(echo, around=around) as stub:
            first = await stub.call(asking("json"), trace_id="Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700")
            second = await stub.call(asking("json"))
            third = await stub.call(asking("json"))
        assert (first.body, second.body, third.error) == (b"one two three", b"one two three", None)
        assert order[:3] == [
            f"in {first.id} /v1/x Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700",
            f"out {first.id}",
            f"in {second.id} /v1/x None",
        ]

    asyncio.run(scenario())


def test_what_fails_before_the_app_is_asked_is_the_invocation_s_error() -> None:
    @asynccontextmanager
    async def around(given: Any, context: Any) -> AsyncIterator[None]:
        raise LookupError
        yield

    async def scenario() -> None:
        async with serving(echo, around=around) as stub:
            assert (await stub.call(asking("json"))).error["errorType"] == "LookupError"

    asyncio.run(scenario())


def test_the_openai_client_sees_tokens_one_by_one() -> None:
    """Each token has reached the client before the next one is made."""
    tokens = ["The ", "answer ", "is ", "391."]
    arrived = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked = json.loads(await read(receive))
        await start(send, 200, "text/event-stream; charset=utf-8")
        await body(send, b": keepalive\n\n", more=True)
        for token in tokens:
            delta = {"index": 0, "delta": {"content": token}, "finish_reason": None}
            chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": asked["model"]}
            await body(send, b"data: %b\n\n" % json.dumps({**chunk, "choices": [delta]}).encode(), more=True)
            await asyncio.wait_for(arrived.wait(), 10)
            arrived.clear()
        await body(send, b"data: [DONE]\n\n")

    async def scenario() -> None:
        async with (
            serving(app) as stub,
            front_door(stub) as url,
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="emk_x", max_retries=0) as client,
        ):
            question: Any = [{"role": "user", "content": "What is 17 * 23?"}]
            got = []
            async for chunk in await client.chat.completions.create(model="emerge", messages=question, stream=True):
                got.append(chunk.choices[0].delta.content)
                arrived.set()
            assert got == tokens

    asyncio.run(scenario())


def test_a_client_of_the_front_door_that_leaves_is_told_to_the_app() -> None:
    heard = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read(receive)
        await start(send)
        await body(send, b": keepalive\n\n", more=True)
        assert (await receive())["type"] == "http.disconnect"
        heard.set()

    async def scenario() -> None:
        async with serving(app) as stub, front_door(stub) as url:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
            writer.write(b"GET /v1/x HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readuntil(b": keepalive")
            writer.close()
            await asyncio.wait_for(heard.wait(), 10)

    asyncio.run(scenario())
