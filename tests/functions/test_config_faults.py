"""SSM fails at every point of an invocation, in both response modes: the invocation is no error of the function, and
the next one is answered with the pushed config."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.aws_lambda.function import PARAMETER, QUESTION, Context, event
from tests.support.aws_lambda.process import runtime
from tests.support.aws_lambda.runtime_stub import RuntimeStub

CONFIG = """
providers: {up: {kind: openai, base_url: "%s", api_key: "ssm:/emerge/test/keys/up"}}
models: {a: {provider: up, model: a}, b: {provider: up, model: b}}
ensembles: {emerge: {members: [a, b], aggregator: vote}}
"""
ON_AWS = {"EMERGE_CONFIG": f"ssm:{PARAMETER}", "EMERGE_CONFIG_TTL_S": "0", "AWS_DEFAULT_REGION": "us-east-1"}
ON_AWS |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


@dataclass
class Ssm:
    """SSM on a port. `fault` strikes the calls numbered in `struck`, counted from when it was set."""

    config: str = ""
    fault: str = ""
    struck: range = range(0)
    calls: int = 0
    url: str = ""
    released: threading.Event = field(default_factory=threading.Event)

    def strike(self, fault: str, struck: range) -> None:
        self.fault, self.struck, self.calls = fault, struck, 0
        self.released.clear()

    def heal(self) -> None:
        self.struck = range(0)
        self.released.set()

    @contextmanager
    def serving(self) -> Iterator[Ssm]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                number, outer.calls = outer.calls, outer.calls + 1
                fault = outer.fault if number in outer.struck else ""
                if fault == "hang":
                    outer.released.wait(30)
                    self.close_connection = True
                elif fault == "cut":
                    self.close_connection = True
                else:
                    self._reply(*outer.answer(asked, fault))

            def _reply(self, status: int, content: bytes) -> None:
                self.send_response(status)
                self.send_header("content-type", "application/x-amz-json-1.1")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield self
        finally:
            self.heal()
            server.shutdown()
            server.server_close()

    def answer(self, asked: dict[str, Any], fault: str) -> tuple[int, bytes]:
        if fault in ("InternalServerError", "ThrottlingException", "AccessDeniedException"):
            return 500 if fault.startswith("Internal") else 400, json.dumps({"__type": fault}).encode()
        if fault == "garbage":
            return 200, b"<html>not JSON</html>"
        if "Name" in asked:
            if fault == "gone" or asked["Name"] != PARAMETER:
                return 400, b'{"__type": "ParameterNotFound"}'
            text = {"broken": "models: {a: {provider: nowhere}}", "empty": ""}.get(fault, self.config)
            return 200, json.dumps({"Parameter": {"Name": PARAMETER, "Value": text, "Version": 1}}).encode()
        if fault in ("gone", "broken"):
            return 200, json.dumps({"Parameters": [], "InvalidParameters": asked["Names"]}).encode()
        value = " " if fault == "empty" else "sk-test"
        found = [{"Name": name, "Value": value, "Version": 1} for name in asked["Names"]]
        return 200, json.dumps({"Parameters": found, "InvalidParameters": []}).encode()


FAULTS = (
    "InternalServerError",
    "ThrottlingException",
    "AccessDeniedException",
    "garbage",
    "cut",
    "gone",
    "broken",
    "empty",
)
POINTS = [(fault, struck) for fault in FAULTS for struck in (range(1), range(1, 2), range(99))]
POINTS += [("hang", range(1)), ("hang", range(99))]
Ask = Callable[[float], Any]


@pytest.fixture
def ssm(upstream: Any, says: Any) -> Iterator[Ssm]:
    upstream.script = {name: says("the answer is 42") for name in "ab"}
    with Ssm(config=CONFIG % upstream.url).serving() as serving:
        yield serving


def check(status: int, text: str, *, struck: bool, warm: bool, point: Any) -> None:
    told = json.loads(text)
    if not struck or warm:
        assert status == 200, (point, warm, told)
        assert told["choices"][0]["message"]["content"] == "the answer is 42", (point, warm)
    else:
        assert status in (200, 502, 503, 504), (point, told)
        assert status != 200 or told["choices"][0]["message"]["content"] in ("the answer is 42", "The answer is 391.")


@pytest.mark.parametrize("warm", [True, False])
def test_buffered(ssm: Ssm, lambda_function: Any, monkeypatch: pytest.MonkeyPatch, warm: bool) -> None:
    monkeypatch.setattr("emerge_core.config.aws.READ_TIMEOUT_S", 0.5)
    for point in POINTS:
        function = lambda_function(**ON_AWS, AWS_ENDPOINT_URL=ssm.url)
        ssm.heal()
        if warm:
            assert function.ask().status == 200
        ssm.strike(*point)
        reply = function("POST", "/v1/chat/completions", QUESTION, context=Context(remaining_ms=3_000))
        check(reply.status, reply.body, struck=True, warm=warm, point=point)
        ssm.heal()
        function.ask()  # reads what was healed, and may itself still be served by less
        reply = function.ask()
        check(reply.status, reply.body, struck=False, warm=warm, point=point)
        if warm and point[0] not in ("hang",) and 0 in point[1]:
            assert [1.0] in [line["ConfigErrors"] for line in function.metrics("ConfigErrors")], point
        function.close()


@pytest.mark.parametrize("warm", [True, False])
def test_streaming(ssm: Ssm, tmp_path: Path, warm: bool) -> None:
    async def one(point: Any) -> None:
        ssm.heal()
        async with runtime(tmp_path, environ={**ON_AWS, "AWS_ENDPOINT_URL": ssm.url}) as function:
            given = event("POST", "/v1/chat/completions", QUESTION)
            if warm:
                assert (await function.stub.call(given)).prelude["statusCode"] == 200
            ssm.strike(*point)
            function.stub.deadline_s = 6.0  # a first request loads its modules, which a busy machine takes seconds for
            taken = await function.stub.call(given)
            assert (taken.error, taken.trailers) == (None, {}), (point, warm)
            check(taken.prelude["statusCode"], taken.body.decode(), struck=True, warm=warm, point=point)
            ssm.heal()
            function.stub.deadline_s = 30.0
            await function.stub.call(given)
            taken = await function.stub.call(given)
            check(taken.prelude["statusCode"], taken.body.decode(), struck=False, warm=warm, point=point)

    async def scenario() -> None:
        for point in [*POINTS[::7], *POINTS[-2:]]:  # a process each: the buffered test has every one
            await one(point)

    asyncio.run(scenario())


@pytest.mark.parametrize("warm", [True, False])
def test_reads_that_the_deadline_cuts_harm_no_later_invocation(
    ssm: Ssm, lambda_function: Any, monkeypatch: pytest.MonkeyPatch, warm: bool
) -> None:
    """The loop cancels the invocation in the middle of the read, again and again in one environment."""
    function = lambda_function(**ON_AWS, AWS_ENDPOINT_URL=ssm.url, EMERGE_RESPONSE_MODE="stream")
    import environment
    import runtime_loop
    from runtime_api import RuntimeApi

    async def scenario() -> None:
        made = environment.Environment()
        async with RuntimeStub().serving() as stub:
            loop = runtime_loop.RuntimeLoop(RuntimeApi(stub.authority), made.application, made.invocation)
            running = asyncio.create_task(loop.run())
            given = event("POST", "/v1/chat/completions", QUESTION)
            if warm:
                assert (await stub.call(given)).prelude["statusCode"] == 200
            ssm.strike("hang", range(99))
            with monkeypatch.context() as patched:
                # The environment believes in more time than the loop has: what it waits for is cut.
                patched.setattr(runtime_loop, "MARGIN_S", 29.0 if warm else 29.8)
                patched.setattr(runtime_loop, "LEAST_S", 0.05)
                cut = [await stub.call(given) for _ in range(3 if warm else 5)]
            if warm:  # the reply is given before the cut, by the last good config; on a busy machine it may be late
                for taken in cut:
                    whole = taken.prelude is not None and (taken.prelude["statusCode"], taken.trailers) == (200, {})
                    assert whole or taken.error["errorType"] == "Timeout"
            else:
                assert [taken.error["errorType"] for taken in cut] == ["Timeout"] * len(cut)
            ssm.heal()
            after = [await stub.call(given) for _ in range(3)]
            assert [taken.prelude["statusCode"] for taken in after[1:]] == [200, 200]
            assert all(taken.json["choices"][0]["message"]["content"] == "the answer is 42" for taken in after[1:])
            assert made.engine.status()["error"] is None
            running.cancel()
            await asyncio.wait({running})
            await made.engine.aclose()

    asyncio.run(scenario())
    function.close()
