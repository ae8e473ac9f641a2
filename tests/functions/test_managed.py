"""The function in one process with many requests at once, as Lambda Managed Instances start it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.aws_lambda.function import QUESTION, event
from tests.support.aws_lambda.interleaving import interleave, replies
from tests.support.aws_lambda.process import runtime
from tests.support.paths import PROXY


@pytest.mark.parametrize("mode", ["stream", "buffered"])
def test_everything_that_is_written_of_a_request_is_its_own(tmp_path: Path, mode: str) -> None:
    outcome = asyncio.run(interleave(tmp_path, 120, mode=mode, concurrency=32))
    assert outcome.wrong == []
    assert outcome.most_open > 8
    assert outcome.configs > 1
    assert outcome.traces > 90  # messages of UDP may be lost


def test_many_at_once_get_the_replies_that_they_get_one_by_one(tmp_path: Path) -> None:
    one_by_one = asyncio.run(replies(tmp_path, 12, mode="stream", concurrency=None))
    assert {status for status, _, _ in one_by_one} == {200}
    assert all(events for _, _, events in one_by_one)
    assert asyncio.run(replies(tmp_path, 12, mode="stream", concurrency=64)) == one_by_one


def test_a_started_process_is_warm_and_ends_in_order(tmp_path: Path) -> None:
    """The config is read before an invocation is asked for. SIGTERM lets what was taken finish."""

    async def scenario() -> None:
        async with runtime(tmp_path, environ={"AWS_LAMBDA_MAX_CONCURRENCY": "4"}) as function:
            while function.stub.asking < 4:
                await asyncio.sleep(0.01)
            assert [line["message"] for line in function.lines if "_aws" not in line] == ["config"]
            status = await function.stub.call(event("GET", "/v1/emerge/status"))
            assert (status.json["compute"], status.json["config"]["error"]) == ("managed", None)
            taken = [function.stub.invoke(event("POST", "/v1/chat/completions", QUESTION)) for _ in range(3)]
            while function.stub.open < 3:
                await asyncio.sleep(0.001)
            function.process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(function.process.wait(), 30) == 0
            assert [each.prelude["statusCode"] for each in taken] == [200] * 3
            requests = [line for line in function.lines if line.get("message") == "request"]
            assert [line["cold_start"] for line in requests] == [False] * 3

    asyncio.run(scenario())


# Answers with the function's own app, and prints how many objects only the garbage collector freed.
COLLECTED = """
import asyncio, gc
from environment import Environment
from runtime_api import RuntimeApi
from runtime_loop import BufferedExchange, RuntimeLoop, StreamedExchange
from tests.support.aws_lambda.function import QUESTION, event
from tests.support.aws_lambda.runtime_stub import RuntimeStub

async def main():
    environment = Environment()
    await environment.warm()
    exchange = StreamedExchange if environment.streams else BufferedExchange
    async with RuntimeStub(concurrency=4).serving() as stub:
        app, around = environment.application, environment.invocation
        loop = RuntimeLoop(RuntimeApi(stub.authority), app, around, exchange=exchange, concurrency=4)
        running = asyncio.create_task(loop.run())

        async def ask(times):
            for number in range(times):
                asked = {**QUESTION, "stream": number % 2 == 1}
                assert (await stub.call(event("POST", "/v1/chat/completions", asked))).error is None

        await ask(4)
        gc.collect()
        gc.disable()
        await ask(20)
        print("collected", gc.collect())
        running.cancel()
        await asyncio.wait({running})

asyncio.run(main())
"""


@pytest.mark.parametrize("mode", ["stream", "buffered"])
def test_a_request_leaves_nothing_to_the_garbage_collector(mode: str) -> None:
    """A look for cycles holds up every request that is open."""
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(PROXY), str(PROXY.parents[1])]),
        "AWS_LAMBDA_FUNCTION_NAME": "proxy",
        "AWS_LAMBDA_MAX_CONCURRENCY": "4",
        "EMERGE_CONFIG": str(PROXY / "default.yaml"),
        "EMERGE_RESPONSE_MODE": mode,
    }
    done = subprocess.run([sys.executable, "-c", COLLECTED], env=environ, capture_output=True, text=True)
    assert re.findall(r"^collected (\d+)$", done.stdout, re.M) == ["0"], done.stderr


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the bench binds processes to cores")
def test_the_bench_of_many_at_once_runs() -> None:
    options = ["--at-once", "2", "--wait", "0.05", "--seconds", "1", "--arrivals", "steady"]
    command = [sys.executable, "-m", "tests.bench.concurrency", *options]
    done = subprocess.run(command, cwd=PROXY.parents[1], capture_output=True, text=True)
    assert re.search(r"added: p50 [\d.]+ ms, .* p99 [\d.]+", done.stdout), done.stderr
