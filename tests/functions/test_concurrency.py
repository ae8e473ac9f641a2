"""Many invocations at once in one loop, as on Lambda Managed Instances: bare ASGI apps, a stub of the Runtime API."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import json
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from emerge_core.api.process import collect_garbage_less_often
from tests.functions.test_runtime_loop import App, asked_and_checked, asking, body, echo, nothing, read, start
from tests.support.aws_lambda.function import event
from tests.support.aws_lambda.runtime_stub import RuntimeStub
from tests.support.paths import PROXY

sys.path.insert(0, str(PROXY))

import runtime_loop
from runtime_api import Invocation, RuntimeApi, RuntimeApiError
from runtime_loop import BufferedExchange, RuntimeLoop, StreamedExchange, concurrency_of


@asynccontextmanager
async def serving(
    app: App, concurrency: int, *, around: Any = nothing, exchange: Any = StreamedExchange, **options: Any
) -> AsyncIterator[tuple[RuntimeStub, RuntimeLoop, asyncio.Task[None]]]:
    """The stub, the loop, and the task that runs it. Nothing may be left when the task has ended."""
    before = asyncio.all_tasks()
    async with RuntimeStub(concurrency=concurrency, **options).serving() as stub:
        api = RuntimeApi(stub.authority)
        loop = RuntimeLoop(api, app, around, exchange=exchange, concurrency=concurrency)
        running = asyncio.create_task(loop.run())
        try:
            yield stub, loop, running
        finally:
            running.cancel()
            await asyncio.wait({running})
    assert stub.excess == 0
    async with asyncio.timeout(5):
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0.001)


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


class Gate:
    """An app that answers when it is let."""

    def __init__(self, *, is_open: bool = False) -> None:
        self.open = asyncio.Event()
        self.entered = 0
        if is_open:
            self.open.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        said = await read(receive)
        self.entered += 1
        await self.open.wait()
        await start(send, 200, "application/json")
        await body(send, said)


def test_a_full_process_asks_for_no_more() -> None:
    async def scenario() -> None:
        app = Gate()
        async with serving(app, 8) as (stub, _, _):
            await until(lambda: stub.asking == 8)
            taken = [stub.invoke(event(body=str(index))) for index in range(12)]
            await until(lambda: app.entered == 8)
            assert (stub.open, stub.asking) == (8, 0)
            app.open.set()
            await asyncio.gather(*(each.done.wait() for each in taken))
            assert [each.json for each in taken] == list(range(12))
            assert stub.most_open == 8
            await until(lambda: stub.asking == 8)

    asyncio.run(scenario())


def test_requests_of_every_kind_interleaved_end_alone() -> None:
    async def scenario() -> None:
        async with serving(echo, 16) as (stub, _, _):
            await asyncio.gather(*(asked_and_checked(stub, index) for index in range(140)))
            assert stub.most_open > 1

    asyncio.run(scenario())


def test_what_belongs_to_a_request_stays_with_it() -> None:
    """A context variable that is set around a request is seen by the app and its tasks, and by no other request."""
    mine: contextvars.ContextVar[str] = contextvars.ContextVar("mine", default="nobody's")
    before: list[str] = []

    @asynccontextmanager
    async def around(given: Any, context: Any) -> AsyncIterator[None]:
        before.append(mine.get())
        mine.set(context.aws_request_id)
        yield

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def later() -> str:
            await asyncio.sleep(random.random() / 100)
            return mine.get()

        names = [mine.get(), await asyncio.create_task(later()), mine.get(), scope["aws.context"].trace_id]
        await start(send, 200, "application/json")
        await body(send, json.dumps(names).encode())

    async def scenario() -> None:
        async with serving(app, 8, around=around) as (stub, _, _):
            calls = (stub.call(event(), trace_id=f"Root={index}") for index in range(60))
            for index, taken in enumerate(await asyncio.gather(*calls)):
                assert taken.json == [taken.id] * 3 + [f"Root={index}"]
        assert before == ["nobody's"] * 60

    asyncio.run(scenario())


def test_each_invocation_has_its_own_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_loop, "MARGIN_S", 0.1)

    async def scenario() -> None:
        app = Gate()
        async with serving(app, 4) as (stub, _, _):
            late = [stub.invoke(event(body="1"), deadline_s=0.4) for _ in range(2)]
            patient = [stub.invoke(event(body="2"), deadline_s=60) for _ in range(2)]
            for each in late:
                await asyncio.wait_for(each.done.wait(), 10)
                assert each.error["errorType"] == "Timeout"
            assert not any(each.done.is_set() for each in patient)
            app.open.set()
            await asyncio.gather(*(each.done.wait() for each in patient))
            assert [each.json for each in patient] == [2, 2]

    asyncio.run(scenario())


def test_stopping_answers_what_was_taken_and_takes_no_more() -> None:
    async def scenario() -> None:
        app = Gate()
        async with serving(app, 4) as (stub, loop, running):
            taken = [stub.invoke(event(body=str(index))) for index in range(2)]
            await until(lambda: app.entered == 2)
            loop.stop()
            await until(lambda: stub.asking == 0)
            left = stub.invoke(event())
            app.open.set()
            await asyncio.wait_for(running, 10)
            assert [each.json for each in taken] == [0, 1]
            assert not left.done.is_set()

    asyncio.run(scenario())


@pytest.mark.parametrize("exchange", [StreamedExchange, BufferedExchange])
def test_what_does_not_end_in_time_after_a_stop_is_ended(exchange: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_loop, "DRAIN_S", 0.05)

    async def scenario() -> None:
        app = Gate()
        async with serving(app, 4, exchange=exchange) as (stub, loop, running):
            taken = stub.invoke(event())
            await until(lambda: app.entered == 1)
            loop.stop()
            await asyncio.wait_for(running, 10)
            assert taken.error["errorType"] == "Timeout"

    asyncio.run(scenario())


def test_if_the_runtime_api_fails_the_open_requests_are_answered_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime_api.NEXT_PAUSES_S", (0.001,) * 3)

    async def scenario() -> None:
        app = Gate()
        async with serving(app, 2) as (stub, loop, running):
            await until(lambda: stub.asking == 2)
            stub.next_faults = ["500"] * 20
            first, second = stub.invoke(event(body="1")), stub.invoke(event(body="2"))
            await until(lambda: app.entered == 2)
            app.open.set()  # both workers ask again, and are refused
            with pytest.raises(RuntimeApiError):
                await asyncio.wait_for(running, 10)
            assert (first.json, second.json) == (1, 2)
            assert loop.stopped

    asyncio.run(scenario())


def test_a_buffered_reply_is_what_the_managed_runtime_would_return() -> None:
    cookies = ((b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        said = await read(receive)
        await start(send, 201, "application/json", *cookies)
        for part in (said[:5], said[5:]):
            await body(send, part, more=True)
        await body(send)
        assert (await receive())["type"] == "http.disconnect"

    async def scenario() -> None:
        async with serving(app, 2, exchange=BufferedExchange) as (stub, _, _):
            taken = await stub.call(event(body='"gr\u00fc\u00dfe"'))
            assert "lambda-runtime-function-response-mode" not in taken.headers
            assert taken.json == {
                "statusCode": 201,
                "headers": {"content-type": "application/json"},
                "multiValueHeaders": {"set-cookie": ["a=1", "b=2"]},
                "body": '"grüße"',
                "isBase64Encoded": False,
            }

    asyncio.run(scenario())


@pytest.mark.parametrize("how", ["before", "silent", "refused"])
def test_a_buffered_reply_that_fails_is_the_invocation_s_error(how: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if how == "before":
            raise LookupError("a private matter")
        if how == "refused":
            await start(send)
            await body(send)

    async def scenario() -> None:
        async with serving(app, 2, exchange=BufferedExchange) as (stub, _, _):
            taken = await stub.call(event(), fault="413" if how == "refused" else "")
            kinds = {"before": "LookupError", "silent": "RuntimeError"}
            assert (taken.error or {}).get("errorType") == kinds.get(how)
            assert (await stub.call(asking("json"))).id  # the worker goes on

    asyncio.run(scenario())


@pytest.mark.parametrize(("given", "found"), [(None, None), ("", None), ("1", 1), ("64", 64)])
def test_how_many_at_once(given: str | None, found: int | None) -> None:
    assert concurrency_of({} if given is None else {"AWS_LAMBDA_MAX_CONCURRENCY": given}) == found


@pytest.mark.parametrize("given", ["0", "-1", "many"])
def test_a_concurrency_that_is_no_positive_number(given: str) -> None:
    with pytest.raises(ValueError, match=r"many|CONCURRENCY"):
        concurrency_of({"AWS_LAMBDA_MAX_CONCURRENCY": given})


def test_a_worker_that_waits_holds_nothing_of_its_last_invocation() -> None:
    async def scenario() -> None:
        async with serving(Gate(is_open=True), 4) as (stub, _, _):
            await asyncio.gather(*(stub.call(event(body="1")) for _ in range(8)))
            await until(lambda: stub.asking == 4)
            gc.collect()
            assert [each for each in gc.get_objects() if isinstance(each, Invocation)] == []

    asyncio.run(scenario())


def test_the_collector_leaves_what_existed_before_the_first_request() -> None:
    before = gc.get_threshold()
    try:
        collect_garbage_less_often(runtime_loop.LEAST_GARBAGE_OBJECTS)
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold()[0] > before[0]
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
